// SPDX-License-Identifier: Apache-2.0

package place

import (
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/placements"
	"github.com/bkp-tool/bkp/core/version"
	"github.com/bkp-tool/bkp/core/wire"
)

// segmentChunks bounds a segment of runs of tiny chunks, so that records keep to their limit.
const segmentChunks = 1 << 18

// Cut makes segments of a version's content. Who is to keep which runs of them is not said yet.
func Cut(task core.TaskID, alias string, number int, c *Content) (segments []*placements.Segment) {
	all, held := c.all(task)
	stripes, begins := c.stripes(), map[int]int{}
	for _, s := range stripes {
		begins[s.Data[0]] = len(s.Data) + len(s.Parity)
	}
	for from, to := 0, 0; from < len(all); from = to {
		to = segmentEnd(all, from, begins)
		s := placements.NewSegment(task, alias, number, len(segments), all[from:to])
		s.Stripes = stripesIn(stripes, from, to)
		for i := range s.Runs {
			s.Held = append(s.Held, held[from+i])
		}
		segments = append(segments, s)
	}
	return segments
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

// segmentEnd is the first run after the segment that begins at from. Where a stripe begins stripes has how many runs it
// has: they stay together.
func segmentEnd(runs []version.Run, from int, stripes map[int]int) int {
	to, chunks := from, 0
	for to < len(runs) {
		end, more := to+max(1, stripes[to]), 0
		for _, r := range runs[to:end] {
			more += len(r.Chunks)
		}
		if end-from > core.SegmentRuns || to > from && chunks+more > segmentChunks {
			break
		}
		to, chunks = end, chunks+more
	}
	return to
}
