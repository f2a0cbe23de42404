package node_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/node"
	"github.com/bkp-tool/bkp/core/wire"
)

func (r *rogue) placeWith(a *member, args node.PlaceArgs, state wire.StateReport, then func(wire.Message)) error {
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
	synctest.Test(t, func(t *testing.T) {
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
		err := r.placeWith(a, node.PlaceArgs{Replicas: 2}, state, ignore)
		if core.CodeOf(err) != core.CodeRedundant {
			t.Errorf("place: %v, want too few nodes", err)
		}
		if took := time.Since(began); took > time.Minute {
			t.Errorf("it took %s to find that out", took)
		}
	})
}

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
			{"another message", func(m *wire.Relay) { m.Message = slices.Concat(m.Message[:len(m.Message)-1], []byte(" }")) }, false},
			{"of yesterday", func(m *wire.Relay) { m.Time -= 86400 }, false},
			{"a way that the signer did not name", func(m *wire.Relay) { m.Route = slices.Insert(m.Route, 1, core.ID{5}) }, false},
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
			if m, err := back.Open(time.Now()); err != nil || !slices.Equal(back.Route, []core.ID{b.ID(), r.signer.ID(), stranger.ID()}) {
				t.Errorf("%s: heard %+v over %v, %v", test.name, m, back.Route, err)
			}
		}
	})
}

func TestNodesKnownByHearsayAreBounded(t *testing.T) {
	withRogue(t, func(t *testing.T, b *member, r *rogue) {
		for range 5000 {
			stranger, err := key.NewSigner(r.c.random)
			check(t, err)
			r.say(r.relayed(stranger, wire.ReleaseDone{Query: 1}, r.signer.ID(), b.ID()))
			time.Sleep(time.Millisecond)
		}
		peers, err := b.ListPeers(t.Context(), node.PeersArgs{}, quiet)
		check(t, err)
		if len(peers.Peers) > 4096 {
			t.Errorf("%d peers are known", len(peers.Peers))
		}
	})
}
