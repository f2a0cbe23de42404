// SPDX-License-Identifier: Apache-2.0

package node

import (
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/wire"
)

// Revoked is where a node keeps owners' lists of revocations, the newest of each. Any goroutine may use it.
type Revoked interface {
	// Of is the list of an owner, zero without one, and All is those of all. They do not wait.
	Of(owner core.ID) key.Revocations
	All() [][]byte
	// Keep keeps a list that follows on the one that is there, and reports whether it does; it is durable then.
	Keep(list key.Revocations, envelope []byte) (news bool, err error)
}

// toldAtOnce is how many bytes of lists one message has at most: base64 makes them a third longer.
const toldAtOnce = wire.MaxMessage / 2

// isRevoked reports whether an owner has taken back what it had let a node do.
func (n *Node) isRevoked(owner, node core.ID) bool {
	return n.Revoked != nil && n.Revoked.Of(owner).Names(node)
}

// tellRevoked tells a peer all lists: a member, or who acts for an owner.
func (n *state) tellRevoked(p *peer) {
	if n.Revoked == nil || !p.hearsRevoked() {
		return
	}
	all := n.Revoked.All()
	for len(all) > 0 {
		next, bytes := 0, 0
		for next < len(all) && next < wire.MaxRevoked && (next == 0 || bytes+len(all[next]) <= toldAtOnce) {
			bytes += len(all[next])
			next++
		}
		n.send(p.id, wire.Revoked{Lists: all[:next]})
		all = all[next:]
	}
}

// hearsRevoked reports whether lists are told to a peer, and heard from it.
func (p *peer) hearsRevoked() bool {
	return p.session != nil && p.session.Has(wire.FeatureRevoked) && (p.session.Peer().Token ||
		slices.ContainsFunc(p.rights, func(d key.Delegation) bool { return d.Alias == "" }))
}

// maxUnheard is how many lists of a peer wait to be looked at. What is dropped beyond comes with the next session.
const maxUnheard = 1024

// onRevoked keeps what is news to this node, and tells it on.
func (n *state) onRevoked(p *peer, m wire.Revoked) {
	if n.Revoked == nil || !p.hearsRevoked() || len(p.unheard) >= maxUnheard {
		return
	}
	if p.unheard = append(p.unheard, m.Lists...); !p.hearing {
		n.hearNext(p)
	}
}

// hearNext looks at what a peer said of revocations, one message after another.
func (n *state) hearNext(p *peer) {
	lists, node := p.unheard, n.Node
	p.unheard, p.hearing = nil, true
	n.Act(func() {
		var news [][]byte
		for _, envelope := range lists {
			news = append(news, node.hearRevoked(envelope)...)
		}
		node.post(do(func(n *state) {
			p.hearing = false
			n.spreadRevoked(news)
			if len(p.unheard) > 0 {
				n.hearNext(p)
			}
		}))
	})
}

// hearRevoked keeps a list that is news, and returns what is to be told on. Where another machine of this owner made one
// that lacks what this one revoked, a list of both follows on them. Not on the loop.
func (n *Node) hearRevoked(envelope []byte) (news [][]byte) {
	list, err := key.OpenRevocations(envelope)
	if err != nil {
		n.Log.Warn("revocations", "error", err)
		return nil
	}
	before := n.Revoked.Of(list.Owner)
	kept, err := n.Revoked.Keep(list, envelope)
	if err != nil {
		n.Log.Warn("revocations", "owner", list.Owner.Short(), "error", err)
	}
	if kept {
		n.Log.Info("revoked", "owner", list.Owner.Short(), "sequence", list.Sequence, "nodes", len(list.Nodes))
		news = append(news, envelope)
	}
	lacks := slices.ContainsFunc(before.Nodes, func(id core.ID) bool { return !list.Names(id) }) && kept ||
		!kept && err == nil && list.Sequence == before.Sequence &&
			slices.ContainsFunc(list.Nodes, func(id core.ID) bool { return !before.Names(id) })
	if o := n.Owner(); lacks && o != nil && o.ID() == list.Owner {
		if both, err := n.revoke(o, slices.Concat(before.Nodes, list.Nodes)); err == nil {
			news = append(news, both)
		}
	}
	return news
}

// revoke signs and keeps the list that follows on this node's, with further nodes.
func (n *Node) revoke(o *key.Owner, nodes []core.ID) ([]byte, error) {
	envelope, err := o.Revoke(n.Revoked.Of(o.ID()), nodes, time.Now().Unix())
	if err != nil {
		return nil, err
	}
	list, err := key.OpenRevocations(envelope)
	if err == nil {
		_, err = n.Revoked.Keep(list, envelope)
	}
	return envelope, err
}

// Revoke takes back whatever the owner let nodes do, and says who was told.
func (n *Node) Revoke(o *key.Owner, nodes []core.ID) (told []core.ID, err error) {
	envelope, err := n.revoke(o, nodes)
	if err == nil {
		n.ask(do(func(n *state) { told = n.spreadRevoked([][]byte{envelope}) }))
	}
	return told, err
}

// spreadRevoked has lists that are news count for peers that are here, and tells them to all, who told them too: it may
// have been answered by a list of this node's.
func (n *state) spreadRevoked(news [][]byte) (told []core.ID) {
	if len(news) == 0 {
		return nil
	}
	for _, p := range n.peers {
		p.rights = slices.DeleteFunc(p.rights, func(d key.Delegation) bool { return n.isRevoked(d.Owner, p.id) })
	}
	for _, id := range core.Sorted(n.peers) {
		p := n.peers[id]
		if !p.hearsRevoked() {
			continue
		}
		all := true
		for _, envelope := range news {
			all = n.send(p.id, wire.Revoked{Lists: [][]byte{envelope}}) && all
		}
		if all {
			told = append(told, p.id)
		}
	}
	return told
}
