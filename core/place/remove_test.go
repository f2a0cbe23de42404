// SPDX-License-Identifier: Apache-2.0

package place

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
)

// TestRemovedVersionsAreLetGo: at their holders; one that cannot be told now is told when it is back, by who does it
// again or by itself.
func TestRemovedVersionsAreLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, "b", "c")
		var tasks []core.TaskID
		for number := range 3 {
			w.split("disk.img", number+1, 10*number, 10*number+20)
			r, err := w.place(t.Context(), Args{Replicas: 2})
			check(t, err)
			tasks = append(tasks, r.Task)
		}
		remove := func(number int, force bool) Removed {
			t.Helper()
			r, err := w.Coordinator.Remove(t.Context(), "disk.img", number, force, func(Status) {})
			check(t, err)
			return r
		}
		if r := remove(1, false); len(r.Versions) != 1 || len(r.Released) != 2 || len(w.refs) != 2 {
			t.Errorf("one version: %+v, and %d refs are left", r, len(w.refs))
		}
		w.named("c").away = true
		if r := remove(2, false); len(r.Versions) != 1 || len(r.Released) != 1 || len(r.Unheard) != 1 ||
			r.Unheard[0].Address != "c:8001" || len(w.refs) != 1 {
			t.Errorf("with a holder away: %+v, and %d refs are left", r, len(w.refs))
		}
		if r := remove(0, true); !slices.Equal(r.Versions, []int{3}) || len(r.Unheard) != 1 || len(w.refs) != 0 {
			t.Errorf("all: %+v, and %d refs are left", r, len(w.refs))
		}
		if r := remove(0, false); !slices.Equal(r.Versions, []int{2, 3}) || len(r.Unheard) != 2 {
			t.Errorf("again, while c is away: %+v", r)
		}
		w.named("c").away = false
		if r := remove(2, false); !slices.Equal(r.Versions, []int{2}) || len(r.Released) != 1 || len(r.Unheard) != 0 {
			t.Errorf("again, when c is back: %+v", r)
		}
		check(t, w.Outbox(t.Context()))
		if !slices.Equal(w.named("b").buried, []int{1, 2, 3}) || !slices.Equal(w.named("c").buried, []int{1, 2, 3}) {
			t.Errorf("b was told of %v, c of %v", w.named("b").buried, w.named("c").buried)
		}
		for _, task := range tasks {
			if !slices.Contains(w.named("b").released, task) {
				t.Errorf("b was not asked to let task %s go", task)
			}
		}
		_, err := w.Coordinator.Remove(t.Context(), "disk.img", 4, false, func(Status) {})
		if core.CodeOf(err) != core.CodeNoName || core.HintOf(err) == "" ||
			!strings.HasPrefix(err.Error(), "rm disk.img: ") {
			t.Errorf("what is not there: %v (hint %q)", err, core.HintOf(err))
		}
	})
}

// TestVersionThatAnotherLeansOnStays: one that was split over what peers keep, and is not placed, would lose its bytes.
func TestVersionThatAnotherLeansOnStays(t *testing.T) {
	for _, test := range []struct {
		name  string
		setup func(w *town)
		stays bool
	}{
		{"as it is", func(*town) {}, true},
		{"its bytes are here", func(w *town) { w.split("scratch", 1, 3, 4); w.refs = w.refs[:2] }, false},
		{"it was placed, too", func(w *town) {
			w.split("scratch", 1, 3, 4)
			w.refs = w.refs[:2]
			_, err := w.place(w.t.Context(), Args{Name: "disk.img", Version: 2, Replicas: 1})
			check(w.t, err)
			w.lose(3)
		}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newTown(t, "b", "c")
				w.split("disk.img", 1, 0, 20)
				_, err := w.place(t.Context(), Args{Replicas: 2})
				check(t, err)
				w.split("disk.img", 2, 0, 10)
				w.lose(3)
				test.setup(w)
				_, err = w.Coordinator.Remove(t.Context(), "disk.img", 1, false, func(Status) {})
				if (err != nil) != test.stays {
					t.Errorf("%v, want it to stay: %v", err, test.stays)
				}
			})
		})
	}
}

// TestRemovalThatWasKilled: whatever it came to, holders are told in the end; and the number is not placed again.
func TestRemovalThatWasKilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, "b", "c")
		w.split("disk.img", 1, 0, 20)
		_, err := w.place(t.Context(), Args{Replicas: 2})
		check(t, err)
		ref := w.refs[0]
		tombstone, err := w.owner.SignTombstone(key.Tombstone{Alias: ref.Ref.Alias, Version: 1, Content: ref.Content(),
			Time: time.Now().Unix(), Until: time.Now().Add(time.Hour).Unix()})
		check(t, err)
		check(t, w.Learn(ref.Ref.Alias, 1, tombstone)) // and then it was killed
		_, err = w.place(t.Context(), Args{Name: "disk.img", Replicas: 2})
		if err == nil || core.HintOf(err) == "" {
			t.Errorf("what is removed was placed: %v", err)
		}
		check(t, w.Refs.Remove(ref.Ref.Alias, 1)) // or then
		check(t, w.CarryOver(t.Context()))
		check(t, w.Outbox(t.Context()))
		all, err := w.Records.All()
		if check(t, err); len(all) > 0 || len(w.named("b").buried) != 1 || len(w.named("c").buried) != 1 {
			t.Errorf("%d records are left; told of it were b %v, c %v", len(all), w.named("b").buried, w.named("c").buried)
		}
		time.Sleep(2 * time.Hour)
		if check(t, w.CarryOver(t.Context())); len(w.gone) > 0 {
			t.Error("the tombstone outlives its time")
		}
	})
}
