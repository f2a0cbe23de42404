// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/wire"
)

// TestWhatOthersAreToGiveComesLast has b get everything from a, by the plan: the source gives that to b only when a has
// all that it is to have from the source, and at once where the plan says nothing.
func TestWhatOthersAreToGiveComesLast(t *testing.T) {
	for guide, first := range map[core.Guide]bool{core.GuideNone: true, core.GuideRuns: false} {
		synctest.Test(t, func(t *testing.T) {
			w := newStage(t, a, b)
			s := w.segment(self, 80, a, b)
			s.Locations[0].From, s.Locations[1].From = self, a
			s.Tables = wire.StorageTask{Guide: guide, Bandwidth: []wire.BandwidthRow{
				{From: self, To: a, Rate: capacity, Bytes: 80 * runSize}}}
			w.begin(s)
			w.wait(2 * time.Second)
			w.do(func() {
				if len(w.peers[a].got) == 0 || len(w.peers[b].got) > 0 != first {
					t.Errorf("by %q: after two seconds a has %d runs, b %d", guide, len(w.peers[a].got), len(w.peers[b].got))
				}
			})
			w.wait(20 * time.Second)
			if len(w.peers[a].got) != 80 || len(w.peers[b].got) != 80 {
				t.Errorf("by %q: in the end a has %d runs, b %d", guide, len(w.peers[a].got), len(w.peers[b].got))
			}
		})
	}
}

// TestFarNodesGoByTheSpans: no word of the source's guide came with a segment that others passed on.
func TestFarNodesGoByTheSpans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newStage(t, a, b)
		for source, want := range map[core.ID]core.Guide{a: core.GuideNone, c: core.GuideRuns} { // c is met by nobody
			s := w.segment(source, 80, self, b)
			s.Task[1], s.Mine = source[0], &share{runs: 80}
			w.do(func() {
				w.Take(s)
				moving := w.Of(s.Task)
				if got := moving.guide(moving.segments[0], s.Locations); got != want {
					t.Errorf("where the source is node %d: %q, want %q", source[0], got, want)
				}
			})
		}
	})
}
