// SPDX-License-Identifier: Apache-2.0

package place

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/audit"
	"github.com/bkp-tool/bkp/core/version"
)

// TestReceiptAloneIsNoCopy: who signs without having the bytes, has lost them, or does not answer is given up by name.
// Others take over where there are any; else nothing of it counts, and nothing goes from this machine.
func TestReceiptAloneIsNoCopy(t *testing.T) {
	for name, test := range map[string]struct {
		setup func(*peer)
		words string
	}{
		"signs and keeps nothing": {func(p *peer) { p.liar = true }, "it gave receipts for what it does not have"},
		"has lost them":           {func(p *peer) { p.forgets = true }, "it gave receipts for what it does not have"},
		"does not answer":         {func(p *peer) { p.deaf = true }, "it does not prove what it gave receipts for"},
		"is old and sends nothing": {func(p *peer) { p.old, p.deaf = true, true },
			"it does not prove what it gave receipts for"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newTown(t, "b", "c", "d")
				for _, p := range w.peers {
					p.free = core.MiB
				}
				test.setup(w.named("b"))
				w.split("disk.img", 1, 0, 200)
				r, err := w.place(t.Context(), Args{Replicas: 2})
				check(t, err)
				if told := strings.Join(w.told, "\n"); !strings.Contains(told, "b:8001") ||
					!strings.Contains(told, test.words) {
					t.Errorf("told: %s", told)
				}
				if got := r.Standing.Counting(); got != 2 || w.swept != 1 {
					t.Errorf("%d copies count after others took over, swept %d times", got, w.swept)
				}
				for run := range w.record().Runs {
					if slices.Contains(w.record().Holders(run), w.named("b").ID()) {
						t.Fatalf("b is on record for run %d", run)
					}
				}
			})
			synctest.Test(t, func(t *testing.T) {
				w := newTown(t, "b", "c")
				test.setup(w.named("b"))
				w.split("disk.img", 1, 0, 200)
				r, err := w.place(t.Context(), Args{Replicas: 2})
				if core.CodeOf(err) != core.CodeRedundant || !strings.Contains(err.Error(), test.words) ||
					!strings.Contains(err.Error(), "b:8001") {
					t.Errorf("nobody can take over: %v", err)
				}
				if w.swept > 0 || r.LetGo > 0 || version.Newest(w.refs).Away {
					t.Error("bytes went from this machine on the word of who has none")
				}
			})
		})
	}
}

// TestOldTargetProvesBySending: who speaks version 1 sends the chunks that are drawn, once it was met.
func TestOldTargetProvesBySending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, "b", "c")
		w.named("c").old, w.named("c").far = true, true
		w.split("disk.img", 1, 0, 200)
		r, err := w.place(t.Context(), Args{Replicas: 2})
		check(t, err)
		if w.brought[1] < audit.Enough/2 || w.brought[1] > audit.Enough || w.named("b").audits != 1 || r.Standing.Counting() != 2 {
			t.Errorf("%d chunks were sent, %d audits answered, %d copies count", w.brought[1], w.named("b").audits,
				r.Standing.Counting())
		}
	})
}
