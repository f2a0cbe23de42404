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

// finish turns arcs into a plan by the ways of route.
func (p *planner) finish() (*Plan, error) { return p.write(p.route()), nil }

// write turns blocks into a plan: the rates, the times, and the words.
func (p *planner) write(blocks []block) *Plan {
	out := &Plan{Classes: p.spans(blocks), Relays: p.relays(blocks), Replicas: p.Replicas}
	out.Flows = p.flows(blocks)
	seconds := p.rate(out.Flows)
	out.Nodes, out.Refused = p.rows(out.Classes)
	p.times(out, blocks, seconds)
	out.BoundS, out.Binding = p.least()
	p.trust(out)
	switch fluid := out.PredictedS - out.FillS; {
	case out.BoundS > 0:
		out.Ratio = fluid / out.BoundS
	case fluid == 0:
		out.Ratio = 1
	}
	p.describe(out)
	out.Risk = RiskOf(p.Snapshot, out.Classes, p.Replicas, p.Replicas-max(1, p.K), p.needed)
	return out
}

// least is the bound on the whole network, whatever the strategy says. Where something is held already, or only who
// keeps runs passes them on, LeastTime does not know it: then it is computed here, on big networks by cuts; what one of
// those says as well is said by that.
func (p *planner) least() (float64, string) {
	held := slices.ContainsFunc(p.held, func(h []int) bool { return len(h) > 0 })
	if !held && (p.Relays || p.K > 0) {
		b, err := LeastTime(p.Snapshot, p.goal())
		if err != nil {
			return 0, err.Error()
		}
		return b.Seconds, b.Binding
	}
	seconds, binding := p.demand(p.everyone(), nil).bound(p.net)
	if len(p.Snapshot.Nodes) <= fluid.MaxExact {
		if _, b := p.net.Spread(p.copies(p.everyone()), nil); b.Seconds > seconds*(1+1e-6) {
			return b.Seconds, b.Binding
		}
	}
	return seconds, binding
}

// goal is the request as a bound sees it.
func (p *planner) goal() Goal {
	g := Goal{Mode: Replicas, Replicas: p.Replicas, K: p.K, M: p.Replicas - p.K}
	for c, size := range p.sizes {
		g.Size += size * core.Size(p.copiesIn(c)) / core.Size(p.Replicas)
	}
	if p.Scores.Spread.Level != "" {
		g.PerZone = p.Scores.Spread.Max
	}
	if p.K > 0 {
		g.Mode = Shards
		g.Size *= core.Size(p.K)
	}
	return g
}

// everyone is every candidate that could take part, whatever the strategy says: the bound is about the network.
func (p *planner) everyone() (nodes []int) {
	for i := range p.Snapshot.Nodes {
		holds := slices.ContainsFunc(p.held, func(h []int) bool { return slices.Contains(h, i) })
		if i != p.Snapshot.Source && (p.linked[i] || holds) {
			nodes = append(nodes, i)
		}
	}
	return nodes
}

// flows adds up the blocks by sender and receiver.
func (p *planner) flows(blocks []block) []Flow {
	sums := map[[2]int]core.Size{}
	for _, b := range blocks {
		for _, h := range b.hops {
			sums[[2]int{h.from, h.to}] += b.bytes
		}
	}
	flows := make([]Flow, 0, len(sums))
	for pair, bytes := range sums {
		flows = append(flows, Flow{From: pair[0], To: pair[1], Bytes: bytes})
	}
	slices.SortFunc(flows, func(a, b Flow) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To)) })
	return flows
}

// rate shares the accounts between the flows and returns how long each then takes.
func (p *planner) rate(flows []Flow) (seconds []float64) {
	accounts := map[string]int{}
	var capacities []float64
	account := func(name string, payload float64) int {
		at, ok := accounts[name]
		if !ok {
			at = len(capacities)
			accounts[name] = at
			capacities = append(capacities, payload)
		}
		return at
	}
	up, down := make([]int, len(p.Snapshot.Nodes)), make([]int, len(p.Snapshot.Nodes))
	for i := range p.Snapshot.Nodes {
		up[i], down[i] = len(capacities), len(capacities)+1
		capacities = append(capacities, p.net.Up[i], p.net.Down[i])
	}
	demands := make([]Demand, len(flows))
	for k, f := range flows {
		demands[k] = Demand{Weight: max(1, float64(f.Bytes)), Accounts: []int{up[f.From], down[f.To]}}
		// a link has one flow, so its account is new
		if link, ok := p.net.Link(f.From, f.To); ok && !math.IsInf(link, 1) {
			demands[k].Accounts = append(demands[k].Accounts, len(capacities))
			capacities = append(capacities, link)
		}
		if name, rate, ok := p.net.Trunk(f.From, f.To); ok {
			demands[k].Accounts = append(demands[k].Accounts, account(name[0]+">"+name[1], rate))
		}
	}
	seconds = make([]float64, len(flows))
	for k, r := range MaxMin(demands, capacities) {
		if !math.IsInf(r, 1) {
			seconds[k] = float64(flows[k].Bytes) / r
			flows[k].Rate = max(1, core.Rate(r*core.WireOverhead))
		}
	}
	return seconds
}

// rows lists the nodes that keep something and those that do not.
func (p *planner) rows(classes [][]Span) (rows []NodeRow, refused []Refusal) {
	sums := make([]*wrap.Circle, len(classes))
	for c := range classes {
		if sums[c] = p.walks[c]; sums[c] == nil {
			sums[c] = wrap.New(p.Classes[c].Runs, 1)
		}
	}
	kept := map[int]*NodeRow{}
	for c, spans := range classes {
		for _, s := range spans {
			row := kept[s.Node]
			if row == nil {
				row = &NodeRow{Node: s.Node, Cost: p.price(s.Node), First: math.Inf(1)}
				kept[s.Node] = row
			}
			bytes := sums[c].Between(s.Start, s.End())
			row.Bytes += bytes
			row.Runs += s.Length
			if s.From == s.Node {
				row.Held += bytes
				row.First = 0
			}
		}
	}
	for i := range p.Snapshot.Nodes {
		switch row := kept[i]; {
		case i == p.Snapshot.Source:
		case row != nil:
			rows = append(rows, *row)
		default:
			refused = append(refused, Refusal{Node: i, Reason: p.refusal(i), Barred: !p.allowed[i]})
		}
	}
	return rows, refused
}
