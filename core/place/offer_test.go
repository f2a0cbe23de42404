// SPDX-License-Identifier: Apache-2.0

package place

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bkp-tool/bkp/core"
)

// TestOthersKeepWhatOneDoesNot: who refuses, is silent or goes away at the offer gets nothing, and the placement goes on
// with the others, as long as they have room; who has less room than it said has what it has room for.
func TestOthersKeepWhatOneDoesNot(t *testing.T) {
	for _, test := range []struct {
		name  string
		setup func(w *town, b *peer)
		says  string
		least time.Duration // until it is done
		runs  int           // that b keeps
	}{
		{"it refuses", func(_ *town, b *peer) { b.refuses = core.ReasonLicense }, "so it says", 0, 0},
		{"it is silent", func(_ *town, b *peer) { b.silent = true }, "it did not answer within 20s", 20 * time.Second, 0},
		{"it goes away", func(w *town, b *peer) {
			b.silent = true
			time.AfterFunc(100*time.Millisecond, func() {
				w.mu.Lock()
				defer w.mu.Unlock()
				b.away = true
				w.inboxes["task"].Gone(b.ID())
			})
		}, "it went away", 10 * time.Second, 0},
		{"it has less room", func(w *town, b *peer) {
			time.AfterFunc(15*time.Millisecond, func() { // after it told its state
				w.mu.Lock()
				defer w.mu.Unlock()
				b.free = 95 * core.KiB // some of which its record takes
			})
		}, "it is full", 0, 4},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newTown(t, "b", "c", "d")
				w.split("disk.img", 1, 0, 160)
				test.setup(w, w.named("b"))
				began := time.Now()
				r, err := w.place(t.Context(), Args{Replicas: 2})
				check(t, err)
				kept := map[core.ID]int{}
				for run := range w.record().Runs {
					holders := w.record().Holders(run)
					for _, id := range holders {
						kept[id]++
					}
					if len(holders) != 2 {
						t.Errorf("run %d is at %d nodes", run, len(holders))
					}
				}
				if took := time.Since(began); took < test.least || took > test.least+5*time.Second {
					t.Errorf("it took %s", took)
				}
				if got := kept[w.named("b").ID()]; got != test.runs || !strings.Contains(strings.Join(w.told, " "), test.says) {
					t.Errorf("b keeps %d runs, want %d; told %q", got, test.runs, w.told)
				}
				for _, p := range w.peers {
					if got := r.Standing.Barred[p.ID()] != ""; got != (p.name == "b" && test.runs == 0) {
						t.Errorf("%s is barred: %v", p.name, got)
					}
				}
				w.rest()
			})
		})
	}
}
