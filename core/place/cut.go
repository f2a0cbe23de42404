// SPDX-License-Identifier: Apache-2.0

package place

import (
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/core/version"
	"github.com/bkp-tool/bkp/core/wire"
)

// segmentChunks bounds a segment of runs of tiny chunks, so that records keep to their limit.
const segmentChunks = 1 << 18

// Cut makes the plan's segments: who is to keep which runs of a version's content.
func Cut(task core.TaskID, alias string, number int, c *Content, g Ground) (segments []*Segment) {
	all, starts := c.all(task)
	table, shares := g.tables()
	for from, to := 0, 0; from < len(all); from = to {
		to = segmentEnd(all, from)
		s := &Segment{Number: len(segments), Runs: all[from:to], Fresh: min(max(len(c.Fresh)-from, 0), to-from),
			Answers: map[core.ID]Answer{}, Receipts: map[core.ID]core.Bitmap{}}
		s.Message = wire.StorageTask{Trunks: g.Snapshot.Trunks, TrunkShares: shares, Task: task, Segment: s.Number,
			Alias: alias, Version: number, Bandwidth: table, Locations: g.locations(starts, from, to)}
		for i, r := range s.Runs {
			if i < s.Fresh {
				s.Message.Files = append(s.Message.Files, r.File)
			} else {
				s.Message.Reused = append(s.Message.Reused, core.Reused{File: r.File, Task: r.Task, Chunks: r.Used})
			}
		}
		for _, span := range s.Message.Locations {
			s.add(span.Node)
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

// segmentEnd is the first run after the segment that begins at from.
func segmentEnd(runs []version.Run, from int) int {
	to, chunks := from, 0
	for to < len(runs) && to-from < core.SegmentRuns && (to == from || chunks+len(runs[to].Chunks) <= segmentChunks) {
		chunks += len(runs[to].Chunks)
		to++
	}
	return to
}

// locations is the plan's spans within runs from up to to, numbered from there.
func (g Ground) locations(starts []int, from, to int) (spans []core.Span) {
	add := func(class int, s plan.Span) {
		first, end := max(starts[class]+s.Start, from), min(starts[class]+s.End(), to)
		if first < end {
			spans = append(spans, core.Span{Node: g.Snapshot.Nodes[s.Node].ID, From: g.Snapshot.Nodes[s.From].ID,
				Start: first - from, Length: end - first})
		}
	}
	for class, list := range g.Plan.Classes {
		for _, s := range list {
			add(class, s)
		}
	}
	for _, s := range g.Plan.Relays { // who passes runs on keeps them too
		add(s.Class, s)
	}
	return spans
}
