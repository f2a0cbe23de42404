// SPDX-License-Identifier: Apache-2.0

package fluid

import (
	"math"
	"slices"
)

// Copies is copies to be made of some classes of runs, on nodes of free choice.
type Copies struct {
	Classes []CopyClass
	Free    []float64 // by node: the bytes of new copies that it may keep
	Fair    []float64 // by node: so many bytes are its due; nil where nobody has any
	Cost    []float64 // by node: of a byte kept there; nil where all are alike
	Relays  bool      // nodes may pass on what they do not keep
	Shards  bool      // no two copies are alike, so that none is made of another; all may be passed on
}

// CopyClass is runs that come from the same nodes and may go to the same.
type CopyClass struct {
	Bytes  float64
	From   []int
	Copies int            // of each run
	May    []int          // who may be given one
	Zones  map[string]int // how many of a run each zone may be given, where that is limited
}

// What a byte beyond its node's due costs: where nodes have costs, those decide first.
const (
	beyond      = 1.0
	beyondCosts = 0.01
)

// Spread is how copies are made in the least time, and that time; or, where within allows more, at the least cost in
// that: as far from everybody's due as it has to be, and over as few links as it can be. The costs are weighed against
// the dearest. There are no ways where the least time is infinite.
func (n *Network) Spread(c Copies, within func(least float64) float64) (ways []Route, b Bound) {
	q := n.copies(c)
	if len(q.demands) == 0 {
		return nil, Bound{0, "nothing (no run has to travel)"}
	}
	t := q.solve()
	if b = (Bound{q.least, "space"}); math.IsInf(t, 1) {
		b.Seconds = t
		return nil, b
	}
	ways, b.Binding = q.routes(), q.binding()
	if within == nil {
		return ways, b
	}
	if q.cheaply(max(within(t), t*(1+1e-7), 1e-6)) {
		ways = q.routes()
	}
	return ways, b
}

func (n *Network) copies(c Copies) *question {
	q := &question{net: n}
	trees, paths := &treePricer{net: n}, &pathPricer{net: n}
	rooms := n.rooms(q, c)
	for _, class := range c.Classes {
		if class.Bytes == 0 || class.Copies == 0 {
			continue
		}
		may := slices.DeleteFunc(slices.Clone(class.May), func(i int) bool {
			return slices.Contains(class.From, i) || c.Free[i] <= 0
		})
		if !c.Shards {
			trees.classes = append(trees.classes, treeClass{demand: len(q.demands), roots: class.From,
				copies: class.Copies, zones: class.Zones, relays: c.Relays, rooms: rooms, may: may})
			q.demands, q.pricer = append(q.demands, class.Bytes), trees
			continue
		}
		zones, ends := map[string]int{}, []pathEnd(nil)
		for _, i := range may {
			e := pathEnd{from: n.Source, to: i, rooms: []int{len(q.rooms)}}
			q.rooms = append(q.rooms, room{bytes: class.Bytes, pipe: pipe{kind: ofStore, node: i}})
			if r, limited := rooms[i]; limited {
				e.rooms = append(e.rooms, r)
			}
			z := n.ZoneOf(i)
			if most, limited := class.Zones[z]; limited {
				if _, known := zones[z]; !known {
					zones[z] = len(q.rooms)
					q.rooms = append(q.rooms, room{bytes: class.Bytes * float64(most),
						pipe: pipe{kind: ofZone, name: ZoneName(z)}})
				}
				e.rooms = append(e.rooms, zones[z])
			}
			ends = append(ends, e)
		}
		paths.ends = append(paths.ends, ends)
		q.demands, q.pricer = append(q.demands, class.Bytes*float64(class.Copies)), paths
	}
	return q
}

// rooms is what one copy fills at each node where that is limited, or counts.
func (n *Network) rooms(q *question, c Copies) map[int]int {
	rooms, total, dearest := map[int]int{}, 0.0, 0.0
	for _, class := range c.Classes {
		total += class.Bytes
	}
	for _, cost := range c.Cost {
		dearest = max(dearest, cost)
	}
	for i, free := range c.Free {
		r := room{bytes: free, pipe: pipe{kind: ofStore, node: i}}
		if r.bytes >= total {
			if r.bytes = math.Inf(1); c.Fair == nil && dearest == 0 {
				continue
			}
		}
		if c.Fair != nil {
			if r.fair, r.beyond = c.Fair[i], beyond; dearest > 0 {
				r.beyond = beyondCosts
			}
		}
		if dearest > 0 {
			r.cost = c.Cost[i] / dearest
		}
		rooms[i], q.rooms = len(q.rooms), append(q.rooms, r)
	}
	return rooms
}
