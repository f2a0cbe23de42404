// SPDX-License-Identifier: Apache-2.0

package commands_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/commands"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/keep"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/ledger"
	"github.com/bkp-tool/bkp/core/ledger/ledgertest"
	"github.com/bkp-tool/bkp/core/license"
)

// inOrder has a node book in the order of an engine, and accept what is booked alone.
func inOrder(e *ledgertest.Engine) func(*commands.Config) {
	return func(conf *commands.Config) {
		o := ledger.NewOrder(e)
		conf.Order = o
		conf.Verifiers = append(conf.Verifiers, keep.NamedVerifier{Name: "order", Verifier: o})
	}
}

// booked reads all of an order anew, and wants it to be sound: every licence that a node accepted is booked, once, by
// who coordinated the version when it was. It returns who coordinates the only version.
func (c *cluster) booked(e *ledgertest.Engine) (coordinator core.ID, term int) {
	c.t.Helper()
	by := map[core.LicenseID]core.ID{}
	for _, scope := range e.Scopes() {
		entries, err := e.Read(c.t.Context(), scope, 0, 1000)
		check(c.t, err)
		for _, entry := range entries {
			b, _, err := license.OpenBooking(entry, key.DelegationFields)
			check(c.t, err)
			if b.Term < term {
				c.t.Errorf("%s booked in term %d behind term %d", b.Node.Short(), b.Term, term)
			}
			if b.Term == term && !coordinator.IsZero() && b.Node != coordinator {
				c.t.Errorf("%s and %s booked in term %d", coordinator.Short(), b.Node.Short(), term)
			}
			coordinator, term = b.Node, b.Term
			for _, id := range b.Licenses {
				if !by[id].IsZero() {
					c.t.Errorf("licence %s is booked twice", id)
				}
				by[id] = b.Node
			}
		}
	}
	for name, m := range c.nodes {
		for _, entry := range m.ledger.Entries() {
			if entry.Kind != ledger.KindLicense {
				continue
			}
			l, _, _, err := license.Open(entry.Envelope)
			check(c.t, err)
			if by[l.ID] != l.TaskSource.Node {
				c.t.Errorf("%s accepted licence %s of %s, which is booked by %s", name, l.ID, l.TaskSource.Node.Short(), by[l.ID].Short())
			}
		}
	}
	return coordinator, term
}

// keptOf is how many bytes of runs nodes hold.
func (c *cluster) keptOf() (bytes core.Size) {
	for _, m := range c.nodes {
		n, err := m.holdings.OwnerBytes(c.owner.ID())
		check(c.t, err)
		bytes += n
	}
	return bytes
}

// race starts a cluster of four targets and two machines of one owner, which split the same file and place it at once.
func race(t *testing.T, setup ...func(*commands.Config)) (c *cluster, data []byte, machines [2]*member, ends [2]chan error) {
	c, data = newCluster(t), content(72, 2<<20)
	for i, name := range []string{"b", "c", "d", "e"} {
		c.start(name, strings.TrimSuffix("b-20MiB,c-20MiB,d-20MiB,"[:i*8], ","), setup...)
	}
	for i, name := range []string{"x", "y"} {
		machines[i] = c.start(name, "b-20MiB,c-20MiB,d-20MiB,e-20MiB", append(setup, c.owned, keeps)...)
		machines[i].split("disk.img", 1, data)
		ends[i] = make(chan error, 1)
	}
	c.settle()
	for i, m := range machines {
		go func() {
			_, err := m.Place(t.Context(), control.PlaceArgs{Name: "disk.img", Replicas: 2, Strategy: "seed"}, quiet)
			ends[i] <- err
		}()
	}
	return c, data, machines, ends
}

// TestTwoCoordinatorsHaveOneOrder: of two machines that place one version at the same time one does, the other hears of
// it, and no peer keeps anything twice.
func TestTwoCoordinatorsHaveOneOrder(t *testing.T) {
	virtual(t, func(t *testing.T) {
		e := &ledgertest.Engine{}
		c, data, machines, ends := race(t, inOrder(e))
		var won []*member
		for i, end := range ends {
			if err := <-end; err == nil {
				won = append(won, machines[i])
			} else {
				t.Logf("%s: %v", machines[i].name, err)
				if code := core.CodeOf(err); code != core.CodeRefused && code != core.CodeRedundant {
					t.Errorf("%s ends with %d: %v", machines[i].name, code, err)
				}
			}
		}
		node, term := c.booked(e)
		if len(won) != 1 || won[0].ID() != node {
			t.Fatalf("%d of 2 placed it; %s coordinates it in term %d", len(won), node.Short(), term)
		}
		time.Sleep(time.Hour)
		once := won[0].place(control.PlaceArgs{Name: "disk.img", Replicas: 2}).Bytes
		if kept := c.keptOf(); kept > 2*once {
			t.Errorf("peers keep %s of %s twice", kept, once)
		}
		won[0].fetch("disk.img", 1, data)
	})
}

// TestCoordinatorThatIsGoneIsTakenOverFrom: a machine dies amid its placement; another of the owner places the version
// then, and what the first one left counts for nothing.
func TestCoordinatorThatIsGoneIsTakenOverFrom(t *testing.T) {
	long(t)
	virtual(t, func(t *testing.T) {
		e := &ledgertest.Engine{}
		c, data := newCluster(t), content(73, 4<<20)
		for i, name := range []string{"b", "c", "d"} {
			c.start(name, strings.TrimSuffix("b-20MiB,c-20MiB,"[:i*8], ","), inOrder(e))
		}
		slow := strings.ReplaceAll("b-20KiB,c-20KiB,d-20KiB", "20KiB", "200KiB")
		x := c.start("x", slow, c.owned, keeps, inOrder(e))
		y := c.start("y", "b-20MiB,c-20MiB,d-20MiB", c.owned, keeps, inOrder(e))
		x.split("disk.img", 1, data)
		y.split("disk.img", 1, data)
		c.settle()
		end := make(chan error, 1)
		go func() {
			_, err := x.Place(t.Context(), control.PlaceArgs{Name: "disk.img", Replicas: 2, Strategy: "seed"}, quiet)
			end <- err
		}()
		time.Sleep(5 * time.Second)
		x.stop()
		if err := <-end; err == nil {
			t.Fatal("it was placed before it could be stopped")
		}
		y.place(control.PlaceArgs{Name: "disk.img", Replicas: 2})
		if node, term := c.booked(e); node != y.ID() || term != 1 {
			t.Errorf("%s coordinates it in term %d", node.Short(), term)
		}
		y.fetch("disk.img", 1, data)
		x.run()
		time.Sleep(3 * time.Hour)
		if node, _ := c.booked(e); node != y.ID() {
			t.Error("who was taken over from took it back unasked")
		}
		if s := y.standing("disk.img"); s.Copies != 2 {
			t.Errorf("at the machine that took over: %+v", s)
		}
	})
}

// TestEngineThatIsDown: without its engine a coordinator signs nothing, says so, and loses nothing; a node accepts
// nothing. Once the engine is there again all goes on.
func TestEngineThatIsDown(t *testing.T) {
	virtual(t, func(t *testing.T) {
		e := &ledgertest.Engine{}
		c, data := newCluster(t), content(74, 1<<20)
		x := c.start("x", "b-20MiB,c-20MiB", c.owned, keeps, inOrder(e))
		c.start("b", "", inOrder(e))
		c.start("c", "b-20MiB", inOrder(e))
		x.split("disk.img", 1, data)
		c.settle()
		e.Down(errors.New("no leader"))
		var said strings.Builder
		began := time.Now()
		_, err := x.Place(t.Context(), control.PlaceArgs{Name: "disk.img", Replicas: 2, Strategy: "seed"},
			func(s control.Status) { said.WriteString(s.Text + "\n") })
		if err == nil || !strings.Contains(err.Error(), "no leader") || !strings.Contains(core.HintOf(err), "no licence was signed") {
			t.Errorf("%v (%s)", err, core.HintOf(err))
		}
		if took := time.Since(began); took > time.Minute || !strings.Contains(said.String(), "the order cannot be asked, and is asked again: no leader") {
			t.Errorf("after %s it had said:\n%s", took, said.String())
		}
		if x.ledger.Count(ledger.KindLicense) != 0 {
			t.Error("a licence was signed")
		}
		end := make(chan error, 1)
		go func() {
			_, err := x.Place(t.Context(), control.PlaceArgs{Name: "disk.img", Replicas: 2, Strategy: "seed"}, quiet)
			end <- err
		}()
		time.Sleep(10 * time.Second)
		e.LoseAnswer(errors.New("its answer is lost"))
		e.Down(nil)
		check(t, <-end)
		c.booked(e)
		x.fetch("disk.img", 1, data)
	})
}

// TestLicenceThatIsNotBooked: a node that has an order keeps nothing of a coordinator that has none.
func TestLicenceThatIsNotBooked(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		x := c.start("x", "b-20MiB", c.owned, keeps)
		b := c.start("b", "", inOrder(&ledgertest.Engine{}))
		x.split("disk.img", 1, content(75, 1<<20))
		c.settle()
		_, err := x.Place(t.Context(), control.PlaceArgs{Name: "disk.img", Replicas: 1, Strategy: "seed"}, quiet)
		if err == nil || !strings.Contains(err.Error(), "is not booked: its coordinator has no engine") {
			t.Errorf("placed: %v", err)
		}
		if b.ledger.Count(ledger.KindLicense) != 0 {
			t.Error("it was accepted")
		}
	})
}

// TestHandedOverInOrder: a version is handed over to a coordinator that has the same order; it books in the term of its
// delegation, after the owner's machine, makes the copies, and mends them. The owner's machine may have it back.
func TestHandedOverInOrder(t *testing.T) {
	long(t)
	virtual(t, func(t *testing.T) {
		e := &ledgertest.Engine{}
		c := newCluster(t)
		a := c.start("a", "b-20MiB,c-20MiB,d-20MiB,e-20MiB", c.owned, keeps, inOrder(e))
		b := c.start("b", "c-20MiB,d-20MiB,e-20MiB", keeps, inOrder(e))
		for i, name := range []string{"c", "d", "e"} {
			c.start(name, strings.TrimSuffix("c-20MiB,d-20MiB,"[:i*8], ","), inOrder(e))
		}
		data := content(76, 2<<20)
		a.split("disk.img", 1, data)
		c.settle()
		if err := a.handOver("disk.img", 2); err != nil && core.CodeOf(err) != core.CodePartial {
			t.Fatal(err)
		}
		rec := b.coordinates(2 * time.Minute)
		gone := ""
		for _, h := range rec.Holders() {
			if m := c.byID(h.Node); m != b && m != a {
				gone = m.name
			}
		}
		c.nodes[gone].stop()
		delete(c.nodes, gone)
		time.Sleep(2 * time.Hour)
		b.coordinates(time.Minute)
		o := ledger.NewOrder(e)
		p := license.Party{TaskSource: core.TaskSource{Owner: c.owner.ID()}, Alias: c.owner.Alias("disk.img"), Version: 1}
		if node, term, _, err := o.Coordinator(t.Context(), p.Owner, p.Alias, p.Version); err != nil || node != b.ID() || term != 1 {
			t.Errorf("%s coordinates it in term %d, %v", node.Short(), term, err)
		}
		a.place(control.PlaceArgs{Name: "disk.img", Replicas: 2})
		if node, term, _, err := o.Coordinator(t.Context(), p.Owner, p.Alias, p.Version); err != nil || node != a.ID() || term != 2 {
			t.Errorf("taken back: %s coordinates it in term %d, %v", node.Short(), term, err)
		}
		a.fetch("disk.img", 1, data)
	})
}
