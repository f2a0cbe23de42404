// SPDX-License-Identifier: Apache-2.0

package commands_test

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/storage"
)

// staged is how many bytes stand in a node's staging.
func (m *member) staged() core.Size { return usedOf(m.staging) }

// usedOf is what a store of a test says of itself.
func usedOf(s storage.Store) core.Size {
	used, err := s.Used(context.Background())
	if err != nil {
		panic(err)
	}
	return used
}

// edited is data with one stretch in the middle replaced.
func edited(data []byte) []byte {
	return slices.Concat(data[:len(data)/2], bytes.Repeat([]byte("changed since "), 100), data[len(data)/2+1400:])
}

func TestPlacedBytesGoAndTheNextVersionKnowsThem(t *testing.T) {
	long(t)
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := fiveNodes(c)
		first := content(21, 4<<20)
		a.split("disk.img", 1, first)
		c.settle()
		placed := a.place(control.PlaceArgs{Replicas: 2})
		if placed.LetGo < 4<<20 || a.staged() > 100<<10 {
			t.Fatalf("%s went and %s stay in staging, want nothing but tree nodes and records", placed.LetGo,
				a.staged())
		}
		a.fetch("disk.img", 1, first)

		second := edited(first)
		before := a.staged()
		a.split("disk.img", 2, second)
		if grown := a.staged() - before; grown > 300<<10 {
			t.Errorf("the second version staged %s, want the changed chunks only", grown)
		}
		a.fetch("disk.img", 2, second) // not placed: from here and from those who keep the first
		_, err := a.Remove(t.Context(), control.RemoveArgs{Name: "disk.img", Version: 1}, quiet)
		if core.CodeOf(err) != core.CodeFailed || !strings.Contains(err.Error(), "disk.img@2 is not placed yet") {
			t.Fatalf("removed what a version leans on that is not placed: %v", err)
		}
		again := a.place(control.PlaceArgs{Name: "disk.img", Replicas: 2})
		if again.NewBytes > 300<<10 {
			t.Errorf("placing the second version sent %s, want the changed chunks only", again.NewBytes)
		}
		_, err = a.Remove(t.Context(), control.RemoveArgs{Name: "disk.img", Version: 1}, quiet)
		check(t, err)
		for _, m := range c.nodes {
			m.collect()
		}
		a.split("disk.img", 3, first) // what only the first version had is noted no more
		a.fetch("disk.img", 3, first)
		_, err = a.Remove(t.Context(), control.RemoveArgs{Name: "disk.img", Version: 3}, quiet)
		check(t, err)
		c.restoreElsewhere(second)
	})
}

func TestPlacedBytesStayWhereThatIsAskedFor(t *testing.T) {
	long(t)
	for name, args := range map[string]control.PlaceArgs{
		"by name": {KeepLocal: true}, "since holders are not bound for long": {Retain: int64((29 * 24 * time.Hour).Seconds())},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				c := newCluster(t)
				a := fiveNodes(c)
				data := content(22, 1<<20)
				a.split("disk.img", 1, data)
				c.settle()
				args.Replicas = 2
				placed := a.place(args)
				a.collect()
				if placed.LetGo != 0 || a.staged() < 1<<20 {
					t.Errorf("%s went, %s stay", placed.LetGo, a.staged())
				}
				if stays := len(placed.Warnings) > 0; stays == args.KeepLocal {
					t.Errorf("warnings: %q", placed.Warnings)
				}
			})
		})
	}
}

// A holder is lost, and this machine has nothing any more: the other holder gives what it has to a third.
func TestLostCopiesComeFromWhoHasThem(t *testing.T) {
	long(t)
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := fiveNodes(c)
		data := content(23, 4<<20)
		a.split("disk.img", 1, data)
		c.settle()
		first := a.place(control.PlaceArgs{Replicas: 2})
		c.byID(first.Placements[0].Node).stop()
		c.settle()
		again := a.place(control.PlaceArgs{Name: "disk.img", Replicas: 2})
		if len(again.Placements) < 2 || a.staged() > 200<<10 {
			t.Errorf("placed on %d nodes with %s in staging", len(again.Placements), a.staged())
		}
		c.byID(first.Placements[1].Node).stop()
		c.settle()
		c.restoreElsewhere(data)
	})
}

// More copies are wanted, on a node that no holder reaches: what they have comes back here to be sent.
func TestCopiesForWhoNoHolderReachesAreRecalled(t *testing.T) {
	long(t)
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a", "", c.owned)
		c.start("b", "a-20MiB")
		c.start("c", "a-20MiB")
		data := content(25, 4<<20)
		a.split("disk.img", 1, data)
		c.settle()
		a.place(control.PlaceArgs{Replicas: 2})
		c.start("d", "a-20MiB")
		c.settle()
		again := a.place(control.PlaceArgs{Name: "disk.img", Replicas: 3})
		if len(again.Placements) != 3 || again.LetGo == 0 || a.staged() > 200<<10 {
			t.Errorf("placed on %d nodes, %s went and %s stay in staging", len(again.Placements), again.LetGo,
				a.staged())
		}
	})
}

// A later version uses parts of runs, so that its holders keep parts: nobody can pass a whole run on. The coordinator
// brings the parts back and sends them anew.
func TestPartsOfRunsAreRecalled(t *testing.T) {
	long(t)
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := fiveNodes(c)
		first := content(24, 12<<20) // runs of a chunk or two
		var second []byte
		for at := 0; at < len(first); at += 512 << 10 {
			second = append(second, first[at:at+256<<10]...)
		}
		a.split("disk.img", 1, first)
		c.settle()
		a.place(control.PlaceArgs{Replicas: 2})
		a.split("disk.img", 2, second)
		placed := a.place(control.PlaceArgs{Name: "disk.img", Replicas: 2})
		_, err := a.Remove(t.Context(), control.RemoveArgs{Name: "disk.img", Version: 1}, quiet)
		check(t, err)
		for _, m := range c.nodes {
			m.collect()
		}
		lost := c.byID(placed.Placements[0].Node)
		lost.stop()
		c.settle()
		again := a.place(control.PlaceArgs{Name: "disk.img", Replicas: 2})
		if again.NewBytes == 0 || a.staged() > 300<<10 {
			t.Errorf("sent %s anew, %s stay in staging", again.NewBytes, a.staged())
		}
		c.byID(placed.Placements[1].Node).stop()
		c.settle()
		c.restoreElsewhere(second)

		for _, m := range c.nodes {
			if m != a {
				m.stop()
			}
		}
		c.settle()
		if _, err := a.Place(t.Context(), control.PlaceArgs{Name: "disk.img", Replicas: 1, Strategy: "seed"},
			quiet); core.CodeOf(err) != core.CodeRedundant {
			t.Errorf("with all holders gone: %v", err)
		}
	})
}
