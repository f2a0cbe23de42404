// SPDX-License-Identifier: Apache-2.0

package commands_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/commands"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/storage"
)

// TestOthersTakeOverFromALostTarget: a holder that dies while the data moves costs time, and no copy.
func TestOthersTakeOverFromALostTarget(t *testing.T) {
	long(t)
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := fiveNodes(c)
		data := content(19, 12<<20)
		a.split("disk.img", 1, data)
		c.settle()
		plan, err := a.Place(t.Context(), control.PlaceArgs{Replicas: 2, Strategy: "seed", DryRun: true}, quiet)
		check(t, err)
		victim := c.byID(plan.Placements[0].Node)
		time.AfterFunc(time.Duration(0.4*plan.PredictedS*float64(time.Second)), victim.stop)
		placed := a.place(control.PlaceArgs{Name: "disk.img", Replicas: 2})
		if got := sum(placed.Placements); got != 2*placed.Bytes {
			t.Errorf("%d bytes on all nodes, want 2 × %d", got, placed.Bytes)
		}
		for _, row := range placed.Placements {
			if row.Node == victim.signer.ID() && row.Bytes > 0 {
				t.Errorf("%s was lost, and is to keep %s", victim.name, row.Bytes)
			}
		}
		c.restoreElsewhere(data)
	})
}

// fullStore has room for some bytes and no more, as a disk that others fill.
type fullStore struct {
	storage.Collector
	room *atomic.Int64
}

func (s fullStore) Put(ctx context.Context, c core.Chunk, id core.Hash, data []byte) (bool, error) {
	if s.room.Add(-int64(c.Size)) < 0 {
		return false, errors.New("no space left on device")
	}
	return s.Collector.Put(ctx, c, id, data)
}

func TestGivenUpTargetLetsGoOfWhatOthersTookOver(t *testing.T) {
	long(t)
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a", "", c.owned)
		c.start("b", "a-20MiB")
		c.start("c", "a-20MiB,b-20MiB")
		var room atomic.Int64
		room.Store(1 << 20)
		full := c.start("full", "a-40MiB,b-40MiB,c-40MiB", func(conf *commands.Config) { conf.Keeping = fullStore{conf.Keeping, &room} })
		data := content(26, 8<<20)
		a.split("disk.img", 1, data)
		c.settle()
		placed := a.place(control.PlaceArgs{Replicas: 2})
		if len(placed.Warnings) == 0 {
			t.Fatal("nobody was given up")
		}
		if s := full.status(); len(s.Tasks) != 0 || s.Reserved != 0 {
			t.Errorf("it is still bound to %d tasks, and has promised %s", len(s.Tasks), s.Reserved)
		}
		c.restoreElsewhere(data)
	})
}

func TestFullDiskOfOneTargetCostsNoOtherCopy(t *testing.T) {
	long(t)
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a", "", c.owned)
		b := c.start("b", "a-20MiB")
		d := c.start("c", "a-20MiB,b-20MiB")
		var room atomic.Int64
		room.Store(1 << 20)
		c.start("full", "a-40MiB,b-40MiB,c-40MiB", func(conf *commands.Config) {
			conf.Keeping = fullStore{conf.Keeping,
				&room}
		})
		data := content(18, 8<<20)
		a.split("disk.img", 1, data)
		c.settle()
		began := time.Now()
		placed, err := a.Place(t.Context(), control.PlaceArgs{Replicas: 3, Strategy: "seed"}, quiet)
		if core.CodeOf(err) != core.CodeRedundant || !strings.Contains(err.Error(), "fails to keep") {
			t.Errorf("place: %v, want the copy that could not be made named", err)
		}
		if took := time.Since(began); took > 3*time.Minute {
			t.Errorf("it took %s", took)
		}
		for _, m := range []*member{b, d} {
			if s := m.status(); s.Used < placed.Bytes {
				t.Errorf("%s keeps %s of %s", m.name, s.Used, placed.Bytes)
			}
		}
		c.restoreElsewhere(data)
	})
}

// TestOthersTakeOverFromASlowTarget places two copies on four peers, one of which receives far less than its links
// declare. What is not on its way there goes to the others once that shows, and it keeps what it has. (Here that brings
// 121 s down to about 50.)
func TestOthersTakeOverFromASlowTarget(t *testing.T) {
	long(t)
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a", "", c.owned)
		c.start("b", "a-256KiB")
		c.start("c", "a-256KiB,b-256KiB")
		c.start("d", "a-256KiB,b-256KiB,c-256KiB")
		e := c.start("e", "a-256KiB,b-256KiB,c-256KiB,d-256KiB", behind(steady(1.0/8)))
		data := content(1, 30<<20)
		a.split("disk.img", 1, data)
		c.settle()
		var told []string
		r, err := a.Place(t.Context(), control.PlaceArgs{Replicas: 2, Strategy: "seed"}, func(s control.Status) {
			if s.Warning {
				told = append(told, s.Text)
			}
		})
		check(t, err)
		planned := core.Size(0)
		for _, f := range r.Flows {
			if f.To == e.ID() {
				planned += f.Bytes
			}
		}
		slowest := core.Rate(core.MiB / 8).Seconds(planned)
		copies := core.Size(0)
		for _, row := range r.Placements {
			copies += row.Bytes
			if row.Node == e.ID() {
				t.Logf("planned %.1f s, took %.1f s, would have taken %.1f s; the slow one keeps %s of %s",
					r.PredictedS, r.Seconds, slowest, row.Bytes, planned)
				if row.Bytes == 0 || row.Receipts == 0 || row.Bytes > planned*3/4 {
					t.Errorf("the slow one was to keep %s and keeps %+v", planned, row)
				}
			}
		}
		if r.Seconds > slowest || !strings.Contains(strings.Join(told, " "), "from slower peers to others") {
			t.Errorf("it took %.1f s, where waiting for the slow one takes %.1f s: %s", r.Seconds, slowest, told)
		}
		if copies < 2*r.Bytes {
			t.Errorf("%s are kept, want two copies of %s", copies, r.Bytes)
		}
		c.restoreElsewhere(data)
	})
}

// TestWhoJoinsTakesOver places two copies on two peers over thin links; a third that comes while the data moves is
// given its part.
func TestWhoJoinsTakesOver(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a", "", c.owned)
		c.start("b", "a-128KiB")
		c.start("c", "a-128KiB,b-128KiB")
		data := content(1, 2<<20)
		a.split("disk.img", 1, data)
		c.settle()
		var d *member
		join := time.AfterFunc(4*time.Second, func() { d = c.start("d", "a-1MiB,b-1MiB,c-1MiB") })
		defer join.Stop()
		r := a.place(control.PlaceArgs{Replicas: 2})
		copies := core.Size(0)
		var joined control.Placement
		for _, row := range r.Placements {
			copies += row.Bytes
			if row.Node == d.ID() {
				joined = row
			}
		}
		t.Logf("planned %.1f s, took %.1f s; who joined keeps %s", r.PredictedS, r.Seconds, joined.Bytes)
		if joined.Bytes < 256<<10 || joined.Receipts != joined.Runs || r.Seconds > 0.9*r.PredictedS {
			t.Errorf("planned %.1f s, took %.1f s; who joined keeps %+v", r.PredictedS, r.Seconds, joined)
		}
		if copies < 2*r.Bytes {
			t.Errorf("%s are kept, want two copies of %s", copies, r.Bytes)
		}
		c.restoreElsewhere(data)
	})
}
