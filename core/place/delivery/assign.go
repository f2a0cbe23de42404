// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"cmp"
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/placements"
	"github.com/bkp-tool/bkp/core/wire"
)

// Assign has segments say who is to keep which runs, and returns those of which it changed.
func Assign(s *placements.Standing, locations [][]core.Span, g Ground) (changed []*placements.Segment) {
	table, shares := g.tables()
	guide := g.Plan.Guide(s.Runs(), g.Snapshot)
	for number, seg := range s.Segments {
		spans := locations[number]
		slices.SortFunc(spans, func(a, b core.Span) int {
			return cmp.Or(cmp.Compare(a.Start, b.Start), a.Node.Compare(b.Node), a.From.Compare(b.From))
		})
		m := &seg.Message
		m.Trunks, m.TrunkShares, m.Bandwidth, m.Guide = g.Snapshot.Trunks, shares, table, guide
		if slices.Equal(spans, m.Locations) {
			continue
		}
		m.Locations, seg.Targets = spans, nil
		for _, span := range spans {
			seg.Add(span.Node)
		}
		changed = append(changed, seg)
	}
	return changed
}

// tables is the planned rates, and those of the flows that cross a trunk: nobody but the planner knows that they share
// it.
func (g Ground) tables() (all, shares []wire.BandwidthRow) {
	for _, f := range g.Plan.Flows {
		row := wire.BandwidthRow{From: g.Snapshot.Nodes[f.From].ID, To: g.Snapshot.Nodes[f.To].ID, Rate: f.Rate,
			Bytes: f.Bytes}
		all = append(all, row)
		if _, crosses := g.trunk(f.From, f.To); crosses {
			shares = append(shares, row)
		}
	}
	return all, shares
}
