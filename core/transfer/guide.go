// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/account"
	"github.com/bkp-tool/bkp/core/plan"
)

// follow has senders go by the ways of a segment's runs that its locations say, where the plan is to be gone by.
func (t *Transfer) follow(s *segment, locations []core.Span) {
	if t.guide(s, locations) != core.GuideRuns || slices.Equal(locations, s.ways) {
		return
	}
	t.known.Traced = len(t.tables.TrunkShares) > 0
	t.known.Anew(s.Segment)
	t.known.Takes(t.all.Flows.Now(), t.takes())
	s.ways = slices.Clone(locations)
	for _, span := range locations {
		if span.From == span.Node {
			continue
		}
		from, to := t.peer(span.From), t.peer(span.Node)
		each([]core.Range{{Start: span.Start, Length: span.Length}}, s.Runs(), func(run int) {
			if !to.Has(s.Segment, run) {
				t.known.Follow(s.Segment, run, from.Number, to.Number)
			}
		})
	}
}

// takes is how long the plan's flows take, in seconds; 0 where that is not known.
func (t *Transfer) takes() (seconds float64) {
	for _, row := range t.tables.Bandwidth {
		if row.Rate > 0 {
			seconds = max(seconds, row.Rate.Payload().Seconds(row.Bytes))
		}
	}
	return seconds
}

// guide is what senders go by. Who is reached through others only is not told, but has few ways to choose from: there
// every plan is gone by, as far as whole runs allow.
func (t *Transfer) guide(s *segment, locations []core.Span) core.Guide {
	if _, capacity := t.all.node.Session(t.source); t.source == t.all.Self || capacity > 0 || t.tables.Guide != "" {
		return t.tables.Guide
	}
	nodes := map[core.ID]bool{t.source: true}
	for _, span := range locations {
		nodes[span.Node] = true
	}
	if !plan.Steady(s.Runs(), core.Snapshot{Nodes: make([]core.NodeState, len(nodes))}) {
		return core.GuideNone
	}
	return core.GuideRuns
}

// Grants is how much of what a node applies for it may have, where so much is free or its own already: while others
// wait that the plan has send here too, it leaves them their part of the downlink, and has nothing where the plan has
// it send nothing.
func (ts *Transfers) Grants(task core.TaskID, from core.ID, rate, free core.Rate) (most core.Rate, nothing bool) {
	if t := ts.open[task]; t != nil && t.peers[from] != nil {
		most, nothing = t.me.Most(ts.Flows.Now(), t.peers[from].Number, bounded(ts.Book.Nominal(account.Down)), free)
	}
	return plan.Least(rate, most), nothing
}

// Granted says how much of what a node applied for it was granted; 0 where it was refused since the downlink is full.
func (ts *Transfers) Granted(task core.TaskID, from core.ID, asked, granted core.Rate) {
	if t := ts.open[task]; t != nil && t.peers[from] != nil {
		t.me.Granted(ts.Flows.Now(), t.peers[from].Number, asked, granted, bounded(ts.Book.Nominal(account.Down)))
	}
}
