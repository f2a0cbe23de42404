// SPDX-License-Identifier: Apache-2.0

package commands_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/cmd/bkp/datadir"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/commands"
	"github.com/bkp-tool/bkp/core/control"
)

// TestHolderThatCameBackIsThere: a holder of the peer list that was away for long is tried at once when something of it
// is wanted, and looking for it in vain, where others say that it is, drops nobody from the list.
func TestHolderThatCameBackIsThere(t *testing.T) {
	virtual(t, func(t *testing.T) {
		data := content(7, 1<<20)
		c := newCluster(t)
		a := c.start("a", "b-20MiB,c-20MiB", c.owned)
		b := c.start("b", "")
		c.start("c", "b-20MiB")
		a.split("disk.img", 1, data)
		c.settle()
		a.place(control.PlaceArgs{Name: "disk.img", Replicas: 1, Strategy: "seed", Only: []string{b.ID().String()}})
		z := c.start("z", "b-20MiB,c-20MiB", c.owned)
		c.settle()

		b.stop()
		time.Sleep(time.Minute)
		for range 2 { // c tells where b was
			if _, err := z.Fetch(t.Context(), control.FetchArgs{Name: "disk.img", Output: t.TempDir() + "/out"}, quiet); err == nil {
				t.Fatal("fetched from nobody")
			}
		}
		b.run()
		z.fetch("disk.img", 0, data)
	})
}

// TestAnotherKeyAtAFirstUsedAddress: a machine with the identity alone trusts who answers at an address first, and
// whoever answers there later with another key gets no session; the error names both.
func TestAnotherKeyAtAFirstUsedAddress(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		open := func(conf *commands.Config) { conf.Issuers = map[core.ID]core.Size{c.owner.ID(): core.GiB} }
		dir := datadir.Dir(t.TempDir())
		first := c.start("b", "", open)
		z := c.start("z", "b-20MiB", c.owned, func(conf *commands.Config) {
			pins, err := dir.OpenPins(dir)
			check(t, err)
			conf.Token, conf.Pins = nil, pins
		})
		c.settle()
		if err := z.Dialled()[0].Err; err != nil {
			t.Fatalf("the first that answers: %v", err)
		}
		first.stop()
		second := c.start("b", "", open)
		time.Sleep(time.Minute)
		err := z.Dialled()[0].Err
		if core.CodeOf(err) != core.CodeRefused || !strings.Contains(err.Error(), first.signer.ID().String()) ||
			!strings.Contains(err.Error(), second.signer.ID().String()) {
			t.Errorf("another that answers: %v", err)
		}
	})
}

// TestNextVersionGoesToOthersOnly: what holders of the version before keep reaches the only ones that are to keep the next,
// though those holders are told nothing of it.
func TestNextVersionGoesToOthersOnly(t *testing.T) {
	virtual(t, func(t *testing.T) {
		data := content(8, 2<<20)
		c := newCluster(t)
		a := c.start("a", "b-20MiB,c-20MiB,d-20MiB,e-20MiB", c.owned)
		var ids []string
		peers := ""
		for _, name := range []string{"b", "c", "d", "e"} {
			ids = append(ids, c.start(name, peers).ID().String())
			peers = strings.TrimPrefix(peers+","+name+"-20MiB", ",")
		}
		c.settle()
		a.split("disk.img", 1, data)
		a.place(control.PlaceArgs{Name: "disk.img", Replicas: 2, Strategy: "seed", Only: ids[:2]})
		next := append(slices.Clone(data[:1<<20]), content(9, 1<<20)...)
		a.split("disk.img", 2, next)
		began := time.Now()
		a.place(control.PlaceArgs{Name: "disk.img", Version: 2, Replicas: 2, Strategy: "seed", Only: ids[2:]})
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("it took %s", took)
		}
		for _, name := range []string{"b", "c"} {
			c.nodes[name].stop()
		}
		a.fetch("disk.img", 2, next)
	})
}
