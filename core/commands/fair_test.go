// SPDX-License-Identifier: Apache-2.0

package commands_test

import (
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/commands"
	"github.com/bkp-tool/bkp/core/control"
)

// TestTasksShareAnUplink begins a second placement while a first one has the whole uplink: from then on each has half
// of it, and who is left alone has all again.
func TestTasksShareAnUplink(t *testing.T) {
	long(t)
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a", "", c.owned, func(conf *commands.Config) { conf.Uplink = calendar("4MiB") })
		c.start("b", "a-16MiB")
		a.split("one.img", 1, content(1, 12<<20))
		a.split("two.img", 1, content(2, 12<<20))
		c.settle()
		began := time.Now()
		first := make(chan float64, 1)
		go func() {
			a.place(control.PlaceArgs{Name: "one.img", Replicas: 1})
			first <- time.Since(began).Seconds()
		}()
		time.Sleep(time.Second)
		planned, err := a.Place(t.Context(), control.PlaceArgs{Name: "two.img", Replicas: 1, Strategy: "seed", DryRun: true}, quiet)
		check(t, err)
		if b := planned.Busy; len(b) != 1 || b[0].Name != "one.img" || b[0].EndsS < 1.5 || b[0].EndsS > 3 { // of 3.2
			t.Errorf("beside what is under way: %+v", b)
		}
		a.place(control.PlaceArgs{Name: "two.img", Replicas: 1})
		one, both := <-first, time.Since(began).Seconds()
		if one < 4.3 || one > 6 || both > 7.2 { // 3.2 without sharing, 5.3 with, 6.3 for all
			t.Errorf("the first was done after %.1f s, both after %.1f s", one, both)
		}
	})
}

// TestWhatOthersLeaveIsTaken has two targets end before a third, which lacks more: it gets their part of the uplink for
// what is already on its way, without more runs to ask for.
func TestWhatOthersLeaveIsTaken(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a", "", c.owned, func(conf *commands.Config) { conf.Uplink = calendar("1MiB") })
		for _, name := range []string{"b", "d", "e"} {
			c.start(name, "a-16MiB")
		}
		a.split("one.img", 1, content(1, 3<<20))
		c.settle()
		r := a.place(control.PlaceArgs{Replicas: 3})
		if r.Seconds > 10 { // 9.5 at best, since nobody relays here
			t.Errorf("it took %.1f s", r.Seconds)
		}
		a.stop()
		raised := false
		for line := range strings.Lines(a.trace.String()) {
			raised = raised || strings.Contains(line, `"STORAGE_APPLY"`) && strings.Contains(line, `"runs":[]`)
		}
		if !raised {
			t.Error("no lane asked for what the others had left")
		}
	})
}

// TestATrunkIsFullToTheEnd has one of two targets beyond a trunk receive little in the first seconds: when the other
// has all its runs, it gets that one's share too.
func TestATrunkIsFullToTheEnd(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		began := time.Now()
		a := c.start("a", "", c.owned, zoned("east")) // a trunk of 2 MiB/s
		c.start("b", "a-10MiB", zoned("west"))
		c.start("d", "a-10MiB", zoned("west"), behind(&line{rate: func() core.Rate {
			if time.Since(began) < 6*time.Second {
				return core.Rate(core.MiB / 4)
			}
			return 10 * core.Rate(core.MiB)
		}}))
		a.split("one.img", 1, content(1, 16<<20))
		c.settle()
		r := a.place(control.PlaceArgs{Replicas: 1, Strategy: "most-free"})
		// 8.4 if nothing were lost in the beginning; 10.1 with the shares as they are planned
		if len(r.Placements) != 2 || r.Seconds > 9.8 {
			t.Errorf("%d targets, it took %.1f s", len(r.Placements), r.Seconds)
		}
	})
}
