// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"math"
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan/fluid"
	"github.com/bkp-tool/bkp/core/plan/wrap"
)

// hop is one sending: depth 1 comes from somebody who had the runs before.
type hop struct {
	from, to, depth int
	relay           bool // to does not keep the runs
}

// block is consecutive runs of a class that go the same way.
type block struct {
	class      int
	start, end int
	bytes      core.Size
	hops       []hop // each sender had the runs before, or got them in an earlier hop
}

// pieces is about how many parts of the job are routed one by one: enough to share the senders evenly.
const pieces = 256

// router spreads the sending. It keeps what it has put on every uplink, link and trunk, in seconds, and takes for each
// piece the way that ends soonest.
type router struct {
	*planner
	upLoad    []float64 // bytes
	linkLoad  map[[2]int]float64
	trunkLoad map[[2]string]float64
	fw        []float64   // first-holder weights
	given     []float64   // bytes of first copies, by node
	rank      map[int]int // nearest first
}

// route turns the arcs of all classes into blocks.
func (p *planner) route() (blocks []block) {
	r := &router{planner: p, upLoad: make([]float64, len(p.Snapshot.Nodes)),
		given:    make([]float64, len(p.Snapshot.Nodes)),
		linkLoad: map[[2]int]float64{}, trunkLoad: map[[2]string]float64{}, rank: map[int]int{}}
	r.weighFirst()
	var total core.Size
	for _, ring := range p.walks {
		if ring != nil {
			total += ring.Bytes()
		}
	}
	for c, ring := range p.walks {
		if ring == nil {
			continue
		}
		for _, s := range ring.Stretches(p.arcs[c]) {
			blocks = append(blocks, r.stretch(c, ring, s, max(1, total/pieces))...)
		}
	}
	return blocks
}

// weighFirst says who should get first copies: those that can pass on most. A strategy that owns the question answers
// it; else its weights only break near ties, as the nearest does without them.
func (r *router) weighFirst() {
	n := len(r.Snapshot.Nodes)
	r.fw = make([]float64, n)
	kept := make([]float64, n)
	for c, arcs := range r.arcs {
		for _, a := range arcs {
			kept[a.Node] += float64(r.walks[c].Between(a.Start, a.End))
		}
	}
	for i := range n {
		r.fw[i] = min(fluid.Within(r.net.Out[i], Slack*r.t0), float64(r.Replicas-1)*kept[i])
		if r.Info.OwnsFirstHolder {
			r.fw[i] = r.first[i]
		}
	}
	order := slices.Clone(r.usable)
	slices.SortStableFunc(order, func(a, b int) int {
		fromA, _ := r.net.Link(r.Snapshot.Source, a)
		fromB, _ := r.net.Link(r.Snapshot.Source, b)
		return cmp.Or(cmp.Compare(r.first[b], r.first[a]),
			cmp.Compare(r.Snapshot.Nodes[a].Delay, r.Snapshot.Nodes[b].Delay), cmp.Compare(fromB, fromA))
	})
	for k, i := range order {
		r.rank[i] = k
	}
}

// stretch routes one stretch in pieces, and joins those that went the same way: the runs of a stretch are alike.
func (r *router) stretch(c int, ring *wrap.Circle, s wrap.Stretch, piece core.Size) (blocks []block) {
	count := int(min(core.Size(s.End-s.Start), (ring.Between(s.Start, s.End)+piece-1)/piece))
	count = max(1, count)
	var ways [][]hop
	var lengths []int
	for k := range count {
		from, to := s.Start+(s.End-s.Start)*k/count, s.Start+(s.End-s.Start)*(k+1)/count
		hops := r.way(c, s.Nodes, float64(ring.Between(from, to)))
		if same := slices.IndexFunc(ways, func(w []hop) bool { return slices.Equal(w, hops) }); same >= 0 {
			lengths[same] += to - from
			continue
		}
		ways, lengths = append(ways, hops), append(lengths, to-from)
	}
	at := s.Start
	for k, hops := range ways {
		end := at + lengths[k]
		blocks = append(blocks, block{class: c, start: at, end: end, bytes: ring.Between(at, end), hops: hops})
		at = end
	}
	return blocks
}

// way chooses how one piece travels: it tries the likeliest nodes as the first to get it, those that are due a first
// copy before the others, and keeps the first try unless another ends clearly sooner: so that first copies are spread
// as weighFirst says.
func (r *router) way(c int, nodes []int, bytes float64) (best []hop) {
	if r.K > 0 {
		return r.apart(nodes, bytes)
	}
	firsts := slices.DeleteFunc(slices.Clone(nodes), func(i int) bool {
		_, ok := r.net.Link(r.Snapshot.Source, i)
		return !ok
	})
	if len(firsts) == 0 { // relays do it
		firsts = slices.Clone(nodes)
	}
	slices.SortStableFunc(firsts, r.dueFirst)
	switch {
	case r.Info.OwnsFirstHolder || len(nodes) > 64 || len(r.held[c]) > 0:
		firsts = firsts[:1]
	case len(nodes) > 8:
		firsts = firsts[:4]
	}
	bestLast := 0.0
	for _, first := range firsts {
		hops, last := r.try(c, first, nodes, bytes)
		if best == nil || last < bestLast-clearly*r.t0 {
			best, bestLast = hops, last
		}
	}
	for _, h := range best {
		r.load(h.from, h.to, bytes)
		if h.from == r.Snapshot.Source {
			r.given[h.to] += bytes
		}
	}
	return best
}

// clearly is by which part of the least time one way has to end sooner to be taken before one that is due.
const clearly = 0.003

// dueFirst orders nodes by D'Hondt's rule: first copies in proportion to what a node can pass on. Near ties go to the
// nearest.
func (r *router) dueFirst(a, b int) int {
	dueA, dueB := r.fw[a]/(1+r.given[a]), r.fw[b]/(1+r.given[b])
	if math.Max(dueA, dueB) <= 1.1*math.Min(dueA, dueB) || dueA == dueB {
		return cmp.Or(cmp.Compare(r.rank[a], r.rank[b]), cmp.Compare(a, b))
	}
	return cmp.Compare(dueB, dueA)
}

// try lets the source, or a holder, send to first, and then whoever has the piece to whoever lacks it, each time by the
// sending that ends soonest.
func (r *router) try(c, first int, nodes []int, bytes float64) (hops []hop, last float64) {
	have := append([]int{r.Snapshot.Source}, r.held[c]...)
	depth := make([]int, len(have), len(have)+len(nodes))
	lack := slices.Clone(nodes)
	if len(r.held[c]) == 0 {
		lack = []int{first}
	}
	for len(lack) > 0 {
		from, to, ends := -1, 0, math.Inf(1)
		for t, node := range lack {
			for f, sender := range have {
				if e, ok := r.ends(sender, node, bytes); ok && (from < 0 || e < ends*(1-1e-9)) {
					from, to, ends = f, t, e
				}
			}
		}
		if from < 0 { // nobody has a link to it: relays do it, or the source may still be able to make one
			from, to, ends = 0, 0, 0
			if way := r.detour(have, lack[0], bytes); len(way) > 0 {
				for _, h := range way {
					from = max(0, slices.Index(have, way[0].from))
					h.depth += depth[from]
					hops = append(hops, h)
					ends, _ = r.ends(h.from, h.to, bytes)
					last = max(last, ends)
					r.load(h.from, h.to, bytes)
				}
				have, depth = append(have, lack[0]), append(depth, depth[from]+len(way))
				lack = slices.Delete(lack, 0, 1)
				if len(have) == 2 && len(r.held[c]) == 0 {
					lack = slices.DeleteFunc(slices.Clone(nodes), func(i int) bool { return i == first })
				}
				continue
			}
		}
		sender, node := have[from], lack[to]
		hops = append(hops, hop{from: sender, to: node, depth: depth[from] + 1})
		last = max(last, ends)
		r.load(sender, node, bytes)
		have, depth = append(have, node), append(depth, depth[from]+1)
		if lack = slices.Delete(lack, to, to+1); len(have) == 2 && len(r.held[c]) == 0 {
			lack = slices.DeleteFunc(slices.Clone(nodes), func(i int) bool { return i == first })
		}
	}
	for _, h := range hops {
		r.load(h.from, h.to, -bytes)
	}
	return hops, last
}

// ends is when a sender would be done with everything it was given and these bytes to that node; false without a link.
func (r *router) ends(from, to int, bytes float64) (float64, bool) {
	link, ok := r.net.Link(from, to)
	if !ok {
		return 0, false
	}
	ends := max((r.upLoad[from]+bytes)/r.net.Up[from], (r.linkLoad[[2]int{from, to}]+bytes)/link)
	if name, rate, ok := r.net.Trunk(from, to); ok {
		ends = max(ends, (r.trunkLoad[name]+bytes)/rate)
	}
	return ends, true
}

func (r *router) load(from, to int, bytes float64) {
	r.upLoad[from] += bytes
	r.linkLoad[[2]int{from, to}] += bytes
	if name, _, ok := r.net.Trunk(from, to); ok {
		r.trunkLoad[name] += bytes
	}
}

// spans writes the blocks and what is held already down as spans, joining those that follow each other.
func (p *planner) spans(blocks []block) [][]Span {
	type deep struct {
		Span
		depth int
	}
	out := make([][]Span, len(p.Classes))
	byClass := make([][]deep, len(p.Classes))
	for c, class := range p.Classes {
		for _, h := range p.held[c] {
			if len(class.Runs) > 0 {
				byClass[c] = append(byClass[c], deep{Span: Span{Node: h, From: h, Length: len(class.Runs), Class: c}})
			}
		}
	}
	for _, b := range blocks {
		for _, h := range b.hops {
			if h.relay {
				continue
			}
			for _, s := range p.byShard(Span{Node: h.to, From: h.from, Start: b.start, Length: b.end - b.start,
				Class: b.class}) {
				byClass[b.class] = append(byClass[b.class], deep{s, h.depth})
			}
		}
	}
	for c, all := range byClass {
		slices.SortStableFunc(all, func(a, b deep) int {
			return cmp.Or(cmp.Compare(a.Start, b.Start),
				cmp.Compare(a.depth, b.depth))
		})
		open := map[[3]int]int{} // (node, from, shard) → its last span in out[c]
		for _, s := range all {
			key := [3]int{s.Node, s.From, s.Shard}
			if at, ok := open[key]; ok && out[c][at].End() == s.Start {
				out[c][at].Length += s.Length
				continue
			}
			open[key] = len(out[c])
			out[c] = append(out[c], s.Span)
		}
	}
	return out
}
