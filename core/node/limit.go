// SPDX-License-Identifier: Apache-2.0

package node

import (
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/account"
	"github.com/bkp-tool/bkp/core/link"
	"github.com/bkp-tool/bkp/core/wire"
)

// limits is what this node gives its sides and links, by calendars.
type limits struct {
	up, down       core.Calendar
	upNow, downNow core.Rate                 // as the accounts have them
	links          map[core.ID]core.Calendar // set while the node runs, before those of Config
	changed        map[string]bool           // accounts that were, by name
}

// SetLimits changes what this node gives its sides and the link to a peer, until it stops; what is nil stays.
func (n *Node) SetLimits(up, down *core.Calendar, peer core.ID, link *core.Calendar) {
	n.ask(do(func(n *state) {
		if up != nil {
			n.limits.up, n.limits.changed[account.Up] = *up, true
		}
		if down != nil {
			n.limits.down, n.limits.changed[account.Down] = *down, true
		}
		if p := n.peers[peer]; p != nil && link != nil {
			n.limits.links[peer] = *link
			p.link, p.named = *link, true
		}
		n.follow()
		n.wakeWaiting()
	}))
}

// linkOf is what this side gives a peer: by what was said while the node ran, by Config.Links, or by the peer list.
func (n *state) linkOf(info link.Peer) (c core.Calendar, named bool) {
	if c, ok := n.limits.links[info.ID]; ok {
		return c, true
	}
	for _, name := range []string{info.ID.String(), info.Listen, info.Address} {
		if c, ok := n.Links[name]; ok && (name != info.Address || info.Dialled) {
			return c, true
		}
	}
	r := n.declared(info)
	return core.Always(r), r > 0
}

// follow gives every account the capacity that its calendar has now, and tells the peers whose links have another.
func (n *state) follow() {
	now := time.Now()
	side := func(name string, have *core.Rate, c core.Calendar) {
		if r := c.At(now); r != *have {
			*have = r
			n.flows.SetCapacity(name, r)
		}
	}
	side(account.Up, &n.limits.upNow, n.limits.up)
	side(account.Down, &n.limits.downNow, n.limits.down)
	for _, p := range n.peers {
		if r := p.link.At(now); p.named && p.session != nil && p.capacity > 0 && r != p.declared {
			p.declared, p.follows = r, false
			n.send(p.id, wire.BandwidthCoordination{Size: r})
			n.relink(p)
		}
	}
}

// relink gives a link the smaller of both words.
func (n *state) relink(p *peer) {
	if p.capacity = p.declared; !p.followed {
		p.capacity = min(p.declared, p.theirs)
	}
	n.flows.SetCapacity(account.Out(p.id), p.capacity)
	n.flows.SetCapacity(account.In(p.id), p.capacity)
}

// ownState is this node as its own plans see it.
func (n *state) ownState() core.NodeState {
	now := time.Now()
	s := core.NodeState{ID: n.ID(), Address: n.Listen, Labels: n.Labels, Zone: n.Labels["zone"], Down: n.limits.downNow,
		DownAhead: n.limits.down.Forecast(now)}
	s.Up, s.UpAhead = core.Credible(n.limits.upNow, n.limits.up.Forecast(now), n.measures.Up.Low())
	return s
}

// linkReport is what only this side knows of a link.
func (n *state) linkReport(p *peer) (l wire.LinkReport) {
	l.Measured = n.measured(p)
	if l.Ahead = p.link.Forecast(time.Now()); l.Ahead != nil && !p.followed {
		l.Theirs = p.theirs
	}
	return l
}
