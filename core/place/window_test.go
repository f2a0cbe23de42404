// SPDX-License-Identifier: Apache-2.0

package place

import (
	"testing"
	"testing/synctest"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
)

func TestWindowsOfABackup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, "b", "c")
		windows, err := w.Windows(t.Context(), Args{Name: "disk.img", Replicas: 2}, func(Status) {})
		check(t, err)
		var chunks []core.Chunk
		for i := range 10 {
			data := plain(i)
			c := core.Chunk{Hash: chunk.Hash(data), Size: core.Size(len(data))}
			chunks = append(chunks, c)
			check(t, windows.Keep(c, core.Hash{}, data))
		}
		placed, err := windows.Place(t.Context(), 1, &w.store, chunks)
		check(t, err)
		if len(placed.Records) != 1 || windows.Sent() != 20*core.KiB || windows.Covered(chunks[0].Hash) {
			t.Errorf("%d records, sent %s, covered already %v", len(placed.Records), windows.Sent(),
				windows.Covered(chunks[0].Hash))
		}
		resumed, err := w.Windows(t.Context(), Args{Name: "disk.img", Replicas: 2}, func(Status) {})
		check(t, err)
		check(t, resumed.Taken(t.Context(), placed.Records))
		for _, c := range chunks {
			if !resumed.Covered(c.Hash) {
				t.Errorf("chunk %s is not covered by the window that was taken over", c.Hash)
			}
		}
		if err := resumed.Taken(t.Context(), []core.Sealed{{Hash: core.Hash{77}}}); err == nil {
			t.Error("records that are gone were taken over")
		}
		w.named("c").signs = -1
		if _, err := resumed.Place(t.Context(), 1, &w.store, []core.Chunk{{Hash: core.Hash{99}, Size: 5}}); err == nil {
			t.Error("a window with one copy was placed")
		}
		if len(w.named("b").released) != 1 {
			t.Errorf("b was asked to let go of %v, want the window that fell short", w.named("b").released)
		}
		windows.Release()
		resumed.Release()
		w.rest()
	})
}
