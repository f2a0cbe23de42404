// SPDX-License-Identifier: Apache-2.0

package place

import (
	"testing"
	"testing/synctest"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/version"
)

// TestLaterVersionOfAnotherMachine: a lower number is placed beside a version that this node placed, and not beside one
// of another machine, which it would never be newer than.
func TestLaterVersionOfAnotherMachine(t *testing.T) {
	for _, foreign := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newTown(t, "b", "c")
			sealer, err := chunk.NewSealer(chunk.NewSecrets(w.owner.DedupSecret), chunk.LevelDefault)
			check(t, err)
			source := w.Node
			if foreign {
				source = core.ID{9}
			}
			sealed, stored, err := version.Record{Task: core.TaskID{7}, Source: source}.Seal(sealer)
			check(t, err)
			w.store.chunks[sealed.Hash] = stored
			w.split("disk.img", 4, 50, 60)
			later := w.refs[0]
			w.refs = nil
			later.At, later.Body.Records = w.named("b").ID(), []core.Sealed{sealed}
			w.named("b").refs = []version.Found{later}
			w.split("disk.img", 3, 0, 40)
			if _, err := w.place(t.Context(), Args{Replicas: 2}); (err != nil) != foreign {
				t.Errorf("another machine placed version 4: %v; version 3: %v", foreign, err)
			}
		})
	}
}

// TestSecondVersionSendsWhatIsNew: and the first, placed again, stays where it is.
func TestSecondVersionSendsWhatIsNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, "b", "c")
		w.split("disk.img", 1, 0, 40)
		first, err := w.place(t.Context(), Args{Replicas: 2})
		check(t, err)
		w.split("disk.img", 2, 0, 44)
		second, err := w.place(t.Context(), Args{Replicas: 2})
		check(t, err)
		got := second.Content
		if second.Version.Ref.Version != 2 || got.NewBytes > 8*core.KiB || got.Bytes < 40*core.KiB {
			t.Errorf("version %d sends %s of %s", second.Version.Ref.Version, got.NewBytes, got.Bytes)
		}
		again, err := w.place(t.Context(), Args{Name: "disk.img", Version: 1, Replicas: 2})
		check(t, err)
		if again.Content.NewBytes != 0 {
			t.Errorf("version 1 sends %s again", again.Content.NewBytes)
		}
		for _, p := range w.peers {
			if again.Task != first.Task || len(p.released) > 0 {
				t.Errorf("%s let go of %v; the task was %s, and is %s", p.name, p.released, first.Task, again.Task)
			}
		}
	})
}
