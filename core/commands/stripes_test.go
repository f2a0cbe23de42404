// SPDX-License-Identifier: Apache-2.0

package commands_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/commands"
	"github.com/bkp-tool/bkp/core/control"
)

// code42 is stripes of four runs and two of parity.
var code42 = core.Erasure{K: 4, M: 2}

// striped is a source and so many targets, each linked to all before it, and a version that it placed in stripes.
func striped(t *testing.T, targets int, data []byte) (c *cluster, a *member, holders []*member) {
	c = newCluster(t)
	a = c.start("a", "", c.owned)
	peers := "a-50MiB"
	for i := range targets {
		name := fmt.Sprintf("n%d", i)
		holders = append(holders, c.start(name, peers))
		peers += "," + name + "-50MiB"
	}
	a.split("disk.img", 1, data)
	c.settle()
	placed := a.place(control.PlaceArgs{Erasure: code42})
	if got := float64(sum(placed.Placements)) / float64(placed.Bytes); got < 1.5 || got > 1.65 {
		t.Errorf("peers keep %.2f times the version", got)
	}
	return c, a, holders
}

// reader is a new machine with the identity alone, linked to all.
func (c *cluster) reader(name string, holders []*member) *member {
	var peers []string
	for _, h := range holders {
		peers = append(peers, h.name+"-50MiB")
	}
	z := c.start(name, strings.Join(peers, ","), c.owned, func(conf *commands.Config) { conf.Token = nil })
	c.settle()
	return z
}

// TestEveryPairOfSixIsBorne has each two of six holders away in turn: the version is fetched whole, and of a range no
// more than overlaps it; of three it is said what lacks.
func TestEveryPairOfSixIsBorne(t *testing.T) {
	long(t)
	virtual(t, func(t *testing.T) {
		data := content(42, 1<<20)
		c, _, holders := striped(t, 6, data)
		z := c.reader("z", holders)
		for i := range holders {
			holders[i].stop()
			for k := i + 1; k < len(holders); k++ {
				holders[k].stop()
				z.fetch("disk.img", 0, data)
				holders[k].run()
				c.settle()
			}
			holders[i].run()
			c.settle()
		}
		for _, h := range holders[:3] {
			h.stop()
		}
		_, err := z.Fetch(t.Context(), control.FetchArgs{Name: "disk.img", Output: t.TempDir() + "/out"}, quiet)
		if core.CodeOf(err) != core.CodeRedundant || !strings.Contains(err.Error(), "any 4 are needed") {
			t.Errorf("three of six are away: %v", err)
		}
	})
}

// TestStripesAreRebuiltOnNewHolders loses two of eight and places again: what they had is computed from the others, as
// nothing of it is staged any more, and then two others may go.
func TestStripesAreRebuiltOnNewHolders(t *testing.T) {
	long(t)
	virtual(t, func(t *testing.T) {
		data := content(43, 1<<20)
		c, a, holders := striped(t, 8, data)
		holders[0].stop()
		holders[1].stop()
		again := a.place(control.PlaceArgs{Name: "disk.img", Replicas: 2, AsBefore: true})
		if again.Erasure != code42 || again.SentBytes == 0 || again.SentBytes > again.Bytes {
			t.Errorf("placed again as %q, %d of %d bytes sent", again.Erasure, again.SentBytes, again.Bytes)
		}
		holders[2].stop()
		holders[3].stop()
		z := c.reader("z", holders[4:])
		z.fetch("disk.img", 0, data)
	})
}

// TestVersionsShareStripes has a second version that has most of the first: it keeps the stripes that it uses, and they
// outlive the first.
func TestVersionsShareStripes(t *testing.T) {
	long(t)
	virtual(t, func(t *testing.T) {
		data := content(44, 1<<20)
		c, a, holders := striped(t, 6, data)
		next := bytes.Clone(data)
		copy(next[300<<10:], content(45, 50<<10))
		a.split("disk.img", 2, next)
		placed := a.place(control.PlaceArgs{Name: "disk.img", Version: 2, Erasure: code42})
		if placed.SentBytes > placed.Bytes/2 {
			t.Errorf("%d of %d bytes were sent", placed.SentBytes, placed.Bytes)
		}
		_, err := a.Remove(t.Context(), control.RemoveArgs{Name: "disk.img", Version: 1}, quiet)
		check(t, err)
		holders[2].stop()
		holders[5].stop()
		z := c.reader("z", holders)
		z.fetch("disk.img", 0, next)
	})
}
