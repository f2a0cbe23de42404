// SPDX-License-Identifier: Apache-2.0

package place

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/placements"
)

// TestGoesOnWithItsRecord: a placement that was stopped on the way is gone on with by whoever opens the record: the same
// task, and what has receipts is not sent again.
func TestGoesOnWithItsRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, "b", "c")
		w.split("disk.img", 1, 0, 40)
		w.named("c").signs = -1
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(2*time.Second, func() { cancel(errors.New("enough")) })
		first, err := w.place(ctx, Args{Replicas: 2})
		if err == nil {
			t.Fatal("it was not stopped")
		}
		if copies, wanted, _, _ := w.Records.Short(first.Version.Ref.Alias, 1); copies != 1 || wanted != 2 {
			t.Errorf("on record are %d of %d copies", copies, wanted)
		}
		check(t, w.Records.Close())
		w.Records = placements.OpenRecords(w.kept)
		w.named("c").signs = time.Second
		w.named("b").free, w.named("c").free = 10, 80*core.KiB // b has its own, and no room beside it
		again, err := w.place(t.Context(), Args{Replicas: 2})  // the newest that lacks copies
		check(t, err)
		if again.Task != first.Task || again.Version.Ref.Version != 1 || again.Standing.Sent() >= 60*core.KiB ||
			again.Standing.Sent() < 40*core.KiB || len(w.named("b").released) > 0 {
			t.Errorf("task %s after %s; sent %s; b let go of %v", again.Task, first.Task, again.Standing.Sent(),
				w.named("b").released)
		}
		if copies, wanted, _, _ := w.Records.Short(first.Version.Ref.Alias, 1); copies != 2 || wanted != 2 {
			t.Errorf("on record are %d of %d copies", copies, wanted)
		}
		w.rest()
	})
}

// TestHolderThatLostAll: it says what it has when the version is placed again, and gets the rest anew, from here or
// from the other holder.
func TestHolderThatLostAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, "b", "c")
		w.apart = true
		w.split("disk.img", 1, 0, 40)
		first, err := w.place(t.Context(), Args{Replicas: 2})
		check(t, err)
		clear(w.named("b").keeps)
		again, err := w.place(t.Context(), Args{Name: "disk.img", Replicas: 2})
		check(t, err)
		if again.Task != first.Task || again.Standing.Sent() != first.Standing.Sent()/2 {
			t.Errorf("sent %s, and at first %s", again.Standing.Sent(), first.Standing.Sent())
		}
		third, err := w.place(t.Context(), Args{Name: "disk.img", Replicas: 2})
		check(t, err)
		if third.Standing.Sent() != 0 {
			t.Errorf("sent %s, though all is there", third.Standing.Sent())
		}
	})
}

// TestRemoveStopsThePlacement: of the version that is to go, and reaches who was told of it.
func TestRemoveStopsThePlacement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, "b", "c")
		w.split("disk.img", 1, 0, 40)
		w.named("c").signs = time.Minute
		ended := make(chan error)
		go func() {
			_, err := w.place(t.Context(), Args{Replicas: 2})
			ended <- err
		}()
		time.Sleep(2 * time.Second)
		removed, err := w.Coordinator.Remove(t.Context(), "disk.img", 0, false, func(Status) {})
		check(t, err)
		if err := <-ended; !strings.Contains(fmt.Sprint(err), "is being removed") {
			t.Errorf("the placement ended with %v", err)
		}
		if !slices.Equal(removed.Versions, []int{1}) || len(w.refs) > 0 || len(w.named("b").released) != 1 ||
			len(w.named("c").released) != 1 {
			t.Errorf("removed %+v, refs %d; b and c let go of %v, %v", removed, len(w.refs), w.named("b").released,
				w.named("c").released)
		}
		if all, err := w.Records.All(); len(all) > 0 || err != nil {
			t.Errorf("%d records are left, %v", len(all), err)
		}
	})
}

// TestRemoveReachesWhoWasAway: a holder that another took the place of is in the record until it let go.
func TestRemoveReachesWhoWasAway(t *testing.T) {
	for _, byItself := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newTown(t, "b", "c")
			w.split("disk.img", 1, 0, 40)
			first, err := w.place(t.Context(), Args{Replicas: 2})
			check(t, err)
			gone := w.named("c")
			gone.away = true
			w.join("d", rand.NewChaCha8([32]byte{2}))
			_, err = w.place(t.Context(), Args{Name: "disk.img", Replicas: 2})
			check(t, err)
			removed, err := w.Coordinator.Remove(t.Context(), "disk.img", 0, false, func(Status) {})
			check(t, err)
			if len(removed.Unheard) != 1 || removed.Unheard[0].Node != gone.ID() || len(removed.Versions) != 1 {
				t.Errorf("%+v", removed)
			}
			gone.away = false
			if byItself {
				check(t, w.Outbox(t.Context()))
			} else {
				_, err = w.Coordinator.Remove(t.Context(), "disk.img", 0, false, func(Status) {})
				check(t, err)
			}
			if !slices.Contains(gone.released, first.Task) {
				t.Error("who was away was never told")
			}
			if all, err := w.Records.All(); len(all) > 0 || err != nil || len(w.refs) > 0 {
				t.Errorf("%d records and %d refs are left, %v", len(all), len(w.refs), err)
			}
		})
	}
}

// TestWhoIsTooManyIsReleased: a holder that comes back after another took its place, by itself.
func TestWhoIsTooManyIsReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, "b", "c")
		w.split("disk.img", 1, 0, 40)
		_, err := w.place(t.Context(), Args{Replicas: 2})
		check(t, err)
		gone := w.named("c")
		gone.away = true
		w.join("d", rand.NewChaCha8([32]byte{2}))
		_, err = w.place(t.Context(), Args{Name: "disk.img", Replicas: 2})
		check(t, err)
		check(t, w.Outbox(t.Context()))
		gone.away, w.named("b").away = false, true
		check(t, w.Outbox(t.Context()))
		if len(gone.released) > 0 {
			t.Error("it was released while another holder is away")
		}
		w.named("b").away = false
		check(t, w.Outbox(t.Context()))
		if len(gone.released) != 1 || len(w.named("b").released) > 0 || len(w.named("d").released) > 0 {
			t.Errorf("released: %v, %v, %v", gone.released, w.named("b").released, w.named("d").released)
		}
	})
}

// TestPlacedBeforeThereWereRecords: its ref says who keeps what.
func TestPlacedBeforeThereWereRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, "b", "c")
		w.split("disk.img", 1, 0, 40)
		first, err := w.place(t.Context(), Args{Replicas: 2})
		check(t, err)
		check(t, w.Records.Close())
		w.Records = placements.OpenRecords(t.TempDir())
		check(t, w.CarryOver(t.Context()))
		if copies, wanted, known, _ := w.Records.Short(first.Version.Ref.Alias, 1); copies != 2 || wanted != 2 || !known {
			t.Errorf("on record are %d of %d copies", copies, wanted)
		}
		check(t, w.CarryOver(t.Context()))
		again, err := w.place(t.Context(), Args{Name: "disk.img", Replicas: 2})
		check(t, err)
		if again.Task != first.Task || again.Standing.Sent() != 0 {
			t.Errorf("task %s after %s, sent %s", again.Task, first.Task, again.Standing.Sent())
		}
		if all, err := w.Records.All(); len(all) != 1 || err != nil {
			t.Errorf("%d records, %v", len(all), err)
		}
	})
}

// TestWhoIsLeftOut keeps nothing: at first, and where it keeps something already that goes to others.
func TestWhoIsLeftOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, "b", "c", "d")
		w.split("disk.img", 1, 0, 40)
		kept := func() (names string) {
			for _, p := range w.peers {
				if slices.Contains(w.record().Holders(0), p.ID()) {
					names += p.name
				}
			}
			return names
		}
		_, err := w.place(t.Context(), Args{Replicas: 2, Exclude: []string{"b:8001"}})
		check(t, err)
		if got := kept(); got != "cd" {
			t.Errorf("without b it is at %s", got)
		}
		_, err = w.place(t.Context(), Args{Name: "disk.img", Replicas: 2,
			Only: []string{w.named("b").ID().Short(), w.named("d").ID().Grouped()}})
		check(t, err)
		if got := kept(); got != "bd" || len(w.named("c").released) != 1 || len(w.named("d").released) > 0 {
			t.Errorf("with b and d only it is at %s; c let go of %v", got, w.named("c").released)
		}
		_, err = w.place(t.Context(), Args{Name: "disk.img", Replicas: 2, Exclude: []string{"b"}})
		if core.CodeOf(err) != core.CodeUsage {
			t.Errorf("without a node that is not there: %v", err)
		}
	})
}

// TestNobodyOnRecordIsThere: all who keep a version are away, or are to keep nothing: it goes to who is there.
func TestNobodyOnRecordIsThere(t *testing.T) {
	for _, only := range [][]string{nil, {"d:8001"}} {
		synctest.Test(t, func(t *testing.T) {
			w := newTown(t, "b", "c")
			w.split("disk.img", 1, 0, 40)
			_, err := w.place(t.Context(), Args{Replicas: 2, KeepLocal: true})
			check(t, err)
			w.join("d", rand.NewChaCha8([32]byte{2}))
			w.named("b").away, w.named("c").away = only == nil, only == nil
			r, err := w.place(t.Context(), Args{Name: "disk.img", Replicas: 1, Only: only, KeepLocal: true})
			check(t, err)
			if got := r.Standing.Counting(); got != 1 || !slices.Contains(w.record().Holders(0), w.named("d").ID()) {
				t.Errorf("%d copies count, at %v", got, w.record().Holders(0))
			}
			all, err := w.Records.All()
			check(t, err)
			if left := all[0].LeavesOut(w.named("b").ID()); left != (only != nil) || all[0].LeavesOut(w.named("d").ID()) {
				t.Errorf("b may keep something: %v, where it is for none but %v", !left, only)
			}
		})
	}
}
