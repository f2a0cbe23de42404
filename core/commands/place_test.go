// SPDX-License-Identifier: Apache-2.0

package commands_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/commands"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/keep"
	"github.com/bkp-tool/bkp/core/ledger"
	"github.com/bkp-tool/bkp/core/storage"
	"github.com/bkp-tool/bkp/core/wire"
)

// fiveNodes is a source and four targets with unequal links, everybody linked to everybody.
func fiveNodes(c *cluster) *member {
	a := c.start("a", "", c.owned)
	c.start("b", "a-20MiB")
	c.start("c", "a-10MiB,b-10MiB")
	c.start("d", "a-5MiB,b-5MiB,c-5MiB")
	c.start("e", "a-5MiB,b-5MiB,c-5MiB,d-5MiB")
	return a
}

func TestPlaceAndFetchOnFiveNodes(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := fiveNodes(c)
		data := content(1, 8<<20)
		a.split("disk.img", 1, data)
		c.settle()

		placed := a.place(control.PlaceArgs{Replicas: 2})
		if got := sum(placed.Placements); got != 2*placed.Bytes {
			t.Errorf("placed %d bytes on all nodes, want 2 × %d", got, placed.Bytes)
		}
		t.Logf("predicted %.2f s, took %.2f s", placed.PredictedS, placed.Seconds)

		c.restoreElsewhere(data)
	})
}

func sum(placements []control.Placement) (bytes core.Size) {
	for _, p := range placements {
		bytes += p.Bytes
	}
	return bytes
}

// restoreElsewhere fetches on a new machine that has only the identity and the targets' addresses.
func (c *cluster) restoreElsewhere(data []byte) control.FetchResult {
	c.t.Helper()
	z := c.start("z", "b-50MiB,c-50MiB,d-50MiB,e-50MiB", c.owned, func(conf *commands.Config) { conf.Token = nil })
	c.settle()
	return z.fetch("disk.img", 0, data)
}

func TestOneHolderGoneBeforeTheFetch(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := fiveNodes(c)
		data := content(2, 4<<20)
		a.split("disk.img", 1, data)
		c.settle()
		placed := a.place(control.PlaceArgs{Replicas: 2})
		c.byID(placed.Placements[0].Node).stop()
		got := c.restoreElsewhere(data)
		for _, s := range got.Sources {
			if s.Node == placed.Placements[0].Node {
				t.Errorf("bytes came from the node that was stopped")
			}
		}
	})
}

func TestHolderCutOffWhileItSends(t *testing.T) {
	long(t)
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := fiveNodes(c)
		data := content(3, 16<<20)
		a.split("disk.img", 1, data)
		c.settle()
		placed := a.place(control.PlaceArgs{Replicas: 2})
		gone := c.byID(placed.Placements[0].Node)
		// settle takes the first 3 s
		time.AfterFunc(3*time.Second+100*time.Millisecond, func() { c.net.Cut(gone.name) })
		got := c.restoreElsewhere(data)
		if len(got.Lost) != 1 || got.Lost[0].Node != placed.Placements[0].Node {
			t.Errorf("lost %v, want %s", got.Lost, gone.name)
		}
	})
}

func TestSecondVersionReusesRunsThatOutliveTheFirst(t *testing.T) {
	long(t)
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := fiveNodes(c)
		first := content(4, 8<<20)
		a.split("disk.img", 1, first)
		c.settle()
		a.place(control.PlaceArgs{Replicas: 2})

		second := slices.Concat(first[:3<<20], content(5, 80<<10), first[3<<20:])
		a.split("disk.img", 2, second)
		placed := a.place(control.PlaceArgs{Name: "disk.img", Replicas: 2})
		if placed.NewBytes > 512<<10 {
			t.Errorf("version 2 sends %s anew, want about 80 KiB and the tree", placed.NewBytes)
		}
		a.fetch("disk.img", 1, first)

		removed, err := a.Remove(t.Context(), control.RemoveArgs{Name: "disk.img", Version: 1}, quiet)
		check(t, err)
		if len(removed.Released) == 0 || len(removed.Unheard) > 0 {
			t.Errorf("removed %+v: want released holders and none unheard", removed)
		}
		for _, m := range c.nodes {
			_, err := m.Collect(t.Context(), control.None{}, quiet)
			check(t, err)
		}
		c.restoreElsewhere(second)
	})
}

func TestPlacingAgainReplacesALostHolder(t *testing.T) {
	long(t)
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := fiveNodes(c)
		data := content(6, 4<<20)
		a.split("disk.img", 1, data)
		c.settle()
		first := a.place(control.PlaceArgs{Replicas: 2})
		c.byID(first.Placements[0].Node).stop()
		c.settle()
		again := a.place(control.PlaceArgs{Name: "disk.img", Replicas: 2})
		if sum(again.Placements) != 2*again.Bytes {
			t.Errorf("placed %s, want two copies of %s", sum(again.Placements), again.Bytes)
		}
		if again.SentBytes >= 2*again.Bytes {
			t.Errorf("sent %s again, though the node that stayed keeps its copies", again.SentBytes)
		}
		c.restoreElsewhere(data)
	})
}

func TestTargetsRelayToTargets(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := fiveNodes(c)
		a.split("disk.img", 1, content(7, 4<<20))
		c.settle()
		placed := a.place(control.PlaceArgs{Replicas: 2})
		relayed := core.Size(0)
		for _, f := range placed.Flows {
			if f.From != a.ID() {
				relayed += f.Bytes
			}
		}
		if relayed == 0 {
			t.Error("the source sent every copy itself")
		}
		status, err := c.byID(placed.Flows[0].To).Status(t.Context(), control.None{}, quiet)
		check(t, err)
		if len(status.Leases) == 0 || status.Reserved != 0 {
			t.Errorf("leases %v, reserved %s: want leases in the log and nothing reserved at rest", status.Leases,
				status.Reserved)
		}
		for _, account := range status.Accounts {
			if account.Leased != 0 {
				t.Errorf("account %s still has %s leased at rest", account.Name, account.Leased)
			}
		}
	})
}

func TestTooFewNodesOrTooLittleRoom(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		small := func(conf *commands.Config) { conf.Capacity = 1 * core.MiB }
		a := c.start("a", "", c.owned)
		c.start("b", "a-20MiB")
		c.start("c", "a-20MiB", small)
		a.split("disk.img", 1, content(8, 4<<20))
		c.settle()
		for _, test := range []struct {
			replicas int
			says     string
		}{{3, "3 replicas"}, {2, "c:8001 lacks"}} {
			_, err := a.Place(t.Context(), control.PlaceArgs{Replicas: test.replicas, Strategy: "seed"}, quiet)
			if core.CodeOf(err) != core.CodeRedundant || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%d replicas: %v (code %d), want code 13 that says %q", test.replicas, err, core.CodeOf(err),
					test.says)
			}
		}
	})
}

// TestStrategyWantsMoreCopies: the strategy raises what was asked for, also of runs that an earlier version left at
// fewer nodes, and never settles for less.
func TestStrategyWantsMoreCopies(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		frail := func(conf *commands.Config) { conf.Labels = map[string]string{"afr": "0.05"} }
		a := c.start("a", "", c.owned)
		c.start("b", "a-20MiB", frail)
		d := c.start("d", "a-20MiB", frail)
		data := content(8, 4<<20)
		a.split("disk.img", 1, data)
		c.settle()
		if first := a.place(control.PlaceArgs{Replicas: 2}); first.Replicas != 2 || first.Raised != "" {
			t.Errorf("seed: %d replicas, %q", first.Replicas, first.Raised)
		}
		a.split("disk.img", 2, data)
		c.settle()
		_, err := a.Place(t.Context(), control.PlaceArgs{Replicas: 2, Strategy: "reliable"}, quiet)
		if core.CodeOf(err) != core.CodeRedundant || !strings.Contains(err.Error(),
			"the strategy wants 3 replicas instead of 2") ||
			!strings.Contains(core.HintOf(err), "another strategy") {
			t.Errorf("on two nodes: %v (code %d, hint %s)", err, core.CodeOf(err), core.HintOf(err))
		}
		c.start("e", "a-20MiB", frail)
		c.settle()
		second := a.place(control.PlaceArgs{Replicas: 2, Strategy: "reliable"})
		if second.Replicas != 3 || !strings.Contains(second.Raised, "on any 3 of 0.013 %") ||
			len(second.Placements) != 3 {
			t.Errorf("%d replicas, %q, on %d nodes", second.Replicas, second.Raised, len(second.Placements))
		}
		for _, p := range second.Placements {
			if p.Bytes != second.Bytes || p.Receipts == 0 {
				t.Errorf("%s keeps %s of %s with %d receipts", p.Address, p.Bytes, second.Bytes, p.Receipts)
			}
		}
		d.stop()
		c.settle()
		c.restoreElsewhere(data)
	})
}

// verdict is a verifier that always says the same.
type verdict struct {
	core.Verdict
	err error
}

func (v verdict) Verify(context.Context, core.VerifyRequest) (core.Verdict, error) {
	return v.Verdict, v.err
}

func TestVerifiersDecideWhatIsStored(t *testing.T) {
	for _, test := range []struct {
		name    string
		verdict verdict
		code    core.Code
		says    string
	}{
		{"says no", verdict{Verdict: core.Verdict{Code: "closed", Reason: "the office is closed"}}, core.CodeRefused,
			"the office is closed"},
		{"cannot say", verdict{err: errors.New("the process is gone")}, core.CodePlugin, "the process is gone"},
	} {
		t.Run(test.name, func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				c := newCluster(t)
				a := c.start("a", "", c.owned)
				b := c.start("b", "a-20MiB", func(conf *commands.Config) {
					conf.Verifiers = append(conf.Verifiers, keep.NamedVerifier{Name: "office-hours",
						Verifier: test.verdict})
				})
				a.split("disk.img", 1, content(9, 1<<20))
				c.settle()
				_, err := a.Place(t.Context(), control.PlaceArgs{Replicas: 1, Strategy: "seed"}, quiet)
				if core.CodeOf(err) != test.code || !strings.Contains(err.Error(), test.says) {
					t.Errorf("place: %v (code %d), want code %d that says %q", err, core.CodeOf(err), test.code,
						test.says)
				}
				if used := usedOf(b.keeping); used != 0 || b.ledger.Count(ledger.KindLicense) != 0 {
					t.Errorf("b keeps %s and %d licences, want nothing", used, b.ledger.Count(ledger.KindLicense))
				}
			})
		})
	}
}

func TestTraceTellsAPlacementInOrder(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a", "", c.owned)
		c.start("b", "a-20MiB")
		a.split("secret-name.img", 1, content(10, 1<<20))
		c.settle()
		a.place(control.PlaceArgs{Replicas: 1})
		a.stop()
		trace := a.trace.String()
		wantOrder(t, trace, "received BANDWIDTH_COORDINATION", "sent BANDWIDTH_COORDINATION", "sent STATE_QUERY",
			"received STATE_REPORT",
			"sent STORAGE_TASK", "received TASK_AGREE", "sent STORAGE_APPLY", "received STORAGE_AGREE",
			"sent TRANSMISSION_BEGIN",
			"received TRANSMISSION_COMPLETE", "sent REF_PUT", "received REF_OK")
		if strings.Contains(trace, "secret-name") {
			t.Error("the plain name stands in the trace")
		}
	})
}

func TestTraceTellsAFetchInOrder(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a", "", c.owned)
		c.start("b", "a-20MiB")
		data := content(11, 1<<20)
		a.split("disk.img", 1, data)
		c.settle()
		a.place(control.PlaceArgs{Replicas: 1})
		z := c.start("z", "b-20MiB", c.owned, func(conf *commands.Config) { conf.Token = nil })
		c.settle()
		z.fetch("disk.img", 0, data)
		z.stop()
		wantOrder(t, z.trace.String(), "sent GAIN_APPLY", "received GAIN_AGREE", "received TRANSMISSION_BEGIN",
			"sent TRANSMISSION_COMPLETE")
	})
}

// wantOrder wants the first line of each kind to follow the first of the kind before.
func wantOrder(t *testing.T, trace string, kinds ...string) {
	t.Helper()
	var seen []string
	for line := range strings.Lines(trace) {
		var entry struct {
			Dir     string
			Message struct{ Type string }
		}
		check(t, json.Unmarshal([]byte(line), &entry))
		if kind := entry.Dir + " " + entry.Message.Type; !slices.Contains(seen, kind) {
			seen = append(seen, kind)
		}
	}
	at := -1
	for _, kind := range kinds {
		next := slices.Index(seen, kind)
		if next <= at {
			t.Errorf("%s stands at place %d, after place %d of the one before it, in %q", kind, next, at, seen)
		}
		at = max(at, next)
	}
}

// collect frees what a node need not keep, and returns what stays.
func (m *member) collect() control.GCResult {
	m.cluster.t.Helper()
	r, err := m.Collect(m.cluster.t.Context(), control.None{}, quiet)
	check(m.cluster.t, err)
	return r
}

// empty wants a node to keep nothing, and to have promised nothing, once it has collected.
func (m *member) empty() {
	m.cluster.t.Helper()
	m.collect()
	if s := m.status(); s.Used != 0 || s.Runs != 0 || s.Reserved != 0 {
		m.cluster.t.Errorf("%s keeps %s in %d runs and has promised %s, want nothing", m.name, s.Used, s.Runs,
			s.Reserved)
	}
}

func TestPlacedTwiceAndRemovedLeavesNothing(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a", "", c.owned)
		b := c.start("b", "a-20MiB")
		a.split("disk.img", 1, content(1, 1<<20))
		c.settle()
		a.place(control.PlaceArgs{Name: "disk.img", Replicas: 1})
		a.place(control.PlaceArgs{Name: "disk.img", Replicas: 1})
		_, err := a.Remove(t.Context(), control.RemoveArgs{Name: "disk.img"}, quiet)
		check(t, err)
		b.empty()
	})
}

func TestRefusedPlacementIsWithdrawn(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a", "", c.owned)
		b := c.start("b", "a-20MiB")
		c.start("c", "a-20MiB", func(conf *commands.Config) {
			conf.Verifiers = append(conf.Verifiers, keep.NamedVerifier{Name: "never", Verifier: never{}})
		})
		a.split("disk.img", 1, content(1, 1<<20))
		c.settle()
		_, err := a.Place(t.Context(), control.PlaceArgs{Name: "disk.img", Replicas: 2, Strategy: "seed"}, quiet)
		if core.CodeOf(err) != core.CodeRedundant || !strings.Contains(err.Error(), "verifier never: never") {
			t.Fatalf("place: %v, want no room, and who refused", err)
		}
		if s := b.status(); s.Reserved != 0 || len(s.Tasks) != 0 {
			t.Errorf("b has promised %s to %d tasks after another refused", s.Reserved, len(s.Tasks))
		}
	})
}

// never is a verifier that refuses everything.
type never struct{}

func (never) Verify(context.Context, core.VerifyRequest) (core.Verdict, error) {
	return core.Verdict{Reason: "never"}, nil
}

func TestInterruptedPlacementGoesOnWhereItStopped(t *testing.T) {
	long(t)
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := fiveNodes(c)
		data := content(12, 16<<20)
		a.split("disk.img", 1, data)
		c.settle()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			_, err := a.Place(ctx, control.PlaceArgs{Replicas: 2, Strategy: "nearest"}, quiet)
			ended <- err
		}()
		time.Sleep(700 * time.Millisecond)
		cancel() // whose command has hung up: it does not wait until the node has noted where the placement stands
		again := a.place(control.PlaceArgs{Name: "disk.img", Replicas: 2, Strategy: "nearest"})
		if again.SentBytes > 2*again.Bytes*3/4 {
			t.Errorf("sent %s of %s again", again.SentBytes, 2*again.Bytes)
		}
		if err := <-ended; err == nil {
			t.Error("the placement ended before it was interrupted")
		}
		c.settle()
		for _, m := range c.nodes {
			if s := m.status(); s.Reserved != 0 || len(s.Tasks) > 1 {
				t.Errorf("%s has %s promised and %d tasks, want nothing left of the interrupted one", m.name,
					s.Reserved, len(s.Tasks))
			}
		}
		c.restoreElsewhere(data)
	})
}

func TestVersionGoesThoughAHolderCannotBeTold(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := fiveNodes(c)
		a.split("disk.img", 1, content(13, 1<<20))
		c.settle()
		placed := a.place(control.PlaceArgs{Replicas: 2})
		gone := c.byID(placed.Placements[0].Node)
		gone.stop()
		c.settle()
		first, err := a.Remove(t.Context(), control.RemoveArgs{Name: "disk.img"}, quiet)
		check(t, err)
		if len(first.Unheard) != 1 || len(first.Versions) != 1 {
			t.Errorf("removed %+v, want one holder unheard and the version forgotten", first)
		}
		gone.run()
		c.settle()
		second, err := a.Remove(t.Context(), control.RemoveArgs{Name: "disk.img"}, quiet)
		check(t, err)
		if len(second.Unheard) != 0 {
			t.Errorf("removed %+v, want everybody told", second)
		}
		if s := gone.status(); s.Runs != 0 {
			t.Errorf("%s still keeps %d runs", gone.name, s.Runs)
		}
	})
}

func TestTaskWhoseRefNeverCameGoesInTheEnd(t *testing.T) {
	long(t)
	withRogue(t, func(t *testing.T, b *member, r *rogue) {
		o := r.offer(b, unchanged)
		r.say(o.task)
		hear[wire.TaskAgree](r)
		r.say(o.apply(5))
		r.say(o.begin(5, 9, hear[wire.StorageAgree](r).Lease))
		check(t, r.to.SendData(t.Context(), 9, 0, 0, o.data))
		hear[wire.TransmissionComplete](r)
		hear[wire.TransmissionComplete](r)
		collect := func() core.Size {
			got, err := b.Collect(t.Context(), control.None{}, quiet)
			check(t, err)
			return got.HoldingsKept
		}
		if collect() == 0 {
			t.Error("collected a run that was receipted a moment ago")
		}
		b.stop()
		b.run()
		time.Sleep(25 * time.Hour) // the licence is for an hour
		if kept := collect(); kept != 0 {
			t.Errorf("%s kept of a task whose ref never came", kept)
		}
	})
}

func TestNextVersionFitsWhereLittleOfItIsNew(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a", "", c.owned)
		c.start("b", "a-20MiB", func(conf *commands.Config) { conf.Capacity = 1500 * core.KiB })
		data := content(1, 1<<20)
		a.split("disk.img", 1, data)
		c.settle()
		a.place(control.PlaceArgs{Replicas: 1})
		copy(data[500<<10:], content(2, 10<<10))
		a.split("disk.img", 2, data)
		a.place(control.PlaceArgs{Replicas: 1})
		a.fetch("disk.img", 2, data)
	})
}

// b keeps a copy already, and is slow to say so for the new placement, which is stopped when c has only begun.
// TestChainOfNodes: copies reach the last of six nodes through those between, its receipts and the ref too.
func TestChainOfNodes(t *testing.T) {
	long(t)
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a", "", c.owned)
		for _, pair := range []string{"ba", "cb", "dc", "ed", "fe"} {
			c.start(pair[:1], pair[1:]+"-10MiB")
		}
		data := content(20, 8<<20)
		a.split("disk.img", 1, data)
		c.settle()
		placed := a.place(control.PlaceArgs{Replicas: 5})
		if got := sum(placed.Placements); got != 5*placed.Bytes {
			t.Errorf("%d bytes on all nodes, want 5 × %d", got, placed.Bytes)
		}
		t.Logf("predicted %.2f s, took %.2f s", placed.PredictedS, placed.Seconds)
		a.stop()
		z := c.start("z", "f-20MiB", c.owned)
		c.settle()
		z.fetch("disk.img", 1, data)
	})
}

func TestStoppedPlacementLeavesTheOneBeforeInForce(t *testing.T) {
	long(t)
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a", "", c.owned)
		c.start("b", "a-20MiB", func(conf *commands.Config) { conf.Keeping = slowStore{conf.Keeping} })
		data := content(14, 8<<20)
		a.split("disk.img", 1, data)
		c.settle()
		a.place(control.PlaceArgs{Replicas: 1})
		c.start("c", "a-1MiB,b-1MiB")
		c.settle()
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(1700*time.Millisecond, cancel)
		if _,
			err := a.Place(ctx, control.PlaceArgs{Name: "disk.img", Replicas: 2, Strategy: "seed"}, quiet); err == nil {
			t.Fatal("the placement ended before it was stopped")
		}
		c.settle()
		z := c.start("z", "b-50MiB,c-50MiB", c.owned, func(conf *commands.Config) { conf.Token = nil })
		c.settle()
		z.fetch("disk.img", 0, data)
	})
}

func TestAnotherMachinesVersionIsNotReplaced(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a", "", c.owned)
		c.start("b", "a-20MiB")
		data := content(15, 1<<20)
		a.split("disk.img", 1, data)
		c.settle()
		a.place(control.PlaceArgs{Replicas: 1})
		other := c.start("other", "b-20MiB", c.owned)
		other.split("disk.img", 1, content(16, 1<<20))
		c.settle()
		_, err := other.Place(t.Context(), control.PlaceArgs{Replicas: 1, Strategy: "seed"}, quiet)
		if err == nil || !strings.Contains(err.Error(), "another machine") {
			t.Errorf("place: %v, want it refused", err)
		}
		z := c.start("z", "b-50MiB", c.owned)
		c.settle()
		z.fetch("disk.img", 0, data)
	})
}

// stumblingStore cannot make durable what it was given when its first barrier comes.
type stumblingStore struct {
	storage.Collector
	barriers *atomic.Int64
}

func (s stumblingStore) Barrier(ctx context.Context) error {
	if s.barriers.Add(1) == 1 {
		return errors.New("input/output error")
	}
	return s.Collector.Barrier(ctx)
}

func TestRunsOfAFailedBarrierAreSentAgain(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a", "", c.owned)
		var barriers atomic.Int64
		c.start("b", "a-20MiB", func(conf *commands.Config) { conf.Keeping = stumblingStore{conf.Keeping, &barriers} })
		data := content(23, 4<<20)
		a.split("disk.img", 1, data)
		c.settle()
		a.place(control.PlaceArgs{Replicas: 1})
		c.restoreElsewhere(data)
	})
}

// zoned puts a node into a zone; two zones are joined by a trunk.
func zoned(zone string) func(*commands.Config) {
	return func(conf *commands.Config) {
		conf.Labels = map[string]string{"zone": zone}
		conf.Trunks = []core.TrunkState{{From: "east", To: "west", Rate: 2 << 20}}
	}
}

func TestNodesOfAZoneThatAreNotLinkedAllGetTheirCopies(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a", "", c.owned, zoned("east"))
		c.start("b", "a-10MiB", zoned("west"))
		c.start("c", "a-10MiB", zoned("west"))
		a.split("disk.img", 1, content(24, 4<<20))
		c.settle()
		placed := a.place(control.PlaceArgs{Replicas: 2})
		if placed.Seconds > 20 {
			t.Errorf("it took %.1f s, planned were %.1f", placed.Seconds, placed.PredictedS)
		}
	})
}

func TestTrunkOutlivesTheNodeThatCrossedIt(t *testing.T) {
	long(t)
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a", "", c.owned, zoned("east"))
		b := c.start("b", "a-10MiB", zoned("west"))
		c.start("c", "a-1MiB,b-10MiB", zoned("west"))
		c.start("d", "a-1MiB,b-10MiB,c-10MiB", zoned("west"))
		data := content(25, 16<<20)
		a.split("disk.img", 1, data)
		c.settle()
		time.AfterFunc(3*time.Second, b.stop)
		placed := a.place(control.PlaceArgs{Replicas: 2})
		t.Logf("took %.1f s, planned were %.1f", placed.Seconds, placed.PredictedS)
		if got := sum(placed.Placements); got != 2*placed.Bytes {
			t.Errorf("%d bytes on all nodes, want 2 × %d", got, placed.Bytes)
		}
	})
}
