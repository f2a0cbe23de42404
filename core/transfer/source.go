// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/placements"
	"github.com/bkp-tool/bkp/core/version"
)

// Source is the transfer of a task whose data this node sends, as what coordinates it sees it. It is never used in an
// event: each method asks the loop, and does nothing where the task is not under way.
type Source struct {
	Task core.TaskID
	loop Loop
}

// NewSource is that of a task.
func NewSource(task core.TaskID, loop Loop) Source { return Source{task, loop} }

// with runs f on the loop where the transfer is there.
func (s Source) with(f func(t *Transfer)) {
	s.loop.Ask(func(ts *Transfers) {
		if t := ts.Of(s.Task); t != nil {
			f(t)
		}
	})
}

// Begin lets the data of segments move; here says which of a segment's runs this node can send, out of from.
func (s Source) Begin(segments []*placements.Segment, from version.Chunks,
	here func(seg *placements.Segment, run int) bool) {
	s.loop.Ask(func(ts *Transfers) {
		for _, seg := range segments {
			runs := seg.Runs
			t := ts.Begin(Segment{Task: s.Task, Source: ts.Self, Number: seg.Number, Runs: len(runs),
				File: func(run int) core.File { return runs[run].File }, Store: from, Tables: seg.Message.Tables(),
				Locations: seg.Message.Locations},
				func(target core.ID) core.Bitmap { return seg.Answers[target].Have })
			for run, r := range runs {
				if here(seg, run) {
					t.Give(seg.Number, run, r.Chunks)
				}
			}
		}
		ts.node.Freed()
	})
}

// Left is the stored bytes that each target lacks of segments.
func (s Source) Left(segments []int) (left map[core.ID]core.Size) {
	s.with(func(t *Transfer) { left = t.Left(segments) })
	return left
}

// Loose is the runs of a segment that each target lacks and that nobody is known to be sending it.
func (s Source) Loose(segment int) (loose map[core.ID]core.Bitmap) {
	s.with(func(t *Transfer) { loose = t.Loose(segment) })
	return loose
}

// Narrow takes what a segment's Locations no longer ask for out of what its targets are to get.
func (s Source) Narrow(seg *placements.Segment) {
	s.with(func(t *Transfer) { t.Narrow(seg.Number, seg.Message.Locations) })
}

// Join adds to what the targets of a segment are to get what is new in locations; target has some of it.
func (s Source) Join(seg *placements.Segment, locations []core.Span, target core.ID, have core.Bitmap) {
	s.with(func(t *Transfer) {
		t.Join(seg.Number, locations, func(id core.ID) core.Bitmap {
			if id == target {
				return have
			}
			return nil
		})
	})
}

// Tables has the rates and shares of trunks that a segment's message tells kept to.
func (s Source) Tables(seg *placements.Segment) {
	s.with(func(t *Transfer) { t.Keep(seg.Message.Tables()) })
}

// Forget sends a target nothing more.
func (s Source) Forget(target core.ID) { s.with(func(t *Transfer) { t.Forget(target) }) }

// End stops what this node sends.
func (s Source) End() { s.with((*Transfer).End) }
