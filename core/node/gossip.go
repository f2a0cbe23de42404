// SPDX-License-Identifier: Apache-2.0

package node

import (
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/gossip"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/wire"
)

// openGossip begins with nothing heard.
func (n *state) openGossip() {
	node := n.Node
	n.gossip = gossip.New(gossip.Config{Self: n.ID(), Heads: n.Heads, Revoked: n.Revoked, Owner: node.Owner,
		Health: n.Health, Log: n.Log},
		loopOf[*gossip.Gossip]{node, func(n *state) *gossip.Gossip { return n.gossip }}, (*others)(n))
}

// revoked is what an owner has taken back.
func (n *Node) revoked(owner core.ID) (r core.Revoked) {
	if n.Revoked != nil {
		r = n.Revoked.Of(owner).Revoked
	}
	return r
}

// isRevoked reports whether an owner has taken back what it had let a node do.
func (n *Node) isRevoked(owner, node core.ID) bool { return n.revoked(owner).Names(node) }

// Revoke has the owner take something back, and says who was told.
func (n *Node) Revoke(o *key.Owner, more core.Revoked) (told []core.ID, err error) {
	envelope, err := gossip.Revoke(n.Revoked, o, more)
	if err == nil {
		n.ask(do(func(n *state) { told = n.gossip.Spread(envelope) }))
	}
	return told, err
}

// The node as its gossip sees it.

func (o *others) Met() (ids []core.ID) {
	for _, id := range core.Sorted(o.peers) {
		if o.peers[id].session != nil {
			ids = append(ids, id)
		}
	}
	return ids
}

func (o *others) Hears(id core.ID, f wire.Feature) bool {
	p := o.peers[id]
	return p != nil && p.session != nil && p.session.Has(f) && (p.session.Peer().Token || f == wire.FeatureRevoked &&
		(p.session.Peer().Dialled || slices.ContainsFunc(p.rights, func(d key.Delegation) bool { return d.Alias == "" })))
}

func (o *others) Revoked() {
	for _, p := range o.peers {
		p.rights = slices.DeleteFunc(p.rights, func(d key.Delegation) bool { return o.isRevoked(d.Owner, p.id) })
	}
}
