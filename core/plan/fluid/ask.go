// SPDX-License-Identifier: Apache-2.0

package fluid

import (
	"math"
	"slices"
)

// ask is a goal as a linear program.
func (n *Network) ask(g Goal) *question {
	q := &question{net: n}
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
	case Replicas, Shards:
		c := CopyClass{Bytes: size, From: []int{n.Source}, Copies: g.Replicas}
		if g.Mode == Shards {
			c.Bytes, c.Copies = size/float64(g.K), g.K+g.M
		}
		free := make([]float64, len(n.Nodes))
		for i, node := range n.Nodes {
			free[i] = float64(node.Free)
			c.May = append(c.May, i)
			if g.PerZone > 0 && g.PerZone < c.Copies {
				if c.Zones == nil {
					c.Zones = map[string]int{}
				}
				c.Zones[n.ZoneOf(i)] = g.PerZone
			}
		}
		return n.copies(Copies{Classes: []CopyClass{c}, Free: free, Relays: true, Shards: g.Mode == Shards})
	case Fetch:
		f := &pathPricer{net: n}
		for k, part := range g.Parts {
			if slices.Contains(part.Holders, g.Sink) && g.K <= 1 || part.Size == 0 {
				continue
			}
			var ends []pathEnd
			for _, h := range part.Holders {
				e := pathEnd{from: h, to: g.Sink}
				if g.K > 1 {
					e.rooms = []int{room(float64(part.Size)/float64(g.K), pipe{kind: ofShare, node: h, part: k})}
				}
				ends = append(ends, e)
			}
			f.ends = append(f.ends, ends)
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
