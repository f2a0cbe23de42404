// SPDX-License-Identifier: Apache-2.0

package repair

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/placements"
)

func (w *town) tell(what string, rec *placements.Record, peer core.ID) {
	w.Lock()
	defer w.Unlock()
	w.told = append(w.told, fmt.Sprint(what, " ", peer[0], " ", rec.Counting()))
}

// Who is found to lack what it signed for is told of, then that copies are lost, and that they are there again: each
// once, however often a repair is tried.
func TestTellsWhatItFindsAndMends(t *testing.T) {
	play(t, func(w *town, k *Keeper, rec *placements.Record) {
		time.Sleep(time.Hour)
		w.now(func() {
			w.broken[b], w.fails = true, core.Fail(core.CodeRedundant, "no room")
		})
		time.Sleep(25 * time.Hour) // b is audited, and copies are made anew in vain for a while
		w.now(func() { w.fails = nil })
		time.Sleep(25 * time.Hour)
		w.Lock()
		defer w.Unlock()
		want := []string{"audit-failed 2 1", "copies-lost 0 1", "repaired 0 2"}
		if !slices.Equal(w.told, want) {
			t.Errorf("told %q, want %q", w.told, want)
		}
	})
}
