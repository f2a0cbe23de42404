// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/account"
	"github.com/bkp-tool/bkp/core/wire"
)

// TestEveryTargetGetsWhatItKeeps spreads a segment to two targets, of which one keeps the first half only.
func TestEveryTargetGetsWhatItKeeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newStage(t, a, b)
		s := w.segment(self, 8, a)
		s.Locations = append(s.Locations, core.Span{Node: b, Start: 0, Length: 4})
		moving := w.begin(s)
		w.do(func() {
			if left := moving.Left([]int{0}); left[a] != 8*runSize || left[b] != 4*runSize {
				t.Errorf("before anything moved there is left: %v", left)
			}
		})
		w.wait(10 * time.Second)
		for id, runs := range map[core.ID]int{a: 8, b: 4} {
			if got := slices.Sorted(slices.Values(w.peers[id].got)); len(got) != runs || len(slices.Compact(got)) != runs {
				t.Errorf("%d got %v, want each of %d runs once", id[0], got, runs)
			}
		}
		w.do(func() {
			if left := moving.Left([]int{0}); left[a]+left[b] != 0 {
				t.Errorf("there is left: %v", left)
			}
			for _, l := range w.Flows.Leases() {
				if l.State == "live" {
					t.Errorf("still leased: %+v", l)
				}
			}
			if w.EndDone(); !w.Active() {
				t.Error("it ended while this node coordinates it")
			}
			w.coordinated = false
			if w.EndDone(); w.Active() {
				t.Error("nothing is left to do, and it goes on")
			}
		})
	})
}

// TestWhoKeepsWhatChangesOnTheWay takes a segment from one target and gives it to another, which has half of it.
func TestWhoKeepsWhatChangesOnTheWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newStage(t, b)
		moving := w.begin(w.segment(self, 4, a))
		w.do(func() {
			to := []core.Span{{Node: b, Start: 0, Length: 4}}
			moving.Narrow(0, to)
			moving.Narrow(1, to) // nothing is known of that
			moving.Join(0, to, func(core.ID) core.Bitmap {
				half := core.NewBitmap(4)
				half.Set(0)
				half.Set(2)
				return half
			})
			loose, left := moving.Loose(0), moving.Left([]int{0})
			if len(loose) != 1 || loose[b].Has(0) || !loose[b].Has(1) || loose[b].Has(2) || !loose[b].Has(3) ||
				len(left) != 1 || left[b] != 2*runSize {
				t.Errorf("loose: %v, left: %v", loose, left)
			}
		})
		w.wait(5 * time.Second)
		if got := slices.Sorted(slices.Values(w.peers[b].got)); !slices.Equal(got, []int{1, 3}) {
			t.Errorf("it got %v", got)
		}
	})
}

// TestRunThatCannotBeLookedUpFailsAtOnce has a target that is to pass on three runs, of which its records have lost
// one.
func TestRunThatCannotBeLookedUpFailsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newStage(t, a, b)
		s := w.segment(b, 3, self, a)
		s.Mine = &share{runs: 3, have: []int{0, 1, 2}, durable: true}
		for _, run := range []int{0, 2} {
			w.known[s.File(run).Hash] = runChunks(run)
		}
		w.do(func() { w.Take(s); w.Wake() })
		w.wait(3 * time.Second)
		got := slices.Compact(slices.Sorted(slices.Values(w.peers[a].got))) // what was on its way comes again
		if !slices.Equal(got, []int{0, 2}) {
			t.Errorf("it was sent %v", got)
		}
		w.do(func() {
			for _, l := range w.Flows.Leases() {
				if l.State == "live" {
					t.Errorf("still leased: %+v", l)
				}
			}
			if lost := slices.DeleteFunc(w.sought, func(h core.Hash) bool { return h != s.File(1).Hash }); len(lost) != 1 {
				t.Errorf("the lost run was looked for %d times", len(lost))
			}
			if w.failed != nil {
				t.Errorf("the target is blamed: %v", w.failed)
			}
		})
	})
}

// TestTargetThatKeepsNothingIsGivenUp has a target whose disk fails, in a task of this node and in one of another.
func TestTargetThatKeepsNothingIsGivenUp(t *testing.T) {
	for name, coordinated := range map[string]bool{"its own task": true, "of another": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newStage(t, a)
				w.peers[a].breaks = core.ReasonInternal
				moving := w.begin(w.segment(self, 4, a))
				w.do(func() { w.coordinated = coordinated })
				w.wait(time.Minute)
				w.do(func() {
					if left := moving.Left([]int{0}); (left[a] > 0) != coordinated || (len(w.failed) > 0) != coordinated {
						t.Errorf("left: %v, failed: %v", left, w.failed)
					}
				})
			})
		})
	}
}

// TestTrunkIsSharedByWhoStillLacks has three targets beyond a trunk: the share of who is done goes to the others.
func TestTrunkIsSharedByWhoStillLacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newStage(t, a, b, c)
		for _, id := range []core.ID{a, b} {
			w.peers[id].zone = "far"
		}
		s := w.segment(self, 1, a, b, c)
		s.Tables.Trunks = []core.TrunkState{{From: "", To: "far", Rate: 900}}
		s.Tables.TrunkShares = []wire.BandwidthRow{{From: self, To: a, Rate: 600}, {From: self, To: b, Rate: 300}}
		w.coordinated = true
		w.do(func() {
			moving := w.Begin(s, func(core.ID) core.Bitmap { return nil })
			number := func(id core.ID) int { return slices.Index(moving.ids, id) }
			for _, want := range []struct {
				to           core.ID
				trunk, share core.Rate
			}{{a, 900, 600}, {b, 900, 300}, {c, 0, 0}} {
				if way, ok := moving.Way(number(want.to)); !ok || way.Trunk != want.trunk || way.Share != want.share {
					t.Errorf("to %d: %+v, %t", want.to[0], way, ok)
				}
			}
			moving.peers[a].Have(w.Flows.Now(), moving.segments[0].Segment, 0)
			if way, ok := moving.Way(number(b)); !ok || way.Share != 900 {
				t.Errorf("once the other is done: %+v, %t", way, ok)
			}
			s.Tables.TrunkShares = nil
			moving.Keep(s.Tables)
			if _, ok := moving.Way(number(b)); ok {
				t.Error("there is a way without a share")
			}
			delete(w.peers, c)
			if _, ok := moving.Way(number(c)); ok {
				t.Error("there is a way to who is gone")
			}
		})
	})
}

// TestNeighboursHearWhatIsNew has a run arrive at a target, and more before it is told.
func TestNeighboursHearWhatIsNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newStage(t, a, b)
		s := w.segment(b, 8, self, a)
		mine := &share{runs: 8}
		s.Mine = mine
		w.do(func() { w.Book.SetCapacity(account.Up, account.Unlimited) })
		for run := range 3 {
			w.do(func() {
				mine.have = append(mine.have, run)
				w.Arrived(s, run, runChunks(run))
			})
		}
		w.wait(wantOften / 2)
		if got := w.hints(a); len(got) > 0 {
			t.Errorf("told already: %+v", got)
		}
		w.wait(wantOften)
		for _, id := range []core.ID{a, b} {
			got := w.hints(id)
			if len(got) != 1 || !slices.Equal(got[0].Had, []core.Range{{Start: 0, Length: 3}}) || got[0].Need != 5*runSize ||
				got[0].Down != capacity {
				t.Errorf("%d was told %+v", id[0], got)
			}
		}
		w.do(func() { w.Book.SetCapacity(account.Up, core.Rate(8*core.KiB)) })
		w.do(func() { w.Arrived(s, 3, runChunks(3)) })
		w.wait(2 * time.Second) // 560 bytes at 0.5 % of 8 KiB/s would take longer than anybody waits
		if got := w.hints(b); len(got) != 1 {
			t.Errorf("hints take more than their share of a slow uplink: %+v", got)
		}
		w.wait(wantSeldom)
		if got := w.hints(b); len(got) != 2 {
			t.Errorf("told %d times", len(got))
		}
	})
}

// TestWhoComesIsToldAll greets a neighbour; the source hears what it asks for again.
func TestWhoComesIsToldAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newStage(t, a, b)
		s := w.segment(b, 4, self, a)
		s.Mine = &share{runs: 4, have: []int{0, 1}, durable: true}
		w.do(func() { w.Take(s); w.Came(a) })
		if got := w.hints(a); len(got) != 1 || !slices.Equal(got[0].Had, []core.Range{{Start: 0, Length: 2}}) ||
			!slices.Equal(got[0].Wanted, []core.Range{{Start: 2, Length: 2}}) {
			t.Errorf("it was told %+v", got)
		}
		asked := []core.Range{{Start: 1, Length: 2}}
		w.do(func() { w.Hint(b, wire.Want{Task: task1, Wanted: asked}) })
		got := w.hints(b)
		if len(got) != 1 || !slices.Equal(got[0].Wanted, []core.Range{{Start: 2, Length: 1}}) || !slices.Equal(w.again, asked) {
			t.Errorf("the source was told %+v, receipts again for %v", got, w.again)
		}
	})
}

// TestHintsAreHeardOfWhoTakesPart sends some for a segment that is kept here, and for one that is not.
func TestHintsAreHeardOfWhoTakesPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newStage(t, a, b)
		all := []core.Range{{Start: 0, Length: 4}}
		w.do(func() { w.Hint(a, wire.Want{Task: task1, Wanted: all}) })
		if w.Active() {
			t.Error("a hint made a transfer of a task that is not known here")
		}
		s := w.segment(b, 4, self, a)
		s.Mine = &share{runs: 4, have: []int{0, 1}, durable: true}
		for run := range 2 {
			w.known[s.File(run).Hash] = runChunks(run)
		}
		w.kept[0] = s
		w.do(func() {
			w.Hint(a, wire.Want{Task: task1, Had: []core.Range{{Start: 0, Length: 1}, {Start: 3, Length: 9}}})
		})
		w.wait(2 * time.Second)
		if got := w.peers[a].got; !slices.Equal(got, []int{1}) {
			t.Errorf("it was sent %v, and has all else or cannot have it from here", got)
		}
		w.do(func() {
			w.Hint(c, wire.Want{Task: task1, Wanted: all}) // keeps nothing of it
			w.Hint(a, wire.Want{Task: task1, Wanted: []core.Range{{Start: 1, Length: 1}}})
		})
		w.wait(2 * time.Second)
		if got := w.peers[a].got; !slices.Equal(got, []int{1, 1}) {
			t.Errorf("it was sent %v, and had lost one", got)
		}
	})
}
