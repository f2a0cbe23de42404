// SPDX-License-Identifier: Apache-2.0

package commands_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/audit"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/license"
	"github.com/bkp-tool/bkp/core/wire"
)

// placeWith has a node place its newest version while the rogue answers what it is asked; after STORAGE_TASK, which it
// agrees to, each message is handed to then.
func (r *rogue) placeWith(a *member, args control.PlaceArgs, state wire.StateReport, then func(wire.Message)) error {
	r.t.Helper()
	args.Strategy = "seed"
	ended := make(chan error, 1)
	go func() {
		_, err := a.Place(r.t.Context(), args, quiet)
		ended <- err
	}()
	for {
		select {
		case err := <-ended:
			return err
		case m := <-r.heard:
			switch q := m.(type) {
			case wire.RefGet:
				r.say(wire.RefReport{Query: q.Query, Code: core.ReasonUnknown, Reason: "nothing here"})
			case wire.StateQuery:
				state.Query = q.Query
				r.say(state)
			case wire.StorageTask:
				r.say(wire.TaskAgree{Task: q.Task, Segment: q.Segment})
			}
			then(m)
		case <-time.After(10 * time.Minute):
			r.t.Fatal("the placement does not end")
		}
	}
}

func ignore(wire.Message) {}

// roomy is what a node says that could keep anything.
var roomy = wire.StateReport{Remaining: core.GiB, Capacity: core.GiB}

func TestNodesThatPeersMadeUpHoldNoPlacementUp(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a", "", c.owned)
		r := c.rogue("a")
		a.split("disk.img", 1, content(21, 1<<20))
		c.settle()
		state := roomy
		for i := range byte(200) {
			state.Links = append(state.Links, wire.LinkReport{ID: core.ID{200, i}, Capacity: 1 << 20})
		}
		began := time.Now()
		err := r.placeWith(a, control.PlaceArgs{Replicas: 2}, state, ignore)
		if core.CodeOf(err) != core.CodeRedundant {
			t.Errorf("place: %v, want too few nodes", err)
		}
		if took := time.Since(began); took > time.Minute {
			t.Errorf("it took %s to find that out", took)
		}
	})
}

// A target learns the task's number, and offers the source a larger segment under it.
func TestSourceTakesNoPartOfItsOwnTaskFromOthers(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a", "", c.owned)
		r := c.rogue("a")
		a.split("disk.img", 1, content(21, 1<<20))
		c.settle()
		var refused *wire.TaskRefuse
		r.placeWith(a, control.PlaceArgs{Replicas: 1}, roomy, func(m wire.Message) {
			switch m := m.(type) {
			case wire.StorageApply:
				if refused == nil {
					o := r.offer(a, unchanged)
					o.task.Task = m.Task
					o.lengthen(core.SegmentRuns)
					o.task.Locations = append(o.task.Locations,
						core.Span{Node: r.signer.ID(), From: a.ID(), Length: core.SegmentRuns})
					r.resign(&o)
					r.say(o.task)
				}
				r.say(wire.StorageRefuse{Flow: m.Flow, Code: core.ReasonSpace, Reason: "full"})
			case wire.TaskRefuse:
				refused = &m
			}
		})
		if refused == nil || refused.Code != core.ReasonLicense {
			t.Errorf("answered %+v, want it refused", refused)
		}
	})
}

// lengthen makes the offer's segment that many runs long, all alike.
func (o *offered) lengthen(runs int) {
	for len(o.task.Files) < runs {
		o.task.Files = append(o.task.Files, o.task.Files[0])
	}
	o.task.Locations[0].Length = runs
}

// The one honest node is b; the rogue is source, and another target that is not there is named.
func TestHintsAboutNothingChangeNothing(t *testing.T) {
	withRogue(t, func(t *testing.T, b *member, r *rogue) {
		o := r.offer(b, unchanged)
		all := []core.Range{{Start: 0, Length: core.SegmentRuns}}
		hint := wire.Want{Task: o.task.Task, Had: all, Wanted: all, Coming: all, Need: 1 << 60, Down: 1}
		r.say(hint) // of a task that nobody knows
		r.say(o.task)
		hear[wire.TaskAgree](r)
		r.say(hint) // of more runs than there are, by the source
		hint.Segment = 1<<31 - 1
		r.say(hint) // of a segment that there is not
		r.give(o, 5, 9)
		if receipt := r.receipt(); receipt.Bytes != o.chunk.Size {
			t.Errorf("receipt %+v", receipt)
		}
	})
}

// A target says that it has everything, again and again that it wants everything, and never that a run arrived.
func TestTargetThatLiesInItsHintsGetsNoCopyCounted(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a", "", c.owned)
		c.start("b", "a-20MiB")
		r := c.rogue("a")
		data := content(22, 1<<20)
		a.split("disk.img", 1, data)
		c.settle()
		all := []core.Range{{Start: 0, Length: core.SegmentRuns}}
		err := r.placeWith(a, control.PlaceArgs{Replicas: 2}, roomy, func(m wire.Message) {
			switch m := m.(type) {
			case wire.StorageTask:
				r.say(wire.Want{Task: m.Task, Segment: m.Segment, Had: all})
			case wire.StorageApply:
				r.say(wire.StorageRefuse{Flow: m.Flow, Code: core.ReasonHave, Reason: "all here", Have: all})
				r.say(wire.Want{Task: m.Task, Segment: m.Segment, Wanted: all, Coming: all, Need: 1 << 60,
					Down: 1 << 60})
				time.Sleep(100 * time.Millisecond)
			}
		})
		if core.CodeOf(err) != core.CodeRedundant || !strings.Contains(err.Error(), "no receipt") {
			t.Errorf("place: %v, want the missing copy named", err)
		}
		c.restoreElsewhere(data)
	})
}

// A target signs for everything at once, and answers audits with what it makes up: it is named, it does not count, and
// nothing goes from the source on its word. lies is what a target does that keeps nothing and says that it has all: it
// signs receipts, and makes up what audits ask.
func (r *rogue) lies(m wire.Message) {
	switch m := m.(type) {
	case wire.StorageTask:
		l, _, _, err := license.Open(m.License)
		check(r.t, err)
		receipt := core.Receipt{V: 1, License: l.ID, Task: m.Task, Segment: m.Segment, Target: r.signer.ID(),
			RetainUntil: l.RetainUntil, Time: time.Now().Unix(), Key: r.signer.Public()}
		for _, s := range m.Locations {
			if s.Node == r.signer.ID() {
				receipt.Runs = append(receipt.Runs, core.Range{Start: s.Start, Length: s.Length})
			}
		}
		envelope, err := license.SignReceipt(receipt, r.signer)
		check(r.t, err)
		time.AfterFunc(time.Second, func() {
			r.say(wire.TransmissionComplete{Task: m.Task, Segment: m.Segment, Receipt: envelope})
		})
	case wire.StorageApply:
		r.say(wire.StorageRefuse{Flow: m.Flow, Code: core.ReasonHave, Reason: "all here", Have: m.Runs})
	case wire.Audit:
		slices := slices.Repeat([][]byte{make([]byte, 1100)}, len(m.Ranges))
		r.say(wire.AuditProof{Query: m.Query, Proof: audit.Prove(m.Challenge, slices, r.signer)})
	case wire.RefPut:
		r.say(wire.RefOK{Query: m.Query})
	}
}

// Bad input 62: two members that keep nothing, and each says that it has all.
func TestTwoThatKeepNothingMakeNoCopies(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a", "", c.owned)
		one, two := c.rogue("a"), c.rogue("a")
		data := content(22, 1<<20)
		a.split("disk.img", 1, data)
		c.settle()
		over := make(chan struct{})
		defer close(over)
		go func() { // the other does as the first
			for {
				select {
				case <-over:
					return
				case m := <-two.heard:
					switch q := m.(type) {
					case wire.RefGet:
						two.say(wire.RefReport{Query: q.Query, Code: core.ReasonUnknown, Reason: "nothing here"})
					case wire.StateQuery:
						state := roomy
						state.Query = q.Query
						two.say(state)
					case wire.StorageTask:
						two.say(wire.TaskAgree{Task: q.Task, Segment: q.Segment})
					}
					two.lies(m)
				}
			}
		}()
		err := one.placeWith(a, control.PlaceArgs{Replicas: 2}, roomy, one.lies)
		if core.CodeOf(err) != core.CodeRedundant {
			t.Fatalf("place: %v", err)
		}
		if strings.Count(err.Error(), "it gave receipts for what it does not have") != 2 {
			t.Errorf("place: %v, want both named", err)
		}
		refs, err := a.Refs.List()
		check(t, err)
		if len(refs) != 1 || refs[0].Away {
			t.Errorf("%d refs, offloaded %v", len(refs), refs[0].Away)
		}
		a.fetch("disk.img", 1, data) // all of it is still here
	})
}

func TestTargetThatSignsAndKeepsNothingIsNoCopy(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a", "", c.owned)
		c.start("b", "a-20MiB")
		r := c.rogue("a")
		data := content(22, 1<<20)
		a.split("disk.img", 1, data)
		c.settle()
		audits := 0
		err := r.placeWith(a, control.PlaceArgs{Replicas: 2}, roomy, func(m wire.Message) {
			if _, is := m.(wire.Audit); is {
				audits++
			}
			r.lies(m)
		})
		if core.CodeOf(err) != core.CodeRedundant || !strings.Contains(err.Error(), r.signer.ID().Short()) &&
			!strings.Contains(err.Error(), "rogue") || !strings.Contains(err.Error(), "receipts for what it does not have") {
			t.Errorf("place: %v, want the liar named", err)
		}
		refs, err := a.Refs.List()
		check(t, err)
		if audits != 1 || len(refs) != 1 || refs[0].Away {
			t.Errorf("%d audits; %d refs, offloaded %v", audits, len(refs), refs[0].Away)
		}
		c.restoreElsewhere(data)
	})
}

// relayed is a message of a stranger with a key of its own, over a route that ends at b.
func (r *rogue) relayed(stranger *key.Signer, m wire.Message, route ...core.ID) wire.Relay {
	r.t.Helper()
	relay, err := wire.NewRelay(append([]core.ID{stranger.ID()}, route...), m, time.Now(), stranger)
	check(r.t, err)
	return relay
}

func TestRelayedMessageIsItsSignersOrNobodys(t *testing.T) {
	withRogue(t, func(t *testing.T, b *member, r *rogue) {
		stranger, err := key.NewSigner(r.c.random)
		check(t, err)
		question := wire.StateQuery{Query: 7}
		for _, test := range []struct {
			name   string
			change func(*wire.Relay)
			passed bool
		}{
			{"as it is", func(*wire.Relay) {}, true},
			{"another sender", func(m *wire.Relay) { m.Route[0][0] ^= 1 }, false},
			{"another message", func(m *wire.Relay) {
				m.Message = slices.Concat(m.Message[:len(m.Message)-1],
					[]byte(" }"))
			}, false},
			{"of yesterday", func(m *wire.Relay) { m.Time -= 86400 }, false},
			{"a way that the signer did not name", func(m *wire.Relay) {
				m.Route = slices.Insert(m.Route, 1,
					core.ID{5})
			}, false},
			{"over somebody else", func(m *wire.Relay) { m.Route[1] = core.ID{5} }, false},
			{"what only neighbours say", func(m *wire.Relay) {
				*m = r.relayed(stranger, wire.BandwidthCoordination{Size: 1}, r.signer.ID(), b.ID())
			}, false},
			{"a relay in a relay", func(m *wire.Relay) { *m = r.relayed(stranger, *m, r.signer.ID(), b.ID()) }, false},
		} {
			relay := r.relayed(stranger, question, r.signer.ID(), b.ID())
			test.change(&relay)
			r.say(relay)
			if !test.passed {
				silent[wire.Relay](r)
				continue
			}
			back := hear[wire.Relay](r)
			if m, err := back.Open(time.Now()); err != nil ||
				!slices.Equal(back.Route, []core.ID{b.ID(), r.signer.ID(), stranger.ID()}) {
				t.Errorf("%s: heard %+v over %v, %v", test.name, m, back.Route, err)
			}
		}
	})
}

func TestNodesKnownByHearsayAreBounded(t *testing.T) {
	long(t)
	withRogue(t, func(t *testing.T, b *member, r *rogue) {
		for range 5000 {
			stranger, err := key.NewSigner(r.c.random)
			check(t, err)
			r.say(r.relayed(stranger, wire.ReleaseDone{Query: 1}, r.signer.ID(), b.ID()))
			time.Sleep(time.Millisecond)
		}
		peers, err := b.ListPeers(t.Context(), control.PeersArgs{}, quiet)
		check(t, err)
		if len(peers.Peers) > 4096 {
			t.Errorf("%d peers are known", len(peers.Peers))
		}
	})
}
