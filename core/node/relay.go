package node

import (
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

// reachable reports whether messages can be sent to a peer, by a session or through others.
func (p *peer) reachable() bool { return p != nil && len(p.way()) > 0 }

// member reports whether a peer showed this node's token, or a neighbour that did brought its word.
func (p *peer) member() bool {
	if p.session != nil {
		return p.session.Peer().Token
	}
	return p.vouched
}

// sendFar sends a message through others. What may go that way is a placement's question and answer, and its refs: everything
// else is between neighbours. Loop only.
func (n *Node) sendFar(p *peer, m wire.Message) bool {
	first := n.peers[p.via[0]]
	if !far(m) || first == nil || first.session == nil {
		return false
	}
	r, err := wire.NewRelay(slices.Concat([]core.ID{n.ID()}, p.via), m, time.Now(), n.Signer)
	if err != nil {
		n.Log.Warn("relay", "to", p.id.Short(), "error", err)
		return false
	}
	return n.send(first.id, r)
}

// far reports whether a message may be relayed. All of these are signed within, change nothing when repeated, or only ask.
func far(m wire.Message) bool {
	switch m.(type) {
	case wire.StateQuery, wire.StateReport, wire.StorageTask, wire.TaskAgree, wire.TaskRefuse, wire.RefPut, wire.RefOK, wire.Release, wire.ReleaseDone:
		return true
	}
	return false
}

// onRelay passes a message on, or takes one that is for this node.
func (n *Node) onRelay(p *peer, r wire.Relay) {
	at := slices.Index(r.Route, n.ID())
	if at < 1 || r.Route[at-1] != p.id {
		n.Log.Warn("relay", "from", p.id.Short(), "error", "this node is not next on its route")
		return
	}
	if at < len(r.Route)-1 {
		if next := n.peers[r.Route[at+1]]; next == nil || next.session == nil || !n.send(next.id, r) {
			n.Log.Debug("relay", "to", r.Route[at+1].Short(), "error", "it is not connected")
		}
		return
	}
	m, err := r.Open(time.Now())
	if err != nil || !far(m) {
		n.Log.Warn("relay", "from", r.Route[0].Short(), "through", p.id.Short(), "error", err)
		return
	}
	from := n.peers[r.Route[0]]
	if from == nil {
		if len(n.peers) >= maxPeers {
			return
		}
		from = &peer{id: r.Route[0]}
		n.peers[from.id] = from
	}
	if from.session == nil {
		from.via = slices.Clone(r.Route[:at])
		slices.Reverse(from.via)
		from.vouched = p.session.Peer().Token // by the neighbour that brought its word
	}
	from.lastSeen = time.Now()
	n.dispatch(from, p.session, m)
}
