// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"

	"github.com/bkp-tool/bkp/core/plan/fluid"
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
			if _, ok := p.net.Link(from, to); from != to && !ok {
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
		most = max(most, p.net.Fill(append([]int{p.Snapshot.Source}, p.held[b.class]...), nodes, run))
	}
	return most
}

// firsts is when the first run can be at each node, over the plan's flows.
func (p *planner) firsts(flows []Flow) []float64 {
	t := fluid.NewTraveller(p.net, float64(p.largest))
	var ways []fluid.Way
	for _, f := range flows {
		ways = append(ways, fluid.Way{From: f.From, To: f.To, Cost: t.Takes(f.From, f.To)})
	}
	for _, held := range p.held {
		for _, h := range held {
			ways = append(ways, fluid.Way{From: p.Snapshot.Source, To: h}) // it has something to pass on already
		}
	}
	first, _ := fluid.Paths(len(p.Snapshot.Nodes), p.Snapshot.Source, ways)
	return first
}
