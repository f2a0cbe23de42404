// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"math"
	"slices"

	"github.com/bkp-tool/bkp/core"
)

// times says when each node has its first and its last run, and how long everything takes: as long as the slowest flow,
// and the fill. Trees are only one way to carry the plan out: senders choose as they go, and do so about as fast.
func (p *planner) times(out *Plan, blocks []block, seconds []float64) {
	fluid := 0.0
	for _, s := range seconds {
		fluid = max(fluid, s)
	}
	out.FillS = p.fill(blocks)
	out.PredictedS = fluid + out.FillS
	first := p.firsts(out.Flows)
	for r := range out.Nodes {
		row := &out.Nodes[r]
		for k, f := range out.Flows {
			if f.To != row.Node || row.Held == row.Bytes {
				continue
			}
			finish := seconds[k]
			if f.From != p.Snapshot.Source {
				finish += out.FillS
			}
			row.Finish = max(row.Finish, finish)
		}
		if row.Held == 0 {
			row.First = min(first[row.Node], row.Finish)
		}
	}
}

// swarmed is within what of the bound senders that choose as they go end on a mesh, trees or no trees: measured on
// shaped links 1.02 to 1.19.
const swarmed = 1.1

// trust makes the predicted time of full replication, where the bound is that of the placement, no longer than what
// senders reach that choose as they go. The ways of route are one solution,
// found piece by piece; on a mesh without trunks its slowest flow was up to 1.28 times the bound where the data took
// 1.11.
func (p *planner) trust(out *Plan) {
	most := swarmed*out.BoundS + out.FillS
	if out.PredictedS <= most || p.Info.OwnsFirstHolder || len(p.Snapshot.Trunks) > 0 || !p.replicatesAll(out) ||
		!p.meshed() {
		return
	}
	out.PredictedS = most
	for i := range out.Nodes {
		out.Nodes[i].Finish = min(out.Nodes[i].Finish, most)
	}
}

// replicatesAll reports whether every node keeps everything.
func (p *planner) replicatesAll(out *Plan) bool {
	all := p.goal().Size
	return p.K == 0 && len(out.Nodes) == len(p.Snapshot.Nodes)-1 &&
		!slices.ContainsFunc(out.Nodes, func(r NodeRow) bool { return r.Bytes < all })
}

// meshed reports whether every node that may send or keep runs has a link to every other that may keep some.
func (p *planner) meshed() bool {
	nodes := p.everyone()
	for _, from := range append([]int{p.Snapshot.Source}, nodes...) {
		for _, to := range nodes {
			if _, ok := p.net.link(from, to); from != to && !ok {
				return false
			}
		}
	}
	return true
}

// mostSets is for how many sets of nodes the fill is found; the others are like them.
const mostSets = 64

// fill is by how much runs that are passed on whole take longer than a fluid: what one run needs to reach all that are
// to keep it. The largest of some sets of nodes that keep runs together.
func (p *planner) fill(blocks []block) (most float64) {
	var seen [][]int
	for _, b := range blocks {
		var nodes []int
		for _, h := range b.hops {
			if !h.relay {
				nodes = append(nodes, h.to)
			}
		}
		slices.Sort(nodes)
		if len(seen) == mostSets {
			break
		}
		if slices.ContainsFunc(seen, func(s []int) bool { return slices.Equal(s, nodes) }) {
			continue
		}
		seen = append(seen, nodes)
		run := float64(b.bytes) / float64(b.end-b.start)
		most = max(most, p.net.fill(append([]int{p.Snapshot.Source}, p.held[b.class]...), nodes, run))
	}
	return most
}

// Fill is how much longer than its bound a job takes because its runs are passed on whole. In a fetch, half a run of
// the slowest holder is left when the others are done, on the mean. Of replicas and shards Place knows more.
func Fill(s core.Snapshot, g Goal, run core.Size) (float64, error) {
	net, err := newNetwork(s)
	if err == nil {
		err = g.check(net)
	}
	if err != nil {
		return 0, err
	}
	if g.Mode != Fetch {
		return net.fill([]int{s.Source}, g.Targets, float64(run)), nil
	}
	slowest := 0.0
	for _, part := range g.Parts {
		for _, h := range part.Holders {
			if h != g.Sink {
				slowest = max(slowest, seconds(float64(run), min(net.out[h], net.in[g.Sink])))
			}
		}
	}
	return slowest / 2, nil
}

// mostSpread is up to how many nodes a run is followed to; beyond, its time grows as the logarithm of their number.
const mostSpread = 64

// fill lets one run travel alone from who has it to nodes, from each to the next as soon as it is there, always by the
// sending that ends first. The slowest of these sendings is in the time of a fluid already; the others come on top.
// Where the ways branch, nodes have other runs to send at the same time, so that it takes about twice as long.
func (n *network) fill(have, nodes []int, run float64) float64 {
	factor := 1.0
	if len(nodes) > mostSpread {
		factor = math.Log2(float64(len(nodes))) / math.Log2(mostSpread)
		some := make([]int, mostSpread)
		for k := range some {
			some[k] = nodes[k*len(nodes)/mostSpread]
		}
		nodes = some
	}
	t := &traveller{network: n, run: run, have: slices.Clone(have), free: map[int]float64{}, sent: map[int]int{}}
	last, slowest, branches := 0.0, 0.0, false
	for lack := slices.Clone(nodes); len(lack) > 0; {
		from, to, ends := t.next(lack)
		if from < 0 { // nobody has a link to any of them: somebody else passes it on
			if from, to, ends = t.next(t.others(lack)); from < 0 {
				break
			}
		}
		slowest = max(slowest, ends-t.free[from])
		t.sent[from]++
		branches = branches || t.sent[from] > 1
		t.have, t.free[from], t.free[to] = append(t.have, to), ends, ends
		if k := slices.Index(lack, to); k >= 0 {
			lack, last = slices.Delete(lack, k, k+1), ends
		}
	}
	if branches {
		factor *= 2
	}
	return factor * max(0, last-slowest)
}

// traveller is one run on its way.
type traveller struct {
	*network
	run  float64
	have []int
	free map[int]float64 // when who has it can send it again, in seconds
	sent map[int]int
}

// next is the sending that ends first, −1 where there is none.
func (t *traveller) next(lack []int) (from, to int, ends float64) {
	from, ends = -1, math.Inf(1)
	for _, a := range t.have {
		for _, b := range lack {
			if _, linked := t.link(a, b); !linked {
				continue
			}
			if e := t.free[a] + t.takes(a, b); from < 0 || e < ends {
				from, to, ends = a, b, e
			}
		}
	}
	return from, to, ends
}

// InitialWindow is how many bytes TCP sends before the first acknowledgement (RFC 6928: ten segments).
const InitialWindow = 14600

// talk is how long two nodes need before bytes flow at their rate, by the delay one way: an application, its answer,
// the way of the first byte; then TCP's window doubles with every round trip until the run fits in.
func talk(delay, run float64) float64 { return 3*delay + 2*delay*math.Log2(1+run/InitialWindow) }

// takes is how long the run takes from one node to another when they have nothing else to do. Between two others they
// are taken to be as far from each other as the farther one is from the source.
func (t *traveller) takes(from, to int) float64 {
	link, _ := t.link(from, to)
	rate := min(link, t.up[from], t.down[to])
	if _, trunk, crosses := t.trunk(from, to); crosses {
		rate = min(rate, trunk)
	}
	return talk(max(t.Nodes[from].Delay, t.Nodes[to].Delay), t.run) + seconds(t.run, rate)
}

// others is who neither has the run nor is to keep it.
func (t *traveller) others(lack []int) (nodes []int) {
	for i := range t.Nodes {
		if !slices.Contains(t.have, i) && !slices.Contains(lack, i) {
			nodes = append(nodes, i)
		}
	}
	return nodes
}

// firsts is when the first run can be at each node, over the plan's flows.
func (p *planner) firsts(flows []Flow) []float64 {
	t := &traveller{network: p.net, run: float64(p.largest)}
	var ways []way
	for _, f := range flows {
		ways = append(ways, way{from: f.From, to: f.To, cost: t.takes(f.From, f.To)})
	}
	for _, held := range p.held {
		for _, h := range held {
			ways = append(ways, way{from: p.Snapshot.Source, to: h}) // it has something to pass on already
		}
	}
	first, _ := paths(len(p.Snapshot.Nodes), p.Snapshot.Source, ways)
	return first
}

// seconds is how long bytes take at a payload rate.
func seconds(bytes, rate float64) float64 {
	if math.IsInf(rate, 1) {
		return 0
	}
	return bytes / rate
}
