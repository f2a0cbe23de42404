// SPDX-License-Identifier: Apache-2.0

package place

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/bkp-tool/bkp/core"
)

// TestRemovedVersionsAreLetGo: at their holders; one that cannot be told keeps the ref here, unless that is forced to
// go.
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
		if r := remove(2, false); len(r.Versions) != 0 || len(r.Released) != 1 || len(r.Unheard) != 1 ||
			r.Unheard[0].Address != "c:8001" || len(w.refs) != 2 {
			t.Errorf("with a holder away: %+v, and %d refs are left", r, len(w.refs))
		}
		if r := remove(0, true); len(r.Versions) != 2 || len(r.Unheard) != 2 || len(w.refs) != 0 {
			t.Errorf("all, by force: %+v, and %d refs are left", r, len(w.refs))
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
