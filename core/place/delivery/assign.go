// SPDX-License-Identifier: Apache-2.0

package place

import (
	"cmp"
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/placements"
)

// assign has segments say who is to keep which runs, and returns those of which it changed.
func assign(s *placements.Standing, locations [][]core.Span, g Ground) (changed []*placements.Segment) {
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
