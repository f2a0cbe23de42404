// SPDX-License-Identifier: Apache-2.0

package commands_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/commands"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/placements"
)

// coordinated is a node of the owner's that reaches b alone, which coordinates, and three others that b reaches.
func coordinated(c *cluster) (a, b *member) {
	b = c.start("b", "", keeps)
	a = c.start("a", "b-20MiB", c.owned, keeps)
	peers := "b-20MiB"
	for _, name := range []string{"c", "d", "e"} {
		c.start(name, peers)
		peers += "," + name + "-20MiB"
	}
	return a, b
}

// handOver has a version placed by b, and returns what the owner's node is told.
func (m *member) handOver(name string, copies int) error {
	m.cluster.t.Helper()
	_, err := m.Place(m.cluster.t.Context(), control.PlaceArgs{Name: name, Replicas: copies, Strategy: "seed",
		Coordinator: m.cluster.nodes["b"].ID().String()}, quiet)
	return err
}

// coordinates is the record of what a node keeps for another owner, once as many copies count as are wanted.
func (m *member) coordinates(long time.Duration) *placements.Record {
	t := m.cluster.t
	t.Helper()
	for until := time.Now().Add(long); ; time.Sleep(time.Second) {
		all, err := m.placed.All()
		check(t, err)
		for _, rec := range all {
			if rec.Delegation != nil && rec.Counting() >= rec.Copies {
				return rec
			}
		}
		if time.Now().After(until) {
			for _, rec := range all {
				t.Logf("%+v: %d copies", rec.Head, rec.Counting())
			}
			t.Fatalf("after %s fewer copies count at %s than are wanted", long, m.name)
		}
	}
}

// TestSourceMayGo: once the coordinator has a copy that counts the owner's machine goes, and all copies that are wanted
// count after that; without the coordinator, too, the identity and one of their holders are enough.
func TestSourceMayGo(t *testing.T) {
	long(t)
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := coordinated(c)
		data := content(61, 4<<20)
		a.split("disk.img", 1, data)
		c.settle()
		err := a.handOver("disk.img", 2)
		if core.CodeOf(err) != core.CodePartial || !strings.Contains(err.Error(), "this machine may go") {
			t.Fatalf("handed over: %v", err)
		}
		a.stop() // at once
		delete(c.nodes, "a")
		rec := b.coordinates(2 * time.Minute)
		if holders := rec.Holders(); len(holders) < 2 {
			t.Errorf("holders %+v", holders)
		}
		b.stop()
		delete(c.nodes, "b")
		z := c.start("z", "c-20MiB", c.owned)
		c.settle()
		z.fetch("disk.img", 0, data)
	})
}

// TestHandoverIsAskedAgain: the same command tells how far it is, and ends well once as many copies count; a
// coordinator that starts again goes on with what it wrote down.
func TestHandoverIsAskedAgain(t *testing.T) {
	long(t)
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := coordinated(c)
		data := content(62, 2<<20)
		a.split("disk.img", 1, data)
		c.settle()
		if err := a.handOver("disk.img", 3); core.CodeOf(err) != core.CodePartial {
			t.Fatalf("handed over: %v", err)
		}
		if all, err := b.placed.All(); err != nil || len(all) != 1 {
			t.Fatalf("%d records, %v", len(all), err)
		}
		b.stop()
		b.run()
		b.coordinates(3 * time.Minute)
		s := a.standing("disk.img")
		if s.State != control.StateHanded || s.Code != core.CodePartial || s.Coordinator == nil {
			t.Errorf("it stands at %+v", s)
		}
		_, err := a.RepairPlacements(t.Context(), control.StandingArgs{Name: "disk.img"}, quiet)
		if core.CodeOf(err) != core.CodeUsage {
			t.Errorf("repair of what another node sees to: %v", err)
		}
		check(t, a.handOver("disk.img", 3))
		if s := a.standing("disk.img"); s.Code != core.CodeOK || s.Coordinator.Copies != 3 {
			t.Errorf("it stands at %+v", s)
		}
		if all, _ := b.placed.All(); len(all) != 1 || all[0].Term != 1 {
			t.Errorf("%d records, of term %d", len(all), all[0].Term)
		}
		for _, name := range []string{"b", "c", "d", "e"} {
			refs, err := c.nodes[name].holdings.Refs(c.owner.ID())
			check(t, err)
			if len(refs) != 1 || refs[0].Location.IsZero() {
				t.Errorf("%s has %d refs, or does not say who keeps it", name, len(refs))
			}
		}
		next := edited(data)
		a.split("disk.img", 2, next)
		if err := a.handOver("disk.img", 2); core.CodeOf(err) != core.CodePartial {
			t.Fatalf("the next version: %v", err)
		}
		a.stop()
		delete(c.nodes, "a")
		b.coordinates(2 * time.Minute)
		time.Sleep(time.Minute)
		b.stop()
		delete(c.nodes, "b")
		z := c.start("z", "c-20MiB", c.owned)
		c.settle()
		z.fetch("disk.img", 2, next)
		z.fetch("disk.img", 1, data)
	})
}

// TestCoordinatorRepairs: a holder is gone for good, the owner's machine too, and as many copies count again.
func TestCoordinatorRepairs(t *testing.T) {
	long(t)
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := coordinated(c)
		data := content(63, 2<<20)
		a.split("disk.img", 1, data)
		c.settle()
		if err := a.handOver("disk.img", 2); core.CodeOf(err) != core.CodePartial {
			t.Fatalf("handed over: %v", err)
		}
		a.stop()
		delete(c.nodes, "a")
		rec := b.coordinates(2 * time.Minute)
		gone := c.byID(rec.Holders()[0].Node)
		gone.stop()
		delete(c.nodes, gone.name)
		time.Sleep(20 * time.Minute) // the grace is over
		rec = b.coordinates(5 * time.Minute)
		for _, h := range rec.Holders() {
			if h.Node == gone.signer.ID() && h.Counting > 0 {
				t.Errorf("%s counts still", gone.name)
			}
		}
		b.stop()
		delete(c.nodes, "b")
		left := "c"
		if gone.name == "c" {
			left = "d"
		}
		z := c.start("z", left+"-20MiB", c.owned)
		c.settle()
		z.fetch("disk.img", 0, data)
	})
}

// TestOwnerTakesOver: placed again without a coordinator it is the owner's node that keeps it, in a higher term: the
// coordinator has nothing more to do with it, and what others kept on its word is let go of.
func TestOwnerTakesOver(t *testing.T) {
	long(t)
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := coordinated(c)
		data := content(64, 2<<20)
		a.split("disk.img", 1, data)
		c.settle()
		if err := a.handOver("disk.img", 2); core.CodeOf(err) != core.CodePartial {
			t.Fatalf("handed over: %v", err)
		}
		task := b.coordinates(2 * time.Minute).Task
		peers, err := core.ParsePeers("wss://b:8001-20MiB,wss://c:8001-20MiB,wss://d:8001-20MiB,wss://e:8001-20MiB")
		check(t, err)
		a.Meet(peers)
		c.settle()
		a.place(control.PlaceArgs{Name: "disk.img", Replicas: 2})
		if all, err := b.placed.All(); err != nil || len(all) != 0 {
			t.Errorf("%d records at who is relieved, %v", len(all), err)
		}
		time.Sleep(5 * time.Minute)
		for name, m := range c.nodes {
			if has, err := m.holdings.HasTask(c.owner.ID(), task); err != nil || has {
				t.Errorf("%s keeps the coordinator's task: %v, %v", name, has, err)
			}
		}
		if s := a.standing("disk.img"); s.Copies != 2 {
			t.Errorf("it stands at %+v", s)
		}
		c.restoreElsewhere(data)
	})
}

// TestTakenBackEarly: a coordinator that has made no copy yet hears of it, too, that the owner's node sees to it again,
// and makes none later.
func TestTakenBackEarly(t *testing.T) {
	long(t)
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := coordinated(c)
		data := content(67, 2<<20)
		a.split("disk.img", 1, data)
		c.settle()
		if err := a.handOver("disk.img", 9); core.CodeOf(err) != core.CodePartial { // than there are nodes
			t.Fatalf("handed over: %v", err)
		}
		time.Sleep(time.Minute)
		peers, err := core.ParsePeers("wss://b:8001-20MiB,wss://c:8001-20MiB,wss://d:8001-20MiB,wss://e:8001-20MiB")
		check(t, err)
		a.Meet(peers)
		c.settle()
		a.place(control.PlaceArgs{Name: "disk.img", Replicas: 2})
		if all, err := b.placed.All(); err != nil || len(all) != 0 {
			t.Errorf("%d records at who is relieved, %v", len(all), err)
		}
		if s := a.standing("disk.img"); s.Copies != 2 || s.State != control.StateWell {
			t.Errorf("it stands at %+v", s)
		}
	})
}

// TestRemovedAtCoordinator: what is removed is let go of by everybody, and the coordinator brings nothing back.
func TestRemovedAtCoordinator(t *testing.T) {
	long(t)
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := coordinated(c)
		a.split("disk.img", 1, content(65, 2<<20))
		c.settle()
		if err := a.handOver("disk.img", 2); core.CodeOf(err) != core.CodePartial {
			t.Fatalf("handed over: %v", err)
		}
		b.coordinates(2 * time.Minute)
		_, err := a.Remove(t.Context(), control.RemoveArgs{Name: "disk.img"}, quiet) // which reaches b alone
		check(t, err)
		time.Sleep(5 * time.Minute)
		for name, m := range c.nodes {
			if n, err := m.holdings.Count(); err != nil || n != 0 {
				t.Errorf("%s keeps %d runs, %v", name, n, err)
			}
		}
		if all, err := b.placed.All(); err != nil || len(all) != 0 {
			t.Errorf("%d records, %v", len(all), err)
		}
	})
}

// TestHandoverIsFinished: a coordinator that did not take the version when it had its copy is asked again, by itself.
func TestHandoverIsFinished(t *testing.T) {
	long(t)
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		b := c.start("b", "")
		a := c.start("a", "b-20MiB", c.owned, keeps)
		c.start("c", "b-20MiB")
		c.start("d", "b-20MiB,c-20MiB")
		data := content(67, 1<<20)
		a.split("disk.img", 1, data)
		c.settle()
		err := a.handOver("disk.img", 2)
		if core.CodeOf(err) != core.CodePartial || !strings.Contains(err.Error(), "and does not coordinate") {
			t.Fatalf("handed over to who does not take it: %v", err)
		}
		if s := a.standing("disk.img"); s.State == control.StateHanded || s.Copies != 1 {
			t.Errorf("it stands at %+v", s)
		}
		b.stop()
		before := b.setup
		b.setup = func(conf *commands.Config) { before(conf); keeps(conf) }
		b.run()
		b.coordinates(10 * time.Minute)
		a.awaitState("disk.img", control.StateHanded, time.Minute)
		a.stop()
		b.stop()
		delete(c.nodes, "a")
		delete(c.nodes, "b")
		z := c.start("z", "d-20MiB", c.owned)
		c.settle()
		z.fetch("disk.img", 0, data)
	})
}

// TestNobodyToCoordinate: a node that keeps no placements does not take one, and the version is not said to be safe.
func TestNobodyToCoordinate(t *testing.T) {
	long(t)
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		c.start("b", "")
		a := c.start("a", "b-20MiB", c.owned)
		a.split("disk.img", 1, content(66, 1<<20))
		c.settle()
		err := a.handOver("disk.img", 2)
		if core.CodeOf(err) != core.CodeRedundant || !strings.Contains(err.Error(), "keeps no placements by itself") {
			t.Errorf("handed over: %v", err)
		}
	})
}

// neighbours is the owner's node, one that may coordinate, and others, each of which reaches all.
func neighbours(c *cluster, others ...string) (a, b *member) {
	peers := "b-20MiB"
	b = c.start("b", "", keeps)
	for _, name := range others {
		c.start(name, peers)
		peers += "," + name + "-20MiB"
	}
	return c.start("a", peers, c.owned, keeps), b
}

// delegate hands a version over that is kept as it was wanted.
func (m *member) delegate(name string) error {
	m.cluster.t.Helper()
	_, err := m.Place(m.cluster.t.Context(), control.PlaceArgs{Name: name, Replicas: 2, AsBefore: true,
		Coordinator: m.cluster.nodes["b"].ID().String()}, quiet)
	return err
}

// holders is who is to keep something by a record, by name.
func (c *cluster) holders(rec *placements.Record) (names string) {
	for name, m := range c.nodes {
		if slices.ContainsFunc(rec.Holders(), func(h placements.Holder) bool { return h.Node == m.signer.ID() }) {
			names += name
		}
	}
	letters := []byte(names)
	slices.Sort(letters)
	return string(letters)
}

// lose stops a node for good.
func (c *cluster) lose(name string) {
	c.nodes[name].stop()
	delete(c.nodes, name)
}

// TestPlacedVersionIsHandedOver: what others keep already goes on there, is let go of in the owner's task once the
// coordinator has as many copies by its own, and is repaired without the owner's machine.
func TestPlacedVersionIsHandedOver(t *testing.T) {
	long(t)
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := neighbours(c, "c", "d", "e")
		data := content(71, 2<<20)
		a.split("disk.img", 1, data)
		c.settle()
		a.place(control.PlaceArgs{Name: "disk.img", Replicas: 2, Exclude: []string{"b:8001"}})
		before, err := a.placed.All()
		check(t, err)
		at := c.holders(before[0])
		if err := a.delegate("disk.img"); err != nil && core.CodeOf(err) != core.CodePartial {
			t.Fatalf("handed over: %v", err)
		}
		for _, name := range at {
			if has, err := c.nodes[string(name)].holdings.HasTask(c.owner.ID(), before[0].Task); err != nil || has {
				t.Errorf("%c keeps the task before it: %v, %v", name, has, err)
			}
		}
		rec := b.coordinates(2 * time.Minute)
		if got := c.holders(rec); got != at || rec.Copies != 2 {
			t.Errorf("%d copies are at %s by the coordinator, and were at %s", rec.Copies, got, at)
		}
		time.Sleep(time.Minute)
		all, err := a.placed.All()
		check(t, err)
		if len(all) != 1 || c.holders(all[0]) != "b" {
			t.Errorf("%d records, of which the last has %s keep it on the owner's word", len(all), c.holders(all[0]))
		}
		if s := a.standing("disk.img"); s.State != control.StateHanded || s.Coordinator.Copies != 2 {
			t.Errorf("it stands at %+v", s)
		}
		check(t, a.delegate("disk.img"))
		c.lose("a")
		c.lose(at[:1])
		time.Sleep(20 * time.Minute)
		b.coordinates(5 * time.Minute)
		c.lose("b")
		z := c.start("z", at[1:2]+"-20MiB", c.owned)
		c.settle()
		z.fetch("disk.img", 0, data)
	})
}

// TestPlacedVersionGoesAndComesBack: the owner's machine goes as soon as it is told that it may, and sees to the version
// again later: nobody keeps anything of the coordinator's task then.
func TestPlacedVersionGoesAndComesBack(t *testing.T) {
	long(t)
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := neighbours(c, "c", "d", "e")
		data := content(72, 2<<20)
		a.split("disk.img", 1, data)
		c.settle()
		a.place(control.PlaceArgs{Name: "disk.img", Replicas: 2})
		if err := a.delegate("disk.img"); err != nil && core.CodeOf(err) != core.CodePartial {
			t.Fatalf("handed over: %v", err)
		}
		a.stop()
		task := b.coordinates(2 * time.Minute).Task
		a.run()
		c.settle()
		a.place(control.PlaceArgs{Name: "disk.img", Replicas: 2})
		time.Sleep(5 * time.Minute)
		if all, err := b.placed.All(); err != nil || len(all) != 0 {
			t.Errorf("%d records at who is relieved, %v", len(all), err)
		}
		for name, m := range c.nodes {
			if has, err := m.holdings.HasTask(c.owner.ID(), task); err != nil || has {
				t.Errorf("%s keeps the coordinator's task: %v, %v", name, has, err)
			}
		}
		if s := a.standing("disk.img"); s.Copies < 2 || s.State != control.StateWell {
			t.Errorf("it stands at %+v", s)
		}
		c.restoreElsewhere(data)
	})
}

// TestStripesAreHandedOver: the coordinator spreads the runs of stripes, and rebuilds one that is lost.
func TestStripesAreHandedOver(t *testing.T) {
	long(t)
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := neighbours(c, "c", "d", "e", "f")
		data := content(73, 3<<20)
		a.split("disk.img", 1, data)
		c.settle()
		_, err := a.Place(t.Context(), control.PlaceArgs{Name: "disk.img", Erasure: core.Erasure{K: 2, M: 1},
			Strategy: "seed", Coordinator: "b:8001"}, quiet)
		if core.CodeOf(err) != core.CodePartial {
			t.Fatalf("handed over: %v", err)
		}
		c.lose("a")
		rec := b.coordinates(2 * time.Minute)
		if rec.Copies != 2 || rec.Erasure.K != 2 || len(rec.Holders()) < 3 {
			t.Errorf("%d copies in %s at %s", rec.Copies, rec.Erasure, c.holders(rec))
		}
		at := c.holders(rec)
		c.lose(at[:1])
		time.Sleep(20 * time.Minute)
		rec = b.coordinates(5 * time.Minute)
		c.lose("b")
		at = c.holders(rec)
		c.lose(at[:1]) // one more: of each stripe two runs are left
		z := c.start("z", at[1:2]+"-20MiB,"+at[2:3]+"-20MiB", c.owned)
		c.settle()
		z.fetch("disk.img", 0, data)
	})
}

// TestCoordinatorReachesThroughOthers: a holder that the coordinator reaches through another only gets its copy, and is
// not taken for lost after a new start.
func TestCoordinatorReachesThroughOthers(t *testing.T) {
	long(t)
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		c.start("d", "")
		c.start("c", "d-20MiB")
		b := c.start("b", "c-20MiB", keeps)
		a := c.start("a", "b-20MiB", c.owned, keeps)
		data := content(74, 2<<20)
		a.split("disk.img", 1, data)
		c.settle()
		if err := a.handOver("disk.img", 2); core.CodeOf(err) != core.CodePartial {
			t.Fatalf("handed over: %v", err)
		}
		c.lose("a")
		rec := b.coordinates(2 * time.Minute)
		if got := c.holders(rec); got != "cd" {
			t.Errorf("it is at %s", got)
		}
		b.stop()
		b.run()
		c.settle()
		began := time.Now()
		time.Sleep(26 * time.Hour)
		for _, h := range b.coordinates(5 * time.Minute).Holders() {
			if h.Audited.Before(began) {
				t.Errorf("%s was not audited", c.byID(h.Node).name)
			}
		}
		c.lose("b")
		c.lose("c")
		z := c.start("z", "d-20MiB", c.owned)
		c.settle()
		z.fetch("disk.img", 0, data)
	})
}

// TestNamedAndAway: a node that is known and away is not one that nobody knows.
func TestNamedAndAway(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		c.start("b", "")
		gone := c.start("c", "b-20MiB")
		a := c.start("a", "b-20MiB,c-20MiB,q-20MiB", c.owned)
		a.split("disk.img", 1, content(75, 1<<20))
		c.settle()
		a.place(control.PlaceArgs{Name: "disk.img", Replicas: 2})
		gone.stop()
		a.stop()
		a.run()
		c.settle()
		a.split("other", 1, content(76, 1<<20))
		for word, code := range map[string]core.Code{"q:8001": core.CodeRedundant, "c:8001": core.CodeRedundant,
			gone.signer.ID().Short(): core.CodeRedundant, "nobody:8001": core.CodeUsage} {
			for what, args := range map[string]control.PlaceArgs{"coordinator": {Coordinator: word}, "only": {Only: []string{word}}} {
				args.Name, args.Replicas, args.Strategy = "other", 1, "seed"
				if _, err := a.Place(t.Context(), args, quiet); core.CodeOf(err) != code || core.HintOf(err) == "" {
					t.Errorf("%s %s: %v", what, word, err)
				}
			}
		}
		a.place(control.PlaceArgs{Name: "other", Replicas: 1, Exclude: []string{gone.signer.ID().String()}})
		if _, err := a.Drain(t.Context(), control.DrainArgs{Node: gone.signer.ID().Short()}, quiet); core.CodeOf(err) != core.CodeRedundant {
			t.Errorf("drained: %v", err)
		}
		if _, err := a.Drain(t.Context(), control.DrainArgs{Node: "q:8001"}, quiet); core.CodeOf(err) != core.CodeRedundant {
			t.Errorf("drained: %v", err)
		}
	})
}
