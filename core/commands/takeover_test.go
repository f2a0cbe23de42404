// SPDX-License-Identifier: Apache-2.0

package commands_test

import (
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
)

// TestAnotherMachineTakesOver: a machine that has the identity alone sees to a version that another one placed, from
// when it is told to place it: nothing is sent, copies that are lost then come back, and the other machine leaves it
// alone.
func TestAnotherMachineTakesOver(t *testing.T) {
	long(t)
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		data := content(71, 2<<20)
		a := c.start("a", "b-20MiB", c.owned, keeps)
		b := c.start("b", "a-20MiB")
		cc := c.start("c", "a-20MiB,b-20MiB")
		c.start("d", "a-20MiB,b-20MiB,c-20MiB")
		z := c.start("z", "a-20MiB,b-20MiB,c-20MiB,d-20MiB", c.owned, keeps)
		a.split("disk.img", 1, data)
		c.settle()
		a.place(control.PlaceArgs{Name: "disk.img", Replicas: 2, Strategy: "seed",
			Only: []string{b.ID().String(), cc.ID().String()}})

		r, err := z.Place(t.Context(), control.PlaceArgs{Name: "disk.img", Replicas: 5, AsBefore: true, Strategy: "seed"}, quiet)
		check(t, err)
		if r.SentBytes != 0 || r.Replicas != 2 {
			t.Errorf("%d bytes were sent for %d copies, and 2 are there", r.SentBytes, r.Replicas)
		}
		b.stop()
		delete(c.nodes, "b")
		time.Sleep(2 * time.Hour)
		if s := z.standing("disk.img"); s.Code != core.CodeOK || s.Copies != 2 {
			t.Errorf("at the machine that took over: %+v", s)
		}
		if s := a.standing("disk.img"); s.Coordinator == nil || s.Coordinator.Node != z.ID() {
			t.Errorf("at the machine that placed it: %+v, want that another sees to it", s)
		}
		again, err := a.Place(t.Context(), control.PlaceArgs{Name: "disk.img", AsBefore: true, Replicas: 5, Strategy: "seed"}, quiet)
		check(t, err)
		if again.Replicas != 2 || a.standing("disk.img").Coordinator != nil {
			t.Errorf("taken back: %d copies, %+v", again.Replicas, a.standing("disk.img"))
		}
		if _, err := z.RepairPlacements(t.Context(), control.StandingArgs{Name: "disk.img"}, quiet); core.CodeOf(err) == core.CodeOK ||
			!strings.Contains(err.Error(), "another machine of this identity") {
			t.Errorf("repaired by who sees to it no more: %v", err)
		}
	})
}

// TestLockGoesWithWhoTakesOver: what another machine makes of a version that is locked is locked as long.
func TestLockGoesWithWhoTakesOver(t *testing.T) {
	long(t)
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a", "b-20MiB", c.owned, keeps)
		b := c.start("b", "a-20MiB")
		cc := c.start("c", "a-20MiB,b-20MiB")
		d := c.start("d", "a-20MiB,b-20MiB,c-20MiB")
		z := c.start("z", "a-20MiB,b-20MiB,c-20MiB,d-20MiB", c.owned, keeps)
		a.split("disk.img", 1, content(72, 1<<20))
		c.settle()
		until := time.Now().Add(3 * time.Hour).Unix()
		a.place(control.PlaceArgs{Name: "disk.img", Replicas: 2, Strategy: "seed", Lock: 3 * 3600,
			Only: []string{b.ID().String(), cc.ID().String()}})
		_, err := z.Place(t.Context(), control.PlaceArgs{Name: "disk.img", Replicas: 2, AsBefore: true, Strategy: "seed"}, quiet)
		check(t, err)
		for _, gone := range []string{"a", "b"} {
			c.nodes[gone].stop()
			delete(c.nodes, gone)
		}
		time.Sleep(2 * time.Hour)
		segments, err := d.holdings.Segments()
		check(t, err)
		if s := z.standing("disk.img"); s.Copies != 2 || len(segments) == 0 {
			t.Fatalf("%d segments at who took its place: %+v", len(segments), s)
		}
		for _, s := range segments {
			if s.LockedUntil < until {
				t.Errorf("a segment is locked until %d, want %d", s.LockedUntil, until)
			}
		}
	})
}
