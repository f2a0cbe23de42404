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
}

// Route says that the plan, of which Plan has the bytes, has the node give a target a run.
func (p *Part) Route(to int, s *Segment, run int) {
	for len(p.routes) <= to {
		p.routes = append(p.routes, nil)
	}
	for len(p.routes[to]) <= s.index {
		p.routes[to] = append(p.routes[to], nil)
	}
	d := p.routes[to][s.index]
	if d == nil {
		d = &route{runs: newSet(s.Runs())}
		p.routes[to][s.index] = d
	}
	d.runs.add(run)
	d.order, p.routed = nil, true
}

// Forget has the node go by nothing that the plan had it give before.
func (p *Part) Forget() {
	p.routes, p.routed = nil, false
	p.Plan(nil)
}

// Forget forgets the ways of runs.
func (t *Transfer) Forget() {
	for _, s := range t.segments {
		s.ways, s.ranks = nil, nil
	}
	for _, q := range t.peers {
		if q != nil {
			q.owed, q.needed = 0, 0
		}
	}
}

// routeTo is which runs of a segment the node is to give a target; nil where that is none.
func (p *Part) routeTo(to *Peer, s *Segment) *route {
	if of := at(p.routes, to.Number); s.index < len(of) {
		return of[s.index]
	}
	return nil
}

// Way says that the plan has one node give another a run. Runs that go the same ways are of one kind.
func (t *Transfer) Way(s *Segment, run, from, to int) {
	if q := t.peers[to]; q != nil {
		q.owed += float64(s.sizes[run])
		q.needed = max(q.needed, q.need)
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
