// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"slices"
)

// reach finds how fast each node can be reached from the source, by min-cuts.
func (p *planner) reach() {
	if p.net.Meshed() {
		return
	}
	for i, rate := range p.net.Arrivals() {
		if i != p.Snapshot.Source {
			p.arrive[i] = rate
		}
	}
}

// detour is the way of fewest hops to a node from any that has the piece, through nodes that do not keep it; of two
// such ways the one that was given less. Nothing without Request.Relays, or where there is no way.
func (r *router) detour(have []int, to int, bytes float64) (way []hop) {
	if !r.Relays || r.net.Meshed() {
		return nil
	}
	from := make([]int, len(r.Snapshot.Nodes))
	ends := make([]float64, len(r.Snapshot.Nodes))
	for i := range from {
		from[i] = -1
	}
	for _, h := range have {
		from[h] = h
	}
	layer := slices.Clone(have)
	for len(layer) > 0 && from[to] < 0 {
		var next []int
		for _, a := range layer {
			for b := range r.Snapshot.Nodes {
				e, linked := r.ends(a, b, bytes)
				if e = max(e, ends[a]); !linked || from[b] >= 0 && (!slices.Contains(next, b) || e >= ends[b]) {
					continue
				}
				if from[b] < 0 {
					next = append(next, b)
				}
				from[b], ends[b] = a, e
			}
		}
		layer = next
	}
	if from[to] < 0 {
		return nil
	}
	for at := to; from[at] != at; at = from[at] {
		way = append(way, hop{from: from[at], to: at, relay: at != to})
	}
	slices.Reverse(way)
	for k := range way {
		way[k].depth = k + 1
	}
	return way
}

// apart sends each of the nodes a shard of its own, directly or through relays.
func (r *router) apart(nodes []int, bytes float64) (hops []hop) {
	for _, node := range nodes {
		way := []hop{{from: r.Snapshot.Source, to: node, depth: 1}}
		if paths := r.paths[node]; len(paths) > 0 {
			most := slices.MaxFunc(paths, func(a, b *path) int { return cmp.Compare(a.left, b.left) })
			most.left -= bytes
			way = nil
			for k, l := range most.Links {
				way = append(way, hop{from: l[0], to: l[1], depth: k + 1, relay: l[1] != node})
			}
		} else if _, direct := r.net.Link(r.Snapshot.Source, node); !direct {
			if detour := r.detour([]int{r.Snapshot.Source}, node, bytes); len(detour) > 0 {
				way = detour
			}
		}
		for _, h := range way {
			r.load(h.from, h.to, bytes)
		}
		hops = append(hops, way...)
	}
	return hops
}

// relays lists what nodes pass on and do not keep.
func (p *planner) relays(blocks []block) (spans []Span) {
	for _, b := range blocks {
		whole, passed := Span{Start: b.start, Length: b.end - b.start, Class: b.class}, []hop(nil)
		for _, h := range b.hops {
			if h.relay {
				passed = append(passed, h)
			}
			if p.K == 0 || h.relay {
				continue
			}
			whole.Node = h.to // a shard's way ends here
			for _, s := range p.byShard(whole) {
				for _, r := range passed {
					s.Node, s.From = r.to, r.from
					spans = append(spans, s)
				}
			}
			passed = nil
		}
		for _, r := range passed {
			whole.Node, whole.From = r.to, r.from
			spans = append(spans, whole)
		}
	}
	return spans
}

// byShard cuts a span where the number of the shard changes: the round of the circle in which the node took the run.
func (p *planner) byShard(s Span) (spans []Span) {
	if p.K == 0 {
		return []Span{s}
	}
	ring := p.walks[s.Class]
	for _, a := range p.arcs[s.Class] {
		for from := a.Start; a.Node == s.Node && from < a.End; {
			round := from / ring.Runs()
			to := min(a.End, (round+1)*ring.Runs())
			piece := s
			piece.Start, piece.Shard = max(s.Start, from-round*ring.Runs()), round
			if piece.Length = min(s.End(), to-round*ring.Runs()) - piece.Start; piece.Length > 0 {
				spans = append(spans, piece)
			}
			from = to
		}
	}
	return spans
}
