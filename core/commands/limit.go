// SPDX-License-Identifier: Apache-2.0

package commands

import (
	"context"
	"strings"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/account"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/node"
)

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
	p, err := n.peerNamed(args.Peer)
	if err != nil {
		return r, err
	}
	n.SetLimits(up, down, p.ID, of)
	r.Limits = n.limitRows()
	return r, nil
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

// peerNamed finds the one peer that a person means; zero without a name.
func (n *Node) peerNamed(name string) (found node.Peer, err error) {
	if name == "" {
		return found, nil
	}
	plain := strings.ReplaceAll(strings.ToLower(name), "-", "")
	for _, p := range n.See() {
		if p.Address != name && (len(plain) < 4 || !strings.HasPrefix(p.ID.String(), plain)) {
			continue
		}
		if !found.ID.IsZero() {
			return node.Peer{}, core.WithHint(core.Fail(core.CodeUsage, "peer %q: more than one is meant", name),
				"give more of its ID: bkp peers --json")
		}
		found = p
	}
	if _, known := n.find(name); found.ID.IsZero() && known {
		return found, core.WithHint(core.Fail(core.CodeRedundant, "peer %q is away", name),
			"start it and try again: bkp peers shows who is there")
	}
	if found.ID.IsZero() {
		return found, core.WithHint(core.Fail(core.CodeNoName, "peer %q is not known here", name),
			"bkp peers lists them; give its ID, the start of it, or its address")
	}
	return found, nil
}

// limitRows lists the sides and links.
func (n *Node) limitRows() []control.LimitRow {
	at, now := time.Now(), n.Now()
	row := func(of string, c core.Calendar) control.LimitRow {
		r := control.LimitRow{Account: of, Bandwidth: c.String(), Rate: c.At(at)}
		if next, ok := c.Next(at); ok {
			r.Changes, r.Then = next, c.At(next)
		}
		return r
	}
	side := func(of, name string, s node.Side) control.LimitRow {
		r := row(of, s.Given)
		r.Measured, r.Changed = s.Measured, s.Changed
		for _, a := range now.Accounts {
			if a.Name == name {
				r.Leased = a.Leased
			}
		}
		return r
	}
	rows := []control.LimitRow{side("uplink", account.Up, now.Up), side("downlink", account.Down, now.Down)}
	for _, p := range n.See() {
		if !p.Connected && p.Declared == 0 {
			continue // no link ever led there
		}
		c := p.Given
		if !p.Named {
			c = core.Always(p.Declared)
		}
		r := row("link", c)
		r.Peer, r.Address, r.Followed, r.Changed = p.ID, p.Address, p.Followed, p.Changed
		r.Measured = p.Measured
		if r.Leased = p.Out + p.In; p.Connected {
			r.Capacity = p.Capacity
		}
		rows = append(rows, r)
	}
	return rows
}
