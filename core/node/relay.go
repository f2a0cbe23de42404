// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/wire"
)

// maxPeers bounds how many nodes are remembered that came through others only.
const maxPeers = 4096

// way is the nodes that a message to this peer passes, itself the last; none where there is no way.
func (p *peer) way() []core.ID {
	if p.session != nil {
		return []core.ID{p.id}
	}
	return p.via
}

// neighbour is who brings a peer's words: itself, or the next on the way to it.
func (p *peer) neighbour() core.ID {
	if way := p.way(); len(way) > 0 {
		return way[0]
	}
	return p.id
}

// reachable reports whether messages can be sent to a peer, by a session or through others.
func (p *peer) reachable() bool { return p != nil && len(p.way()) > 0 }

// member reports whether a peer showed this node's token, or a neighbour that did brought its word.
func (p *peer) member() bool {
	if p.session != nil {
		return p.session.Peer().Token
	}
	return p.vouched
}

// sendFar sends a message through others. What may go that way is a placement's question and answer, and its refs:
// everything else is between neighbours.
func (n *state) sendFar(p *peer, m wire.Message) bool {
	first := n.peers[p.via[0]]
	if !reactions[m.Type()].travels || first == nil || first.session == nil {
		return false
	}
	r, err := wire.NewRelay(slices.Concat([]core.ID{n.ID()}, p.via), m, time.Now(), n.Signer)
	if err != nil {
		n.Log.Warn("relay", "to", p.id.Short(), "error", err)
		return false
	}
	return n.send(first.id, r)
}

// far finds or makes a peer that came through others only; nil where too many such are known.
func (n *state) far(id core.ID) *peer {
	p := n.peers[id]
	if p == nil && len(n.peers) < maxPeers {
		p = &peer{id: id}
		n.peers[id] = p
	}
	return p
}

// passOn gives a relayed message to the next node on its way. Members of a token pass on for members only: that is what
// lets the last one take the word of its neighbour for who sent it.
func (n *state) passOn(p *peer, to core.ID, r wire.Relay) error {
	next := n.peers[to]
	switch {
	case len(n.Token()) > 0 && !p.session.Peer().Token:
		return errors.New("it comes from a node without the token")
	case next == nil || next.session == nil:
		return errors.New("it is not connected")
	case next.session.Behind():
		return errors.New("too much waits to be sent there")
	}
	return next.session.Send(r)
}

// onRelay passes a message on, or takes one that is for this node.
func (n *state) onRelay(p *peer, r wire.Relay) {
	at := slices.Index(r.Route, n.ID())
	if at < 1 || r.Route[at-1] != p.id {
		n.Log.Warn("relay", "from", p.id.Short(), "error", "this node is not next on its route")
		return
	}
	if at < len(r.Route)-1 {
		if err := n.passOn(p, r.Route[at+1], r); err != nil {
			n.Log.Debug("relay", "from", p.id.Short(), "to", r.Route[at+1].Short(), "error", err)
		}
		return
	}
	m, err := r.Open(time.Now())
	if err == nil && !reactions[m.Type()].travels {
		err = fmt.Errorf("%s is between neighbours", m.Type())
	}
	if err != nil {
		n.Log.Warn("relay", "from", r.Route[0].Short(), "through", p.id.Short(), "error", err)
		return
	}
	from := n.far(r.Route[0])
	if from == nil {
		n.Log.Warn("relay", "from", r.Route[0].Short(), "through", p.id.Short(), "error",
			fmt.Errorf("%d nodes are known already", maxPeers))
		return
	}
	if from.session == nil {
		from.via = slices.Clone(r.Route[:at])
		slices.Reverse(from.via)
		from.vouched = p.session.Peer().Token // by the neighbour that brought its word
	}
	from.lastSeen = time.Now()
	n.dispatch(from, m)
}
