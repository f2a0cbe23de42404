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

// How much longer than the least time a plan may take for nodes to get what is their due, or for the sake of costs:
// less than Slack, since to plan without any reserve is to end later than planned.
const (
	nearBound = 1.0005
	forCosts  = 1.01
)

// computed reports whether who keeps what, and the ways there, are computed: not on big
// networks, nor where the strategy says who gets first copies, or costs alone count.
func (p *planner) computed() bool {
	costs := cmp.Or(p.Objective, p.Scores.Objective) == ObjectiveCost && p.Deadline == 0
	return len(p.Snapshot.Nodes) <= fluid.MaxExact && !p.Info.OwnsFirstHolder && !costs
}

// copies is the job as package fluid sees it, on some of the nodes.
func (p *planner) copies(nodes []int) fluid.Copies {
	c := fluid.Copies{Relays: p.Relays || p.K > 0, Shards: p.K > 0, Free: make([]float64, len(p.Snapshot.Nodes))}
	for i, n := range p.Snapshot.Nodes {
		c.Free[i] = float64(n.Free)
	}
	for k := range p.Classes {
		class := fluid.CopyClass{Bytes: float64(p.sizes[k]), From: append([]int{p.Snapshot.Source}, p.held[k]...),
			Copies: p.lacking(k), May: nodes}
		class.Zones, _ = p.zoneLimits(k)
		c.Classes = append(c.Classes, class)
	}
	return c
}

// compute finds who keeps what and the ways there by linear programming. What the strategy lets nodes keep holds; its
// costs, or where it has none everybody's quotas by weight, decide within the time; nothing where whole runs do not
// fit.
func (p *planner) compute(quotas []float64) (blocks []block, ok bool) {
	c := p.copies(p.usable)
	for i := range c.Free {
		c.Free[i] = min(c.Free[i], float64(p.quotaLeft[i]))
	}
	c.Fair, c.Cost = quotas, nil
	if len(p.Scores.PlaceCost) > 0 && !p.costless {
		c.Cost = p.cost
	}
	ways, _ := p.net.Spread(c, func(least float64) float64 {
		switch {
		case !p.timed:
			return p.tcap
		case c.Cost != nil:
			return forCosts * least
		}
		return nearBound * least
	})
	if ways == nil {
		return nil, false
	}
	if p.K > 0 {
		return p.shards(ways)
	}
	p.walks, p.arcs = make([]*wrap.Circle, len(p.Classes)), make([][]wrap.Arc, len(p.Classes))
	p.shares = make([]map[int]why, len(p.Classes))
	left := make([]core.Size, len(c.Free))
	for i, free := range c.Free {
		left[i] = core.Size(min(free, math.MaxInt64/2))
	}
	demand, t := 0, newTally(p.net)
	for k, class := range p.Classes {
		if p.shares[k] = map[int]why{}; c.Classes[k].Copies == 0 || p.sizes[k] == 0 {
			continue
		}
		mine := slices.DeleteFunc(slices.Clone(ways), func(w fluid.Route) bool { return w.Demand != demand })
		demand++
		p.walks[k] = wrap.New(class.Runs, c.Classes[k].Copies)
		some, ok := p.cutRuns(k, mine, left, t)
		if !ok {
			return nil, false
		}
		blocks = append(blocks, some...)
	}
	for k := range p.Classes {
		for _, i := range p.usable {
			if p.shares[k][i] = byClass; left[i] < p.largest {
				p.shares[k][i] = bySpace
			}
		}
	}
	return blocks, true
}

// cutRuns gives every way consecutive runs, as many as come nearest to its bytes. Ways to the same nodes stand beside
// each other, so that there are few sets of nodes.
func (p *planner) cutRuns(class int, ways []fluid.Route, left []core.Size, t *tally) (blocks []block, ok bool) {
	ring := p.walks[class]
	for k := range ways {
		slices.Sort(ways[k].Keeps)
	}
	slices.SortStableFunc(ways, func(a, b fluid.Route) int { return slices.Compare(a.Keeps, b.Keeps) })
	owed := make([]float64, len(ways))
	fits := func(w fluid.Route, size core.Size) bool {
		return !slices.ContainsFunc(w.Keeps, func(i int) bool { return left[i] < size })
	}
	pos, last := 0, -1
	take := func(k int) {
		size := ring.Size(pos)
		if pos++; k == last {
			blocks[len(blocks)-1].end = pos
		} else {
			blocks, last = append(blocks, p.block(class, ways[k], pos-1)), k
		}
		t.add(ways[k].Links, float64(size))
		owed[k] -= float64(size)
		for _, i := range ways[k].Keeps {
			left[i] -= size
		}
	}
	for k, w := range ways {
		owed[k] = w.Bytes
		for pos < ring.Runs() && float64(ring.Size(pos)) <= owed[k]+1 && fits(w, ring.Size(pos)) {
			take(k)
		}
	}
	for pos < ring.Runs() { // less than a run is left of each: whichever makes nobody late
		best, least := -1, math.Inf(1)
		for k, w := range ways {
			if !fits(w, ring.Size(pos)) {
				continue
			}
			if ends := t.ends(w.Links, float64(ring.Size(pos))); best < 0 || ends < least ||
				ends == least && owed[k] > owed[best] {
				best, least = k, ends
			}
		}
		if best < 0 {
			w, ok := p.oneMore(class, ring.Size(pos), left, t)
			if !ok {
				return nil, false
			}
			best = len(ways)
			ways, owed = append(ways, w), append(owed, 0)
		}
		take(best)
	}
	for k := range blocks {
		b := &blocks[k]
		b.bytes = ring.Between(b.start, b.end)
		for _, h := range b.hops {
			if !h.relay {
				p.arcs[class] = append(p.arcs[class], wrap.Arc{Node: h.to, Start: b.start, End: b.end})
			}
		}
	}
	return blocks, true
}

// oneMore is a way for a run that fits into none of the others: to whoever has room, each time over the link that is
// done first.
func (p *planner) oneMore(class int, size core.Size, left []core.Size, t *tally) (w fluid.Route, ok bool) {
	have := append([]int{p.Snapshot.Source}, p.held[class]...)
	zones, _ := p.zoneLimits(class)
	for range p.walks[class].Rounds {
		best, least := [2]int{-1, -1}, math.Inf(1)
		for _, to := range p.usable {
			most, limited := zones[p.net.ZoneOf(to)]
			if left[to] < size || slices.Contains(have, to) || limited && most < 1 {
				continue
			}
			for _, from := range have {
				if _, linked := p.net.Link(from, to); linked {
					l := [2]int{from, to}
					if ends := t.ends(append(slices.Clone(w.Links), l), float64(size)); best[0] < 0 || ends < least {
						best, least = l, ends
					}
				}
			}
		}
		if best[0] < 0 {
			return w, false
		}
		if zones != nil {
			zones[p.net.ZoneOf(best[1])]--
		}
		have, w.Links, w.Keeps = append(have, best[1]), append(w.Links, best), append(w.Keeps, best[1])
	}
	return w, true
}

// block is one run that goes some way.
func (p *planner) block(class int, w fluid.Route, run int) block {
	b, depth := block{class: class, start: run, end: run + 1}, map[int]int{}
	for _, l := range w.Links {
		depth[l[1]] = depth[l[0]] + 1
		b.hops = append(b.hops, hop{from: l[0], to: l[1], depth: depth[l[1]], relay: !slices.Contains(w.Keeps, l[1])})
	}
	return b
}

// path is a way for shards, and how many bytes are left for it.
type path struct {
	fluid.Route
	left float64
}

// shards seats runs by what the ways bring every node; route then sends them those ways.
func (p *planner) shards(ways []fluid.Route) (blocks []block, ok bool) {
	p.quotas, p.paths = make([]map[int]float64, len(p.Classes)), map[int][]*path{}
	defer func() { p.quotas, p.paths = nil, nil }()
	demand := -1
	for k := range p.Classes {
		if p.quotas[k] = map[int]float64{}; p.sizes[k] > 0 && p.lacking(k) > 0 {
			demand++
		}
		for _, w := range ways {
			if w.Demand == demand && p.sizes[k] > 0 {
				to := w.Keeps[0]
				p.quotas[k][to] += w.Bytes
				p.paths[to] = append(p.paths[to], &path{w, w.Bytes})
			}
		}
	}
	p.tcap, p.most = math.Inf(1), nil
	if p.assignEach() != nil {
		return nil, false
	}
	return p.route(), true
}

// tally is what every bandwidth has to carry.
type tally struct {
	net      *fluid.Network
	up, down []float64
	links    map[[2]int]float64
	trunks   map[[2]string]float64
}

func newTally(n *fluid.Network) *tally {
	return &tally{net: n, up: make([]float64, len(n.Nodes)), down: make([]float64, len(n.Nodes)),
		links: map[[2]int]float64{}, trunks: map[[2]string]float64{}}
}

func (t *tally) add(links [][2]int, bytes float64) {
	for _, l := range links {
		t.up[l[0]] += bytes
		t.down[l[1]] += bytes
		t.links[l] += bytes
		if name, _, crosses := t.net.Trunk(l[0], l[1]); crosses {
			t.trunks[name] += bytes
		}
	}
}

// ends is when the last of some links would be done, if they carried some bytes more.
func (t *tally) ends(links [][2]int, bytes float64) (last float64) {
	t.add(links, bytes)
	for _, l := range links {
		rate, _ := t.net.Link(l[0], l[1])
		last = max(last, fluid.Seconds(t.up[l[0]], t.net.Up[l[0]]), fluid.Seconds(t.down[l[1]], t.net.Down[l[1]]),
			fluid.Seconds(t.links[l], rate))
		if name, rate, crosses := t.net.Trunk(l[0], l[1]); crosses {
			last = max(last, fluid.Seconds(t.trunks[name], rate))
		}
	}
	t.add(links, -bytes)
	return last
}
