// SPDX-License-Identifier: Apache-2.0

package place

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bkp-tool/bkp/core"
)

// TestPlacementBeforeStaysInForce: one that reaches fewer copies does not take its place.
func TestPlacementBeforeStaysInForce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, "b", "c")
		w.split("disk.img", 1, 0, 40)
		first, err := w.place(t.Context(), Args{Replicas: 2, KeepLocal: true})
		check(t, err)
		w.named("c").signs = -1
		w.Node = core.ID{9} // a machine that took the identity over
		if _, err = w.place(t.Context(), Args{Name: "disk.img", Replicas: 2}); core.CodeOf(err) != core.CodeRedundant {
			t.Errorf("placed again: %v", err)
		}
		if got := w.record().Task; got != first.Task || w.swept > 0 ||
			!strings.Contains(strings.Join(w.told, " "), "stays in force") {
			t.Errorf("on record is task %s, want %s; told %q", got, first.Task, w.told)
		}
	})
}

// TestBytesThatStay: why the bytes of a version are still on this machine.
func TestBytesThatStay(t *testing.T) {
	for _, test := range []struct {
		name  string
		args  Args
		setup func(w *town)
		swept int
		says  string
	}{
		{"they are to stay", Args{KeepLocal: true}, func(*town) {}, 0, ""},
		{"holders are bound for a day", Args{Retain: 86400}, func(*town) {}, 0, "its holders keep it until"},
		{"no ref can be written", Args{}, func(w *town) { w.Refs = noAway{w} }, 0, "read-only"},
		{"others may need some", Args{}, func(w *town) {
			w.Sweep = func(context.Context) (core.Collected, error) {
				return core.Collected{Waiting: 5 * core.KiB}, nil
			}
		}, 0, "5.00 KiB stay on this machine"},
		{"staging is busy", Args{}, func(w *town) {
			w.Sweep = func(context.Context) (core.Collected, error) { return core.Collected{}, errors.New("busy") }
		}, 0, "until bkp gc: busy"},
		{"they go", Args{}, func(*town) {}, 1, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newTown(t, "b")
			w.split("disk.img", 1, 0, 4)
			test.setup(w)
			test.args.Replicas = 1
			r, err := w.place(t.Context(), test.args)
			check(t, err)
			if told := strings.Join(r.Warnings, " "); w.swept != test.swept || !strings.Contains(told, test.says) ||
				told != "" && test.says == "" {
				t.Errorf("%s: swept %d times, told %q", test.name, w.swept, told)
			}
		})
	}
}

// noAway is refs on a disk that takes nothing more.
type noAway struct{ Refs }

func (noAway) SetAway(string, int, bool) error { return errors.New("read-only") }

// TestCopyWithoutRefIsNone: a target that has all the bytes and did not take the ref is no copy. It is asked for a while.
func TestCopyWithoutRefIsNone(t *testing.T) {
	for _, after := range []time.Duration{3 * time.Second, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			w := newTown(t, "b", "c")
			w.named("b").noRefs = true
			w.split("disk.img", 1, 0, 40)
			time.AfterFunc(after, func() {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.named("b").noRefs = false
			})
			_, err := w.place(t.Context(), Args{Replicas: 2})
			if after < refPatience {
				check(t, err)
				return
			}
			if core.CodeOf(err) != core.CodeRedundant || !strings.Contains(err.Error(), "1 of 2 copies count") ||
				w.swept > 0 {
				t.Errorf("without the ref at b: %v, swept %d times", err, w.swept)
			}
		})
	}
}
