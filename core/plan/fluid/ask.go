// SPDX-License-Identifier: Apache-2.0

package fluid

import (
	"math"
	"slices"
)

// ask is a goal as a linear program.
func (n *Network) ask(g Goal) *question {
	q := &question{net: n, tiny: 1e-9}
	size := float64(g.Size)
	room := func(bytes float64, what pipe) int {
		q.rooms = append(q.rooms, room{bytes: bytes, pipe: what})
		return len(q.rooms) - 1
	}
	switch g.Mode {
	case Broadcast:
		c := treeClass{roots: []int{n.Source}, relays: true}
		for _, t := range g.Targets {
			if t != n.Source && !slices.Contains(c.may, t) {
				c.may = append(c.may, t)
			}
		}
		if c.copies = len(c.may); c.copies == 0 {
			return q
		}
		q.demands, q.pricer = []float64{size}, &treePricer{net: n, classes: []treeClass{c}}
	case Replicas:
		c := treeClass{roots: []int{n.Source}, relays: true, copies: g.Replicas, rooms: map[int]int{}}
		for i, node := range n.Nodes {
			if i == n.Source || node.Free == 0 {
				continue
			}
			if c.may = append(c.may, i); node.Free < g.Size {
				c.rooms[i] = room(float64(node.Free), pipe{kind: ofStore, node: i})
			}
			if g.PerZone > 0 && g.PerZone < g.Replicas {
				if c.zones == nil {
					c.zones = map[string]int{}
				}
				c.zones[n.ZoneOf(i)] = g.PerZone
			}
		}
		q.demands, q.pricer = []float64{size}, &treePricer{net: n, classes: []treeClass{c}}
	case Shards:
		shard := size / float64(g.K)
		s, zones := &shardPricer{net: n}, map[string]int{}
		for i, node := range n.Nodes {
			if i == n.Source || node.Free == 0 {
				continue
			}
			e := shardEnd{node: i, rooms: []int{room(min(shard, float64(node.Free)), pipe{kind: ofStore, node: i})}}
			if z := n.ZoneOf(i); g.PerZone > 0 {
				if _, ok := zones[z]; !ok {
					zones[z] = room(shard*float64(g.PerZone), pipe{kind: ofZone, name: ZoneName(z)})
				}
				e.rooms = append(e.rooms, zones[z])
			}
			s.ends = append(s.ends, e)
		}
		q.demands, q.pricer = []float64{shard * float64(g.K+g.M)}, s
	case Fetch:
		f := &fetchPricer{net: n, sink: g.Sink}
		for k, part := range g.Parts {
			if slices.Contains(part.Holders, g.Sink) && g.K <= 1 || part.Size == 0 {
				continue
			}
			var ends []shardEnd
			for _, h := range part.Holders {
				e := shardEnd{node: h}
				if g.K > 1 {
					e.rooms = []int{room(float64(part.Size)/float64(g.K), pipe{kind: ofShare, node: h, part: k})}
				}
				ends = append(ends, e)
			}
			f.parts = append(f.parts, ends)
			q.demands, q.parts = append(q.demands, float64(part.Size)), append(q.parts, k)
		}
		q.pricer = f
	}
	return q
}

// exactly is the least time of a goal by linear programming, and what binds. It is exact for few nodes.
func (n *Network) exactly(g Goal) Bound {
	q := n.ask(g)
	if len(q.demands) == 0 {
		return Bound{0, "nothing (no run has to travel)"}
	}
	b := Bound{q.solve(), "space"}
	if math.IsInf(b.Seconds, 1) {
		return b
	}
	b = Bound{q.least, q.binding()}
	var simple Bound // what one cut says as well is said by that
	switch g.Mode {
	case Broadcast:
		simple = n.cutBroadcast(g)
	case Replicas:
		simple = n.leastReplicas(g)
	case Shards:
		simple = n.leastShards(g)
	case Fetch:
		simple = n.leastFetch(g)
	}
	if simple.Seconds >= b.Seconds*(1-1e-6) {
		b = Bound{max(b.Seconds, simple.Seconds), simple.Binding}
	}
	return b
}
