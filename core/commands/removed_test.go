// SPDX-License-Identifier: Apache-2.0

package commands_test

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
)

// listed is the versions that a node finds of its owner, here and at peers.
func (m *member) listed() (versions []int) {
	t := m.cluster.t
	t.Helper()
	r, err := m.ListVersions(t.Context(), control.ListArgs{}, quiet)
	check(t, err)
	for _, v := range r.Versions {
		versions = append(versions, v.Version)
	}
	return versions
}

// TestRemovedStaysRemoved: holders are away while a version of three is removed, all nodes are started anew, and the
// holders come back, at first to another machine of the owner alone: nobody finds the version, and they free it.
func TestRemovedStaysRemoved(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a", "", c.owned)
		for _, name := range []string{"b", "c", "d"} {
			c.start(name, "a-20MiB,z-20MiB")
		}
		c.settle()
		for number := range 3 {
			a.split("disk.img", number+1, content(byte(40+number), 200<<10))
			a.place(control.PlaceArgs{Name: "disk.img", Replicas: 3})
		}
		b, d := c.nodes["b"], c.nodes["d"]
		b.stop()
		d.stop()
		r, err := a.Remove(t.Context(), control.RemoveArgs{Name: "disk.img", Version: 3}, quiet)
		if check(t, err); !slices.Equal(r.Versions, []int{3}) || len(r.Unheard) != 2 || len(r.Released) != 1 {
			t.Errorf("removed: %+v", r)
		}
		a.stop()
		c.nodes["c"].stop()
		c.nodes["c"].run()
		z := c.start("z", "", c.owned) // with the identity alone
		b.run()
		c.settle()
		if got := z.listed(); !slices.Equal(got, []int{1, 2}) {
			t.Errorf("another machine finds %v", got)
		}
		z.fetch("disk.img", 0, content(41, 200<<10))
		path := filepath.Join(t.TempDir(), "x")
		_, err = z.Fetch(t.Context(), control.FetchArgs{Name: "disk.img", Version: 3, Output: path}, quiet)
		if core.CodeOf(err) != core.CodeNoName && core.CodeOf(err) != core.CodeRedundant {
			t.Errorf("what was removed is fetched: %v", err)
		}
		time.Sleep(time.Minute)
		if one, two := usedOf(b.keeping), usedOf(c.nodes["c"].keeping); one > two*11/10 {
			t.Errorf("b keeps %s, and c, which was there, %s", one, two)
		}
		z.stop()
		d.run() // only its source tells it
		a.run()
		c.settle()
		time.Sleep(time.Minute)
		if one, two := usedOf(d.keeping), usedOf(c.nodes["c"].keeping); one > two*11/10 {
			t.Errorf("d keeps %s, and c, which was there, %s", one, two)
		}
		if got := a.listed(); !slices.Equal(got, []int{1, 2}) {
			t.Errorf("its machine finds %v", got)
		}
		if all, err := a.placed.All(); err != nil || len(all) != 2 {
			t.Errorf("%d records are left, %v", len(all), err)
		}
		_, err = a.Remove(t.Context(), control.RemoveArgs{Name: "disk.img"}, quiet)
		check(t, err)
		time.Sleep(time.Minute)
		for _, name := range []string{"b", "c", "d"} {
			if used := usedOf(c.nodes[name].keeping); used > 0 {
				t.Errorf("%s keeps %s of what is removed", name, used)
			}
		}
		a.split("disk.img", 4, content(44, 200<<10))
		a.place(control.PlaceArgs{Name: "disk.img", Replicas: 3})
		if got := a.listed(); !slices.Equal(got, []int{4}) {
			t.Errorf("split anew it finds %v", got)
		}
	})
}

// TestRemovedNumberIsNotGivenAgain: a machine with the identity alone that gives a number again is told at once.
func TestRemovedNumberIsNotGivenAgain(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a", "", c.owned)
		c.start("b", "a-20MiB,z-20MiB")
		c.settle()
		for number := range 2 {
			a.split("disk.img", number+1, content(byte(45+number), 100<<10))
			a.place(control.PlaceArgs{Name: "disk.img", Replicas: 1})
		}
		_, err := a.Remove(t.Context(), control.RemoveArgs{Name: "disk.img", Version: 1}, quiet)
		check(t, err)
		a.stop()
		z := c.start("z", "", c.owned)
		c.settle()
		z.split("disk.img", 1, content(47, 100<<10))
		_, err = z.Place(t.Context(), control.PlaceArgs{Name: "disk.img", Version: 1, Replicas: 1, Strategy: "seed"}, quiet)
		if core.CodeOf(err) != core.CodeFailed || core.HintOf(err) == "" {
			t.Errorf("version 1 again: %v", err)
		}
	})
}
