// SPDX-License-Identifier: Apache-2.0

package commands_test

import (
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
)

// TestRebalance: copies at nodes with narrow links go to others that came later, when that is asked for, and at no
// moment fewer of them count than are wanted.
func TestRebalance(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a", "", c.owned, keeps)
		c.start("b", "a-512KiB")
		c.start("c", "a-512KiB")
		a.split("disk.img", 1, content(51, 1<<20))
		c.settle()
		a.place(control.PlaceArgs{Name: "disk.img", Replicas: 2})
		dear := usedOf(c.nodes["b"].keeping) + usedOf(c.nodes["c"].keeping)
		c.start("d", "a-20MiB")
		c.start("e", "a-20MiB")
		c.settle()
		time.Sleep(time.Hour)
		if after := usedOf(c.nodes["b"].keeping) + usedOf(c.nodes["c"].keeping); after != dear {
			t.Errorf("unasked it moved: %s at the dear nodes, of %s", after, dear)
		}
		args := control.RebalanceArgs{DryRun: true}
		r, err := a.Rebalance(t.Context(), args, quiet)
		check(t, err)
		if len(r.Moved) != 1 || len(r.Moved[0].From) != 2 || len(r.Moved[0].To) != 2 || !r.DryRun {
			t.Fatalf("planned is %+v", r)
		}
		if used := usedOf(c.nodes["d"].keeping); used > 0 {
			t.Errorf("%s moved by a dry run", used)
		}
		least, ended := 2, make(chan struct{})
		go func() {
			defer close(ended)
			args.DryRun = false
			r, err = a.Rebalance(t.Context(), args, quiet)
		}()
		for moving := true; moving; {
			select {
			case <-ended:
				moving = false
			case <-time.After(20 * time.Millisecond):
			}
			all, err := a.placed.All()
			check(t, err)
			least = min(least, all[0].Counting())
		}
		if check(t, err); least < 2 {
			t.Errorf("%d copies counted on the way", least)
		}
		s := a.standing("disk.img")
		if s.Copies != 2 || s.State != control.StateWell || len(s.Holders) != 2 {
			t.Errorf("it stands at %+v", s)
		}
		for _, name := range []string{"d", "e"} {
			var moved core.Size
			for _, x := range r.Moved[0].To {
				if x.Node == c.nodes[name].signer.ID() {
					moved = x.Bytes
				}
			}
			if moved < core.MiB {
				t.Errorf("%s took over %s", name, moved)
			}
		}
		time.Sleep(time.Minute)
		if used := usedOf(c.nodes["b"].keeping) + usedOf(c.nodes["c"].keeping); used > 0 {
			t.Errorf("the dear nodes keep %s still", used)
		}
		r, err = a.Rebalance(t.Context(), args, quiet)
		if check(t, err); len(r.Moved) != 0 {
			t.Errorf("once more %+v moved", r.Moved)
		}
	})
}
