// SPDX-License-Identifier: Apache-2.0

package node

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/account"
	"github.com/bkp-tool/bkp/core/control"
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

// Limit changes what this node gives its sides and links, until it stops, and lists what it gives.
func (n *Node) Limit(_ context.Context, args control.LimitArgs,
	_ func(control.Status)) (r control.LimitResult, err error) {
	up, err := limitOf(args.Uplink)
	if err != nil {
		return r, err
	}
	down, err := limitOf(args.Downlink)
	if err != nil {
		return r, err
	}
	of, err := limitOf(args.Link)
	switch {
	case err != nil:
		return r, err
	case (args.Peer == "") != (of == nil):
		return r, core.Fail(core.CodeUsage, "a peer and what its link is given go together")
	case of != nil && of.Lifted():
		return r, errNoFigure
	}
	n.ask(do(func(n *state) {
		var p *peer
		if p, err = n.peerNamed(args.Peer); err != nil {
			return
		}
		if up != nil {
			n.limits.up, n.limits.changed[account.Up] = *up, true
		}
		if down != nil {
			n.limits.down, n.limits.changed[account.Down] = *down, true
		}
		if p != nil {
			n.limits.links[p.id] = *of
			p.link, p.named = *of, true
		}
		n.follow()
		n.wakeWaiting()
		r.Limits = n.limitRows()
	}))
	return r, err
}

// errNoFigure is why a link's bandwidth cannot be unlimited: its capacity is the smaller of two words.
var errNoFigure = core.WithHint(core.Fail(core.CodeUsage, "a link needs a figure at all times, it cannot be unlimited"),
	"give it more than it can carry, as 10GiB; --uplink and --downlink may be unlimited")

// limitOf reads a bandwidth; empty is nil.
func limitOf(s string) (*core.Calendar, error) {
	if s == "" {
		return nil, nil
	}
	c, err := core.ParseCalendar(s)
	return &c, err
}

// peerNamed finds the one peer that a person means; nil without a name.
func (n *state) peerNamed(name string) (found *peer, err error) {
	if name == "" {
		return nil, nil
	}
	plain := strings.ReplaceAll(strings.ToLower(name), "-", "")
	for _, p := range n.peers {
		if p.address != name && (len(plain) < 4 || !strings.HasPrefix(p.id.String(), plain)) {
			continue
		}
		if found != nil {
			return nil, core.WithHint(core.Fail(core.CodeUsage, "peer %q: more than one is meant", name),
				"give more of its ID: bkp peers --json")
		}
		found = p
	}
	if found == nil {
		return nil, core.WithHint(core.Fail(core.CodeNoName, "peer %q is not known here", name),
			"bkp peers lists them; give its ID, the start of it, or its address")
	}
	return found, nil
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

// limitRows lists the sides and links.
func (n *state) limitRows() []control.LimitRow {
	now := time.Now()
	row := func(of string, c core.Calendar) control.LimitRow {
		r := control.LimitRow{Account: of, Bandwidth: c.String(), Rate: c.At(now)}
		if at, ok := c.Next(now); ok {
			r.Changes, r.Then = at, c.At(at)
		}
		return r
	}
	leased := map[string]core.Rate{}
	for _, a := range n.book.Accounts() {
		leased[a.Name] = a.Leased
	}
	up, down := row("uplink", n.limits.up), row("downlink", n.limits.down)
	up.Measured = n.measures.Up.Low()
	up.Leased, down.Leased = leased[account.Up], leased[account.Down]
	up.Changed, down.Changed = n.limits.changed[account.Up], n.limits.changed[account.Down]
	var links []control.LimitRow
	for _, p := range n.peers {
		if p.session == nil && p.declared == 0 {
			continue // no link ever led there
		}
		c := p.link
		if !p.named {
			c = core.Always(p.declared)
		}
		r := row("link", c)
		r.Peer, r.Address, r.Followed = p.id, p.address, p.follows
		r.Measured = n.measured(p)
		_, r.Changed = n.limits.links[p.id]
		if r.Leased = leased[account.Out(p.id)] + leased[account.In(p.id)]; p.session != nil {
			r.Capacity = p.capacity
		}
		links = append(links, r)
	}
	slices.SortFunc(links, func(a, b control.LimitRow) int {
		return cmp.Or(strings.Compare(a.Address, b.Address), a.Peer.Compare(b.Peer))
	})
	return append([]control.LimitRow{up, down}, links...)
}
