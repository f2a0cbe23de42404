// SPDX-License-Identifier: Apache-2.0

package commands_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/commands"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/keep/keeptest"
	"github.com/bkp-tool/bkp/core/ledger"
	"github.com/bkp-tool/bkp/core/repair"
)

// keeps has a node keep its placements.
func keeps(conf *commands.Config) {
	conf.Repair = &repair.Config{Grace: 15 * time.Minute, AuditEvery: 10 * time.Minute}
}

// kept5 is a node that keeps its placements, and four that are linked to it, and with mesh to one another.
func kept5(c *cluster, mesh bool) *member {
	a := c.start("a", "", c.owned, keeps)
	peers := "a-20MiB"
	for _, name := range []string{"b", "c", "d", "e"} {
		c.start(name, peers)
		if mesh {
			peers += "," + name + "-20MiB"
		}
	}
	return a
}

// standing is how a version stands by its node.
func (m *member) standing(name string) control.Standing {
	t := m.cluster.t
	t.Helper()
	r, err := m.Standings(t.Context(), control.StandingArgs{Name: name}, quiet)
	check(t, err)
	return r.Placements[0]
}

// awaitState returns once a version is in a state, and fails the test where it is not for long.
func (m *member) awaitState(name, state string, long time.Duration) {
	t := m.cluster.t
	t.Helper()
	for until := time.Now().Add(long); ; time.Sleep(5 * time.Second) {
		s := m.standing(name)
		if s.State == state {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("after %s it is %+v, want it %s", long, s, state)
		}
	}
}

// TestLostCopiesComeBack: nobody asks, and as many copies are there again as are wanted.
func TestLostCopiesComeBack(t *testing.T) {
	long(t)
	losses := map[string]func(t *testing.T, a, b *member){
		"gone": func(t *testing.T, a, b *member) {
			b.stop()
			time.Sleep(10 * time.Minute)
			if s := a.standing("disk.img"); s.State != control.StateWaiting || s.Code != core.CodeOK || s.Copies != 2 {
				t.Errorf("while it is away for a moment: %+v", s)
			}
			time.Sleep(5 * time.Minute)
		},
		"wiped": func(t *testing.T, _, b *member) {
			b.stop()
			b.wipe()
			b.run()
		},
		"rotten": func(t *testing.T, _, b *member) {
			b.stop() // so that its pack is finished
			b.run()
			time.Sleep(time.Second)
			if n := b.rot(filepath.Join(b.dir, "holdings")); n < 3 {
				t.Fatalf("%d damaged chunks", n)
			}
		},
	}
	for _, mesh := range []bool{false, true} {
		for name, lose := range losses {
			t.Run(map[bool]string{false: "star", true: "mesh"}[mesh]+", "+name, func(t *testing.T) {
				virtual(t, func(t *testing.T) {
					c := newCluster(t)
					a := kept5(c, mesh)
					data := content(31, 1<<20)
					a.split("disk.img", 1, data)
					c.settle()
					placed := a.place(control.PlaceArgs{Name: "disk.img", Replicas: 2})
					b := c.byID(placed.Placements[0].Node)
					lose(t, a, b)
					time.Sleep(11 * time.Minute) // an audit was made when it came, and another is due
					a.awaitState("disk.img", control.StateWell, 10*time.Minute)
					s := a.standing("disk.img")
					if s.Copies < 2 || s.Reached < 2 || s.Code != core.CodeOK {
						t.Errorf("it stands at %+v", s)
					}
					v, err := a.Verify(t.Context(), control.VerifyArgs{Name: "disk.img", All: true, Share: 1}, quiet)
					check(t, err)
					if v.Copies < 2 || len(v.Damaged) > 0 {
						t.Errorf("%d copies: %+v", v.Copies, v.Holders)
					}
					if failed := a.ledger.Count(ledger.KindAudit); name != "gone" && failed == 0 {
						t.Error("the failure is not in the ledger")
					}
					if b.Node == nil {
						b.run()
						time.Sleep(time.Minute)
						if used := usedOf(b.keeping); name == "gone" && used > 100<<10 && len(s.Holders) > 1 {
							r, err := b.Files(t.Context(), control.FilesArgs{Limit: 10}, quiet)
							if check(t, err); len(r.Files) > 0 {
								t.Errorf("who came back keeps %d files still", len(r.Files))
							}
						}
					}
				})
			})
		}
	}
}

// wipe takes all away that a node that stands still has, but for its key.
func (m *member) wipe() {
	t := m.cluster.t
	t.Helper()
	check(t, durable.RemoveAll(m.dir))
	check(t, os.MkdirAll(m.dir, 0o700))
	m.ledger = &keeptest.Ledger{Node: m.signer.ID()}
}

// TestTargetWipedOnTheWay: it is asked anew at once, and has all in the end; nothing is offered to it in vain.
func TestTargetWipedOnTheWay(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a", "", c.owned)
		c.start("b", "a-64KiB")
		c.start("c", "a-64KiB")
		a.split("disk.img", 1, content(34, 1<<20))
		c.settle()
		b := c.nodes["b"]
		time.AfterFunc(6*time.Second, func() {
			b.stop()
			b.wipe()
			b.run()
		})
		placed := a.place(control.PlaceArgs{Name: "disk.img", Replicas: 2})
		if s := a.standing("disk.img"); s.Copies != 2 || len(s.Holders) != 2 || placed.Seconds > 40 {
			t.Errorf("after %.1f s it stands at %+v", placed.Seconds, s)
		}
		if n := strings.Count(a.log.String(), "target refused runs"); n > 3 {
			t.Errorf("runs were offered in vain %d times", n)
		}
	})
}

// TestPlaceThatIsGoneOnWith: a target is lost and nobody else is there. Who waits is told that the node goes on, and it
// does.
func TestPlaceThatIsGoneOnWith(t *testing.T) {
	t.Parallel()
	for _, kept := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t)
			a := c.start("a", "", c.owned, func(conf *commands.Config) {
				if kept {
					keeps(conf)
				}
			})
			c.start("b", "a-20MiB")
			lost := c.start("c", "a-64KiB")
			a.split("disk.img", 1, content(36, 1<<20))
			c.settle()
			time.AfterFunc(4*time.Second, lost.stop)
			_, err := a.Place(t.Context(), control.PlaceArgs{Name: "disk.img", Replicas: 2, Strategy: "seed"}, quiet)
			want := core.CodeRedundant
			if kept {
				want = core.CodePartial
			}
			if core.CodeOf(err) != want || core.HintOf(err) == "" {
				t.Errorf("with a keeper %v it ends with %d: %v (hint %q)", kept, core.CodeOf(err), err, core.HintOf(err))
			}
			if !kept {
				return
			}
			c.start("d", "a-20MiB")
			time.Sleep(time.Minute)
			a.awaitState("disk.img", control.StateWell, 20*time.Minute)
		})
	}
}

// TestRepairYields: a placement that somebody asks for beside a repair takes no longer than the repair's share of the
// uplink costs it; the repair goes on meanwhile, and has all of the uplink before and after.
func TestRepairYields(t *testing.T) {
	t.Parallel()
	long(t)
	took := map[bool]float64{}
	for _, beside := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t)
			a := c.start("a", "", c.owned, keeps, func(conf *commands.Config) { conf.Uplink = calendar("1MiB") })
			for _, name := range []string{"b", "d"} {
				c.start(name, "a-8MiB", func(conf *commands.Config) { conf.Capacity = 300 * core.MiB })
			}
			a.split("old.img", 1, content(37, 40<<20))
			c.settle()
			placed := a.place(control.PlaceArgs{Name: "old.img", Replicas: 1, KeepLocal: true})
			c.start("e", "a-8MiB")
			a.split("new.img", 1, content(38, 8<<20))
			c.settle()
			if beside {
				c.byID(placed.Placements[0].Node).stop()
				time.Sleep(15*time.Minute + 10*time.Second)
				if s := a.standing("old.img"); s.Done == 0 || s.Total == 0 {
					t.Fatalf("no repair is under way: %+v", s)
				}
			}
			before := a.standing("old.img").Done
			r := a.place(control.PlaceArgs{Name: "new.img", Replicas: 1, Only: []string{"e:8001"}})
			took[beside] = r.Seconds
			if s := a.standing("old.img"); beside && s.Done <= before {
				t.Errorf("the repair stood still: it moved %s, and %s before", s.Done, before)
			}
			if !beside {
				return
			}
			time.Sleep(50 * time.Second)
			if s := a.standing("old.img"); s.State != control.StateWell {
				t.Errorf("it stands at %+v", s)
			}
		})
	}
	if ratio := took[true] / took[false]; ratio > 1.2 {
		t.Errorf("a placement of %.2f s takes %.2f s beside a repair: %.2f times as long", took[false], took[true], ratio)
	}
	t.Log(took)
}

// TestLock: copies that are made anew carry it, nobody removes what is locked, and all of it can be removed then.
func TestLock(t *testing.T) {
	long(t)
	t.Parallel()
	for _, force := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t)
			a := kept5(c, false)
			a.split("disk.img", 1, content(35, 1<<20))
			c.settle()
			until := time.Now().Add(time.Hour).Unix()
			placed := a.place(control.PlaceArgs{Name: "disk.img", Replicas: 2, Lock: 3600})
			gone := c.byID(placed.Placements[0].Node)
			gone.stop()
			time.Sleep(16 * time.Minute)
			a.awaitState("disk.img", control.StateWell, 5*time.Minute)
			for _, h := range a.standing("disk.img").Holders {
				segments, err := c.byID(h.Node).holdings.Segments()
				check(t, err)
				for _, s := range segments {
					if s.LockedUntil < until || s.LockedUntil > until+5 {
						t.Errorf("%s keeps a segment locked until %d, want %d", c.byID(h.Node).name, s.LockedUntil, until)
					}
				}
			}
			gone.run()
			c.settle()
			args := control.RemoveArgs{Name: "disk.img"}
			r, err := a.Remove(t.Context(), args, quiet)
			if check(t, err); len(r.Versions) > 0 || len(r.Unheard) > 0 || len(r.Locked) != 1 || r.Locked[0].Until < until {
				t.Errorf("a locked version: %+v", r)
			}
			if force { // it is forgotten here, and its holders keep it as long as it is locked
				before := usedEverywhere(c)
				args.Force = true
				r, err = a.Remove(t.Context(), args, quiet)
				if check(t, err); len(r.Versions) != 1 || len(r.Released) > 0 || len(a.listed()) > 0 {
					t.Errorf("by force: %+v, and it lists %v", r, a.listed())
				}
				time.Sleep(10 * time.Minute)
				if used := usedEverywhere(c); used < before {
					t.Errorf("%s of %s are kept while it is locked", used, before)
				}
			}
			time.Sleep(time.Hour)
			if !force {
				r, err = a.Remove(t.Context(), args, quiet)
				if check(t, err); len(r.Versions) != 1 || len(r.Unheard)+len(r.Locked) > 0 {
					t.Errorf("once the lock is over: %+v", r)
				}
			}
			time.Sleep(time.Minute)
			if used := usedEverywhere(c); used > 0 {
				t.Errorf("%s are kept after it was removed", used)
			}
		})
	}
}

// TestBlinksMoveNothing: holders that are away for less than the grace, one after the other, then half of the nodes at
// once for longer.
func TestBlinksMoveNothing(t *testing.T) {
	long(t)
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := kept5(c, true)
		a.split("disk.img", 1, content(32, 1<<20))
		c.settle()
		placed := a.place(control.PlaceArgs{Name: "disk.img", Replicas: 2})
		before := usedEverywhere(c)
		for range 1 {
			for _, row := range placed.Placements {
				m := c.byID(row.Node)
				m.stop()
				time.Sleep(10 * time.Minute)
				m.run()
				time.Sleep(time.Minute)
			}
		}
		for _, name := range []string{"b", "c", "d"} {
			c.nodes[name].stop()
		}
		time.Sleep(20 * time.Minute)
		for _, name := range []string{"b", "c", "d"} {
			c.nodes[name].run()
		}
		time.Sleep(2 * time.Minute)
		if s := a.standing("disk.img"); s.State != control.StateWell || s.Copies != 2 {
			t.Errorf("it stands at %+v", s)
		}
		if after := usedEverywhere(c); after != before {
			t.Errorf("%s is kept, and %s was", after, before)
		}
	})
}

// usedEverywhere is what all nodes keep for others.
func usedEverywhere(c *cluster) (used core.Size) {
	for _, m := range c.nodes {
		used += usedOf(m.keeping)
	}
	return used
}

// TestDrain: a node is left with nothing, others have it then; and nothing moves where nobody could take over.
func TestDrain(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := kept5(c, false)
		a.split("disk.img", 1, content(33, 1<<20))
		c.settle()
		args := control.PlaceArgs{Name: "disk.img", Replicas: 2}
		first := c.byID(a.place(args).Placements[0].Node)
		r, err := a.Drain(t.Context(), control.DrainArgs{Node: first.name + ":8001"}, quiet)
		check(t, err)
		if len(r.Nodes) != 1 || len(r.Moved) != 1 || r.Moved[0].Copies != 2 {
			t.Errorf("it came to %+v", r)
		}
		if slices.ContainsFunc(r.Moved[0].Holders, func(h control.Holder) bool { return h.Node == first.signer.ID() }) {
			t.Errorf("it is still to keep something: %+v", r.Moved[0].Holders)
		}
		files, err := first.Files(t.Context(), control.FilesArgs{Limit: 10}, quiet)
		if check(t, err); len(files.Files) > 0 {
			t.Errorf("it keeps %d files", len(files.Files))
		}
		time.Sleep(10 * time.Minute) // nobody gives it back
		if s := a.standing("disk.img"); s.State != control.StateWell {
			t.Errorf("it stands at %+v", s)
		}
		for _, m := range c.nodes {
			if m != a && m != first && !slices.ContainsFunc(r.Moved[0].Holders,
				func(h control.Holder) bool { return h.Node == m.signer.ID() }) {
				m.stop()
			}
		}
		time.Sleep(time.Minute)
		for range 3 { // until but two are left
			holder := r.Moved[0].Holders[0].Node
			if r, err = a.Drain(t.Context(), control.DrainArgs{Node: holder.String()}, quiet); err != nil {
				break
			}
		}
		if s := a.standing("disk.img"); s.State != control.StateWell || s.Copies != 2 {
			t.Errorf("it stands at %+v", s)
		}
		if core.CodeOf(err) != core.CodeRedundant || core.HintOf(err) == "" {
			t.Errorf("drained where nobody could take over: %v, %+v", err, r)
		}
	})
}

// TestRepairBringsWhatThereIsRoomFor: where fewer nodes are left than copies are wanted, as many copies are there again
// as can be, the rest is said to lack, and comes when there is room.
func TestRepairBringsWhatThereIsRoomFor(t *testing.T) {
	long(t)
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a", "", c.owned, keeps)
		for _, name := range []string{"b", "c", "d"} {
			c.start(name, "a-20MiB")
		}
		for _, full := range []string{"x", "y"} { // most nodes are there
			c.start(full, "a-20MiB", func(conf *commands.Config) { conf.Capacity = 100 * core.KiB })
		}
		a.split("disk.img", 1, content(34, 1<<20))
		c.settle()
		a.place(control.PlaceArgs{Name: "disk.img", Replicas: 3})
		c.nodes["c"].stop()
		c.nodes["d"].stop()
		c.start("e", "a-20MiB")
		time.Sleep(2 * time.Hour)
		s := a.standing("disk.img")
		if s.Copies != 2 || s.State != control.StateLacking {
			t.Errorf("it stands at %+v", s)
		}
		c.start("f", "a-20MiB")
		a.awaitState("disk.img", control.StateWell, time.Hour)
	})
}

// TestRepairSeesToTheRest: what is nowhere any more keeps nobody from making copies of the rest.
func TestRepairSeesToTheRest(t *testing.T) {
	long(t)
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a", "", c.owned, keeps)
		b, gone := c.start("b", "a-20MiB"), c.start("c", "a-20MiB")
		a.split("disk.img", 1, content(35, 1<<20))
		c.settle()
		a.place(control.PlaceArgs{Name: "disk.img", Replicas: 2})
		_, err := a.Collect(t.Context(), control.None{}, quiet) // it is offloaded
		check(t, err)
		b.stop() // so that its pack is finished
		b.run()
		time.Sleep(time.Second)
		if n := b.rot(filepath.Join(b.dir, "holdings")); n < 3 {
			t.Fatalf("%d damaged chunks", n)
		}
		gone.stop()
		for _, name := range []string{"d", "e", "f"} {
			c.start(name, "a-20MiB")
		}
		time.Sleep(2 * time.Hour)
		s, others := a.standing("disk.img"), 0
		for _, h := range s.Holders {
			if h.Node != b.signer.ID() && h.Node != gone.signer.ID() {
				others += h.Counting
			}
		}
		if s.Copies != 0 || s.State != control.StateLacking || !strings.Contains(s.Problem, "at nobody who can be reached") {
			t.Errorf("it stands at %+v", s)
		}
		if others == 0 {
			t.Errorf("nothing of the rest was copied: %+v", s.Holders)
		}
	})
}
