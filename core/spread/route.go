// SPDX-License-Identifier: Apache-2.0

package spread

import (
	"cmp"
	"slices"
)

// route is which runs of a segment the plan has a node give a target.
type route struct {
	runs  set
	order []int // the same, each kind of them evenly among the others; nil until it is asked for
	done  int   // of these, the target has so many, and all before
	lost  int   // as often had the target lost one then
}

// Follow says that the plan has one node give another a run. Runs that go the same ways are of one kind.
func (t *Transfer) Follow(s *Segment, run, from, to int) {
	if q := t.peers[from]; q.part != nil {
		q.part.follow(t.peers[to], s, run)
	}
	q := t.peers[to].of(s)
	if q.peer.part != nil || t.Traced {
		q.comesFrom(run, from)
	}
	if q.owed == nil {
		q.owed = newSet(s.Runs())
	}
	if !q.owed.has(run) {
		q.owed.add(run)
		q.peer.owed += float64(s.sizes[run])
		q.peer.needed = max(q.peer.needed, q.peer.need)
	}
	if s.ways == nil {
		s.ways = make([]uint64, s.Runs())
	}
	x := uint64(from)<<32 ^ uint64(to) + 0x9e3779b97f4a7c15 // splitmix64
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	s.ways[run] += x ^ x>>31
	s.ranks = nil
}

// follow is Follow for the node that gives.
func (p *Part) follow(to *Peer, s *Segment, run int) {
	for len(p.routes) <= to.Number {
		p.routes = append(p.routes, nil)
	}
	for len(p.routes[to.Number]) <= s.index {
		p.routes[to.Number] = append(p.routes[to.Number], nil)
	}
	d := p.routes[to.Number][s.index]
	if d == nil {
		d = &route{runs: newSet(s.Runs())}
		p.routes[to.Number][s.index] = d
	}
	if !d.runs.has(run) {
		d.runs.add(run)
		p.Plan(to.Number, float64(s.sizes[run]))
	}
	d.order, p.t.routed = nil, true
}

// Forget has nodes go by nothing that the plan had them give before.
func (t *Transfer) Forget() {
	t.guided, t.routed = false, false
	for _, s := range t.segments {
		s.ways, s.ranks = nil, nil
	}
	for _, q := range t.peers {
		if q == nil {
			continue
		}
		q.owed, q.needed, q.inbound = 0, 0, nil
		for _, p := range q.parts {
			if p != nil {
				p.owed, p.from = nil, nil
			}
		}
		if p := q.part; p != nil {
			p.routes, p.planned, p.gave = nil, nil, nil
		}
	}
}

// Anew has nodes go by nothing that the plan had them give of a segment before, as far as it is not on its way.
func (t *Transfer) Anew(s *Segment) {
	s.ways, s.ranks = nil, nil
	for _, q := range t.peers {
		if q == nil {
			continue
		}
		if p := q.in(s); p != nil && p.owed != nil {
			q.owed -= p.openBytes(p.owed)
			for run := range p.from {
				p.cameFrom(run)
			}
			p.owed, p.from = nil, nil
		}
		for to, of := range q.routesOf() {
			if s.index >= len(of) || of[s.index] == nil {
				continue
			}
			if p := t.peers[to].in(s); p != nil {
				q.part.planned[to] -= p.openBytes(of[s.index].runs)
			}
			of[s.index] = nil
		}
	}
}

// routesOf is what the plan has a node give, where it is told here.
func (q *Peer) routesOf() [][]*route {
	if q.part == nil {
		return nil
	}
	return q.part.routes
}

// openBytes is the size of those of some runs that the node lacks and that are not on their way to it.
func (p *Progress) openBytes(runs set) (bytes float64) {
	runs.all(func(run int) {
		if p.open.has(run) {
			bytes += float64(p.seg.sizes[run])
		}
	})
	return bytes
}

// routeTo is which runs of a segment the node is to give a target; nil where that is none.
func (p *Part) routeTo(to *Peer, s *Segment) *route {
	if of := at(p.routes, to.Number); s.index < len(of) {
		return of[s.index]
	}
	return nil
}

// rank is a run's place in an order in which each kind stands evenly among the others: so everybody down the ways has
// something to pass on all the time.
func (s *Segment) rank(run int) float64 {
	if s.ranks == nil {
		count, at := map[uint64]float64{}, map[uint64]float64{}
		for _, kind := range s.ways {
			count[kind]++
		}
		for _, kind := range s.ways {
			s.ranks = append(s.ranks, (at[kind]+0.5)/count[kind])
			at[kind]++
		}
	}
	return s.ranks[run]
}

// next is the first run in the order that an offer has; −1 where it has none.
func (d *route) next(o *offer) int {
	if d.order == nil {
		d.done = 0
		d.runs.all(func(run int) { d.order = append(d.order, run) })
		slices.SortStableFunc(d.order, func(a, b int) int { return cmp.Compare(o.seg.rank(a), o.seg.rank(b)) })
	}
	if d.lost != o.target.lost {
		d.done, d.lost = 0, o.target.lost
	}
	for d.done < len(d.order) && o.target.has.has(d.order[d.done]) {
		d.done++
	}
	for _, run := range d.order[d.done:] {
		if o.word(run/64)&(1<<(run%64)) != 0 {
			return run
		}
	}
	return -1
}
