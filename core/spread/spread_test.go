// SPDX-License-Identifier: Apache-2.0

package spread

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/core/task"
	"pgregory.net/rapid"
)

// anyWorld is a source and up to seven other nodes: linked with all or with some, on one site or two with a trunk, near
// or far; some are to keep runs, and the others pass on.
func anyWorld(r *rand.Rand) *world {
	mib := core.Rate(core.MiB)
	w := newWorld(slices.Repeat([]core.Size{core.MiB}, 1+r.IntN(70)))
	n := 2 + r.IntN(7)
	sparse, sites := r.IntN(2) == 0, r.IntN(2) == 0
	trip := time.Duration([]int{0, 0, 40, 300}[r.IntN(4)]) * time.Millisecond
	w.t.Once = r.IntN(2) == 0
	beyond := &Zone{}
	for i := range n {
		var zone *Zone
		if sites && i%2 == 1 {
			zone = beyond
		}
		w.add(fmt.Sprint(i), zone, mib*core.Rate(r.IntN(10)),
			mib*core.Rate(r.IntN(10)))
	}
	out, in := make([][]int, n), make([][]int, n)
	for a := range n {
		for b := range n {
			if a == b || sparse && b != a+1 && r.IntN(4) > 0 {
				continue
			}
			way := Way{RoundTrip: trip}
			if sites && b%2 == 1 && a%2 == 0 {
				way.Trunk = mib
			}
			w.link(w.nodes[a], w.nodes[b], way)
			out[a], in[b] = append(out[a], b), append(in[b], a)
		}
	}
	keeps := func(i int) bool { return i == n-1 || i > 0 && r.IntN(3) > 0 }
	relays := w.t.Relay([]int{1, Busy}[r.IntN(2)])
	relays.Neighbours = func(i int) ([]int, []int) { return out[i], in[i] }
	planned, routed := map[[2]int]float64{}, r.IntN(2) == 0
	relays.Routed, relays.Planned = routed, func(from, to int) bool { return planned[[2]int{from, to}] > 0 }
	for i, v := range w.nodes {
		bytes := make([]float64, n)
		for _, to := range out[i] {
			if routed && r.IntN(2) == 0 {
				bytes[to] = float64(1+r.IntN(70)) * float64(core.MiB)
				planned[[2]int{i, to}] = bytes[to]
			}
		}
		if routed {
			for to := range bytes {
				v.part.Plan(to, bytes[to])
			}
		}
	}
	idle := map[int]bool{}
	for i, v := range w.nodes {
		if idle[i] = i > 0 && !keeps(i); idle[i] {
			continue
		}
		for run := range w.seg.sizes {
			if i == 0 {
				v.peer.Own(w.seg, run)
			} else if r.IntN(4) > 0 {
				v.peer.Want(w.seg, run)
			}
		}
	}
	for run := range w.seg.sizes {
		w.nodes[0].part.Spread(w.seg, run)
	}
	for i := range n {
		w.nodes[0].part.First(i, float64(r.IntN(4)))
	}
	relays.Lay(func(i int) float64 {
		switch {
		case i == 0:
			return -1
		case idle[i]:
			return 1e18
		}
		return 0
	})
	return w
}

// TestEveryRunArrives drives random worlds in any order of events: nobody is asked to take what it has or is being
// sent, no uplink is leased beyond what it is, what is counted is what a recount finds, and in the end nothing is
// missing.
func TestEveryRunArrives(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		const stuck = 0x18a7c19c30 // a relay that has room for all the few runs there are
		random := rand.New(rand.NewPCG(rapid.OneOf(rapid.Uint64(), rapid.Just(uint64(stuck))).Draw(r, "seed"), 3))
		w := anyWorld(random)
		w.asked = func(from *virtual, a Action) {
			if free, all := from.Uplink(); a.Kind == Ask && all > 0 && a.Rate > free && !a.Sender.holds() {
				r.Fatalf("%s asks for %d where %d is free", from.name, a.Rate, free)
			}
			for _, run := range a.Runs {
				to := w.nodes[a.Sender.To()]
				if to.peer.Has(w.seg, run) || !from.peer.Has(w.seg, run) {
					r.Fatalf("%s asks %s to take run %d", from.name, to.name, run)
				}
				for _, other := range w.nodes {
					s := other.part.Sender(to.peer.Number)
					is := func(u underway) bool { return u.run == run }
					if s != nil && s != a.Sender && slices.ContainsFunc(s.sending, is) {
						r.Fatalf("%s asks %s to take run %d, as %s does", from.name, to.name, run, other.name)
					}
				}
			}
		}
		for turn := 0; w.t.Missing() > 0; turn++ {
			if turn > 1000+10*len(w.seg.sizes) {
				r.Fatalf("%d runs are missing and nothing moves", w.t.Missing())
			}
			w.now += 200 * time.Millisecond
			moved := false
			for _, i := range random.Perm(len(w.nodes)) {
				n := w.nodes[i]
				n.engine.Wake()
				w.drive(n)
				for _, s := range n.part.senders {
					moved = w.move(random, s) || moved
				}
				for _, v := range w.nodes {
					if free, all := v.Uplink(); all > 0 && free < 0 {
						r.Fatalf("%s has leased %d beyond its uplink", v.name, -free)
					}
				}
			}
			if err := w.t.recount(); err != nil {
				r.Fatal(err)
			}
			given := 0
			w.nodes[0].part.sent[0].all(func(run int) {
				if run < len(w.seg.sizes) {
					given++
				}
			})
			if source := w.nodes[0].part; source.unsent+given != len(w.seg.sizes) {
				r.Fatalf("the source gave %d runs away, and has %d to give", given, source.unsent)
			}
			if !moved && turn%20 == 19 {
				w.t.relays.Loosen()
			}
		}
		for _, n := range w.nodes[1:] {
			for _, s := range n.part.senders {
				if s != nil && len(s.sending) > 0 && !s.holds() {
					r.Fatalf("%s forgot %d runs", n.name, len(s.sending))
				}
			}
		}
	})
}

// move lets the other end of a flow do something, if it has one.
func (w *world) move(r *rand.Rand, s *Sender) bool {
	if s == nil || s.Flow == nil {
		return false
	}
	switch s.Flow.State {
	case task.Asking, task.Renewing:
		switch r.IntN(6) {
		case 0:
			s.Refused()
			w.step(s, task.Event{Kind: task.Refused, Reason: core.ReasonBusy})
		case 1:
			w.agree(s, max(1, s.Flow.Agreed()/2), 1)
		default:
			w.agree(s, s.Flow.Agreed(), 1000)
		}
	case task.Leased:
		if open := s.Flow.Open(); r.IntN(10) == 0 {
			w.step(s, task.Event{Kind: task.Lost})
		} else {
			w.came(s, open[0].Number)
			if s.Flow != nil && s.Flow.State == task.Leased {
				s.Low()
			}
		}
	case task.Waiting:
		w.step(s, task.Event{Kind: task.Due})
	default:
		return false
	}
	return true
}

// TestChoiceIsThatOfATwin compares whom an engine chooses with what a slow look at every run of every target finds.
func TestChoiceIsThatOfATwin(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(r, "seed"), 3))
		w := anyWorld(random)
		w.now = time.Second
		for _, v := range w.nodes[1:] {
			for run := range w.seg.sizes {
				switch random.IntN(6) {
				case 0:
					v.peer.Have(w.now, w.seg, run)
				case 1:
					v.peer.Coming(w.now, w.seg, []core.Range{{Start: run, Length: 1}})
				}
			}
		}
		for _, n := range w.nodes {
			for _, stage := range n.part.stages() {
				able, i := n.part.choose(w.now, stage, nil)
				best, rank := n.part.twin(w, stage)
				switch {
				case i < 0 != (best < 0):
					r.Fatalf("%s chooses %d of %d, its twin %d", n.name, i, len(able), best)
				case i < 0:
				case rank(able[i].to.Number) > rank(best):
					r.Fatalf("%s chooses %d, its twin %d", n.name, able[i].to.Number, best)
				default:
					o, _ := n.part.offers(w.now, stage, able[i])
					if run := n.part.pick(&o, stage); !n.part.useful(w, stage, able[i].to, run) {
						r.Fatalf("%s would send run %d to %d, which has no use for it", n.name, run, able[i].to.Number)
					}
				}
			}
		}
	})
}

// twin is whom to send to, and how far from best somebody else is: 0 is as good.
func (p *Part) twin(w *world, stage plan.Stage) (best int, rank func(int) int) {
	free, up := p.e.net.Uplink()
	var able []plan.Receiver
	var who []int
	for _, to := range w.t.peers {
		way, ok := p.ways.Way(to.Number)
		if !ok || to == p.me {
			continue
		}
		for run := range w.seg.sizes {
			if p.useful(w, stage, to, run) {
				able, who = append(able, p.receiver(candidate{to: to, way: way})), append(who, to.Number)
				break
			}
		}
	}
	for i := range able {
		if way, _ := p.ways.Way(who[i]); way.RoundTrip > 0 && up > 0 {
			able[i].Fair = plan.Fair(stage, up, able[i], nil, slices.Delete(slices.Clone(able), i, i+1))
			if way.Trunk > 0 {
				able[i].Fair = plan.Least(up/2, able[i].Nominal)
			}
		}
	}
	i := plan.Choose(stage, free, up, able)
	if i < 0 {
		return -1, nil
	}
	return who[i], func(other int) int {
		k := slices.Index(who, other)
		if k < 0 || plan.Choose(stage, free, up, []plan.Receiver{able[k], able[i]}) != 0 {
			return 1
		}
		return 0
	}
}

// useful asks of one run what offers asks of 64.
func (p *Part) useful(w *world, stage plan.Stage, to *Peer, run int) bool {
	if run < 0 || !p.me.Has(w.seg, run) || to.Has(w.seg, run) || to.Expects(w.seg, run) {
		return false
	}
	passes := to.relay != nil && to.relay.held < w.t.relays.space && to.in(w.seg).pass.takes.has(run) && p.passes(to)
	if !to.Wants(w.seg, run) && !passes || stage == plan.Spreading && p.sent[0].has(run) {
		return false
	}
	way, _ := p.ways.Way(to.Number)
	if way.Trunk > 0 && at(p.planned, to.Number) > 0 {
		return true // though it may be there already
	}
	if way.Trunk > 0 && w.t.Once && to.zone != nil && to.zone.need > 0 {
		for _, other := range w.t.peers {
			if other.zone == to.zone && (other.Has(w.seg, run) || other.Expects(w.seg, run)) {
				return false
			}
		}
	}
	return true
}

// TestRarestFirst: of two runs, the one of which there are fewer copies goes first.
func TestRarestFirst(t *testing.T) {
	w := newWorld([]core.Size{core.MiB, core.MiB})
	a, b, c := w.add("a", nil, 1e6, 0), w.add("b", nil, 0, 1e6), w.add("c", nil, 0, 1e6)
	w.link(a, b, Way{})
	a.peer.Own(w.seg, 0)
	a.peer.Own(w.seg, 1)
	c.peer.Own(w.seg, 0)
	b.peer.Want(w.seg, 0)
	b.peer.Want(w.seg, 1)
	got := -1
	w.asked = func(_ *virtual, a Action) { got = a.Runs[0] }
	a.engine.Wake()
	if w.drive(a); got != 1 {
		t.Errorf("run %d goes first", got)
	}
}

// BenchmarkChoice tells what it costs a node to decide what to send next, and to note that, of many targets.
func BenchmarkChoice(b *testing.B) {
	for _, c := range []struct {
		nodes, runs int
		trip        time.Duration
	}{{10, 1000, 0}, {100, 1000, 0}, {1000, 1000, 0}, {1000, 10_000, 0}, {1000, 10_000, 40 * time.Millisecond}} {
		b.Run(fmt.Sprintf("%dx%d/%v", c.nodes, c.runs, c.trip), func(b *testing.B) {
			t := &Transfer{}
			s := t.Segment(0, slices.Repeat([]core.Size{core.MiB}, c.runs))
			random := rand.New(rand.NewPCG(1, 2))
			for i := range c.nodes {
				q := t.Join(0, i, nil, 1e7, 1e7)
				for run := range c.runs {
					if i == 0 || random.IntN(4) == 0 {
						q.Own(s, run)
					}
					q.Want(s, run)
				}
			}
			e := New(open{c.trip}, random)
			e.Add(t, t.peers[0], open{c.trip})
			for b.Loop() {
				e.Wake()
				a, ok := e.Next(time.Second)
				if !ok {
					b.Fatal("nothing to send")
				}
				for _, run := range a.Runs {
					a.Sender.Drop(a.Segment, run)
				}
			}
		})
	}
}

// open is a network without limits but one.
type open struct{ trip time.Duration }

func (o open) Uplink() (free, all core.Rate) { return 1e7, 1e7 }
func (o open) Way(int) (Way, bool)           { return Way{Free: 1e7, Rate: 1e7, RoundTrip: o.trip}, true }
