// SPDX-License-Identifier: Apache-2.0

package content

import (
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/placements"
	"github.com/bkp-tool/bkp/core/version"
)

// segmentChunks bounds a segment of runs of tiny chunks, so that records keep to their limit.
const segmentChunks = 1 << 18

// Cut makes segments of a version's content. Who is to keep which runs of them is not said yet.
func Cut(task core.TaskID, alias string, number int, c *Runs) (segments []*placements.Segment) {
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
