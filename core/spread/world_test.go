// SPDX-License-Identifier: Apache-2.0

package spread

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/account"
	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/core/task"
)

// world is some nodes that share one transfer. Their engines are driven by real flows, whose far ends the test plays.
type world struct {
	now   time.Duration
	t     *Transfer
	seg   *Segment
	nodes []*virtual
	ways  map[[2]int]Way // as they are where nothing is leased; none where no link leads
	asked func(from *virtual, a Action)
}

// virtual is one node.
type virtual struct {
	w        *world
	name     string
	up, down core.Rate
	peer     *Peer
	engine   *Engine
	part     *Part
}

func newWorld(sizes []core.Size) *world {
	w := &world{t: &Transfer{}, ways: map[[2]int]Way{}, asked: func(*virtual, Action) {}}
	w.seg = w.t.Segment(0, sizes)
	return w
}

func (w *world) add(name string, zone *Zone, up, down core.Rate) *virtual {
	n := &virtual{w: w, name: name, up: up, down: down, peer: w.t.Join(0, len(w.nodes), zone, up, down)}
	n.engine = New(n, rand.New(rand.NewPCG(uint64(len(w.nodes)), 1)))
	n.part = n.engine.Add(w.t, n.peer, n)
	w.nodes = append(w.nodes, n)
	return n
}

// link lets runs go from one node to another.
func (w *world) link(from, to *virtual, way Way) {
	way.Rate = plan.Least(way.Rate, from.up, to.down)
	w.ways[[2]int{from.peer.Number, to.peer.Number}] = way
}

func (n *virtual) Uplink() (free, all core.Rate) {
	if n.up == 0 {
		return account.Unlimited, 0
	}
	return n.up - leased(n.part.senders), n.up
}

func (n *virtual) Way(to int) (Way, bool) {
	way, ok := n.w.ways[[2]int{n.peer.Number, to}]
	way.Free = account.Unlimited
	if v := n.w.nodes[to]; v.down > 0 {
		way.Free = v.down - leased(n.w.sendersTo(to))
	}
	if s := n.part.Sender(to); way.Rate > 0 && !s.holds() {
		way.Free = min(way.Free, way.Rate)
	} else if way.Rate > 0 {
		way.Free = min(way.Free, way.Rate-s.Flow.Rate)
	}
	return way, ok && !n.w.nodes[to].peer.gone
}

func (w *world) sendersTo(to int) (senders []*Sender) {
	for _, n := range w.nodes {
		senders = append(senders, n.part.Sender(to))
	}
	return senders
}

func leased(senders []*Sender) (sum core.Rate) {
	for _, s := range senders {
		if s.holds() {
			sum += s.Flow.Rate
		}
	}
	return sum
}

// drive does what a node decides.
func (w *world) drive(n *virtual) {
	for {
		a, ok := n.engine.Next(w.now)
		if !ok {
			return
		}
		w.asked(n, a)
		s := a.Sender
		switch a.Kind {
		case Ask:
			if s.Flow == nil {
				s.Flow = task.NewFlow(uint64(len(n.part.senders)), task.Asker, true)
			}
			var runs []task.Run
			for _, run := range a.Runs {
				runs = append(runs, task.Run{Number: run, Size: w.seg.sizes[run]})
			}
			w.step(s, task.Event{Kind: task.Ask, Rate: a.Rate, Runs: runs})
		case Raise:
			w.step(s, task.Event{Kind: task.Ask, Rate: a.Rate})
		case Lower:
			w.step(s, task.Event{Kind: task.Scaled, Rate: a.Rate})
			s.Flow.Rate = a.Rate
		case GiveUp:
			s.to.Gone()
		}
	}
}

// step moves a flow; it reports for how long the flow waits where it does.
func (w *world) step(s *Sender, e task.Event) (wait time.Duration) {
	e.Now = w.now
	actions, err := s.Flow.Step(e)
	if err != nil {
		panic(err)
	}
	for _, a := range actions {
		switch a.Kind {
		case task.DoRequeue:
			for _, r := range a.Runs {
				s.Drop(w.seg, r.Number)
			}
		case task.DoRetry:
			wait = a.At - w.now
		}
	}
	if s.Flow.State == task.Closed {
		s.Ended(w.now)
	}
	return wait
}

// agree is the target's answer: it takes the first so many of the runs it was asked to take.
func (w *world) agree(s *Sender, rate core.Rate, most int) {
	runs := s.pendingRuns()
	runs = runs[:min(most, len(runs))]
	s.Agreed(rate)
	var numbers []int
	for _, r := range runs {
		numbers = append(numbers, r.Number)
	}
	for _, r := range s.Flow.Open() {
		numbers = append(numbers, r.Number)
	}
	s.Elsewhere(w.now, w.seg, numbers)
	w.step(s, task.Event{Kind: task.Agreed, Runs: runs, Lease: 1, Rate: rate, Term: time.Minute})
}

// pendingRuns are those that were asked for and not answered.
func (s *Sender) pendingRuns() (runs []task.Run) {
	open := s.Flow.Open()
	for _, u := range s.sending {
		if !slices.ContainsFunc(open, func(r task.Run) bool { return r.Number == u.run }) {
			runs = append(runs, task.Run{Number: u.run, Size: u.seg.sizes[u.run]})
		}
	}
	return runs
}

// came lets a granted run arrive.
func (w *world) came(s *Sender, run int) {
	w.step(s, task.Event{Kind: task.Begun, Run: run})
	s.Arrived(w.now, w.seg, run)
	w.step(s, task.Event{Kind: task.Received, Run: run})
}

// recount compares everything that is counted with what the sets say.
func (t *Transfer) recount() error {
	missing, zones := 0, map[*Zone]core.Size{}
	for _, s := range t.segments {
		copies := make([]int32, s.Runs())
		type key struct {
			z   *Zone
			run int
		}
		wanted, there, held := map[key]bool{}, map[key]bool{}, map[key]bool{}
		for _, q := range t.peers {
			p := q.in(s)
			if p == nil {
				continue
			}
			left := 0
			for run := range s.sizes {
				due := p.coming.has(run) || p.said.has(run)
				if p.has.has(run) || due {
					copies[run]++
					held[key{q.zone, run}] = true
				}
				lacks := p.want.has(run) && !p.has.has(run)
				if open := lacks && !due; open != p.open.has(run) {
					return fmt.Errorf("node %d, run %d: open is %v", q.Number, run, !open)
				} else if open {
					left++
				}
				if lacks {
					missing++
				}
				wanted[key{q.zone, run}] = wanted[key{q.zone, run}] || p.want.has(run)
				there[key{q.zone, run}] = there[key{q.zone, run}] || p.has.has(run)
			}
			if left != p.left {
				return fmt.Errorf("node %d: %d left, counted %d", q.Number, p.left, left)
			}
		}
		if !slices.Equal(copies, s.copies) {
			return fmt.Errorf("copies are %v, counted %v", s.copies, copies)
		}
		for k := range wanted {
			if k.z != nil && wanted[k] && !there[k] {
				zones[k.z] += s.sizes[k.run]
			}
			if z := k.z; z != nil && s.index < len(z.held) && z.held[s.index] != nil && z.held[s.index].has(k.run) != held[k] {
				return fmt.Errorf("run %d: held in a zone is %v", k.run, !held[k])
			}
		}
	}
	if missing != t.missing {
		return fmt.Errorf("%d missing, counted %d", t.missing, missing)
	}
	for _, q := range t.peers {
		need, left := core.Size(0), 0
		for _, p := range q.parts {
			if p == nil {
				continue
			}
			left += p.left
			p.want.all(func(run int) {
				if !p.has.has(run) {
					need += p.seg.sizes[run]
				}
			})
		}
		if need != q.need || left != q.left {
			return fmt.Errorf("node %d needs %d in %d runs, counted %d in %d", q.Number, q.need, q.left, need, left)
		}
		if listed := q.at >= 0; listed != (!q.gone && (left > 0 || q.relay != nil)) || listed && t.open[q.at] != q {
			return fmt.Errorf("node %d: listed is %v with %d left", q.Number, listed, left)
		}
		if q.zone != nil && q.zone.need != zones[q.zone] {
			return fmt.Errorf("a zone needs %d, counted %d", q.zone.need, zones[q.zone])
		}
	}
	return nil
}
