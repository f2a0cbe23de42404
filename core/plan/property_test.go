// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"slices"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"pgregory.net/rapid"
)

// drawRequest is any network of up to 9 nodes and any job of up to 3 classes, sensible or not.
func drawRequest(t *rapid.T) Request {
	n := rapid.IntRange(2, 9).Draw(t, "nodes")
	r := Request{Replicas: rapid.IntRange(1, 4).Draw(t, "replicas"), Seed: rapid.Uint64().Draw(t, "seed"),
		Objective: rapid.SampledFrom([]string{"", ObjectiveTime, ObjectiveCost}).Draw(t, "objective")}
	rate := rapid.Custom(func(t *rapid.T) core.Rate {
		return core.Rate(rapid.SampledFrom([]int{0, 1, 5, 20, 1000}).Draw(t, "MB/s")) * 1e6
	})
	free := rapid.SampledFrom([]core.Size{0, 5e6, 40e6, 100e6, core.TiB})
	for i := range n {
		node := core.NodeState{Up: rate.Draw(t, "up"), Down: rate.Draw(t, "down"), Free: free.Draw(t, "free"),
			Delay:  float64(i) / 100,
			Zone:   rapid.SampledFrom([]string{"", "A", "B"}).Draw(t, "zone"),
			Labels: map[string]string{"name": fmt.Sprint("n", i)}}
		binary.LittleEndian.PutUint64(node.ID[:], uint64(i+1))
		r.Snapshot.Nodes = append(r.Snapshot.Nodes, node)
	}
	r.Snapshot.Source = rapid.IntRange(0, n-1).Draw(t, "source")
	if rapid.Bool().Draw(t, "has links") {
		for from := range n {
			for to := range n {
				if from != to && rapid.IntRange(0, 9).Draw(t, "link") > 1 {
					r.Snapshot.Links = append(r.Snapshot.Links,
						core.LinkState{From: from, To: to, Rate: rate.Draw(t, "rate")})
				}
			}
		}
	}
	if rapid.Bool().Draw(t, "has trunk") {
		r.Snapshot.Trunks = []core.TrunkState{{From: "A", To: "B", Rate: 2e6}}
	}
	for range rapid.IntRange(1, 3).Draw(t, "classes") {
		var c Class
		sizes := rapid.SampledFrom([][]core.Size{{4e6}, {4e6, 1e6}, {1000, 4e6, 70000}}).Draw(t, "sizes")
		for range rapid.IntRange(0, 40).Draw(t, "runs") {
			c.Runs = append(c.Runs, rapid.SampledFrom(sizes).Draw(t, "size"))
		}
		if rapid.IntRange(0, 3).Draw(t, "held") == 0 {
			c.Holders = rapid.SliceOfN(rapid.IntRange(0, n-1), 0, 3).Draw(t, "holders")
		}
		r.Classes = append(r.Classes, c)
	}
	column := func(name string, values []float64) []float64 {
		if rapid.Bool().Draw(t, "no "+name) {
			return nil
		}
		return rapid.SliceOfN(rapid.SampledFrom(values), n-1, n-1).Draw(t, name)
	}
	r.Scores.PlaceCost = column("cost", []float64{0, 1, 1.001, 2, 3})
	r.Scores.TargetWeight = column("weight", []float64{0, 1, 1e12})
	r.Scores.FirstHolderWeight = column("first", []float64{0, 1, 2})
	r.Info.OwnsFirstHolder = rapid.Bool().Draw(t, "owns")
	for _, v := range column("allow", []float64{0, 1, 1, 1}) {
		r.Scores.Allow = append(r.Scores.Allow, v > 0)
	}
	for _, v := range column("quota", []float64{0, 30e6, 1e15}) {
		r.Scores.QuotaCap = append(r.Scores.QuotaCap, core.Size(v))
	}
	if rapid.IntRange(0, 3).Draw(t, "spread") == 0 {
		r.Scores.Spread = core.Spread{Level: "zone", Max: rapid.IntRange(1, 2).Draw(t, "max")}
	}
	return r
}

// TestPlanKeepsItsPromises asks for plans of random jobs on random networks and looks at every single run of them.
func TestPlanKeepsItsPromises(t *testing.T) {
	planned, refused := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		req := drawRequest(t)
		p, err := Place(req)
		if err != nil {
			if core.CodeOf(err) != core.CodeRedundant || core.HintOf(err) == "" {
				t.Fatalf("code %d, hint %q: %v", core.CodeOf(err), core.HintOf(err), err)
			}
			refused++
			return
		}
		planned++
		checkRuns(t, req, p)
		checkNodes(t, req, p)
		checkTimes(t, req, p)
		if again, _ := Place(req); !reflect.DeepEqual(p, again) {
			t.Fatalf("the same request gave two plans:\n%+v\n%+v", p, again)
		}
	})
	if planned == 0 || refused == 0 {
		t.Errorf("%d planned, %d refused: the generator shows one side only", planned, refused)
	}
}

// checkRuns: every run has exactly the asked number of different nodes, none of them the source, no zone too many, and
// each got it from somebody who had it, over a link.
func checkRuns(t *rapid.T, req Request, p *Plan) {
	flows := map[[2]int]core.Size{}
	for c, class := range req.Classes {
		for run, size := range class.Runs {
			from := map[int]int{}
			zones := map[string]int{}
			for _, s := range p.Classes[c] {
				if run < s.Start || run >= s.End() {
					continue
				}
				if _, twice := from[s.Node]; twice {
					t.Fatalf("class %d run %d: node %d has it twice", c, run, s.Node)
				}
				from[s.Node] = s.From
				if z := req.Snapshot.Nodes[s.Node].Zone; z != "" {
					zones[z]++
				}
				if s.From != s.Node {
					flows[[2]int{s.From, s.Node}] += size
				} else if !slices.Contains(class.Holders, s.Node) {
					t.Fatalf("class %d run %d: node %d does not hold it", c, run, s.Node)
				}
			}
			if len(from) != req.Replicas {
				t.Fatalf("class %d run %d: %d copies", c, run, len(from))
			}
			for z, copies := range zones {
				newOnes := 0
				for node, sender := range from {
					if req.Snapshot.Nodes[node].Zone == z && sender != node {
						newOnes++
					}
				}
				if req.Scores.Spread.Level != "" && newOnes > 0 && copies > req.Scores.Spread.Max {
					t.Fatalf("class %d run %d: %d copies in zone %s", c, run, copies, z)
				}
			}
			for node := range from {
				at, hops := node, 0
				for ; at != req.Snapshot.Source && from[at] != at; hops++ {
					sender, ok := from[at]
					if _, linked := link(req.Snapshot, sender, at); !ok || !linked || hops > req.Replicas {
						t.Fatalf("class %d run %d: no way to node %d (at %d)", c, run, node, at)
					}
					if at = sender; at == req.Snapshot.Source {
						break
					}
				}
			}
		}
	}
	sent := map[[2]int]core.Size{}
	for _, f := range p.Flows {
		sent[[2]int{f.From, f.To}] = f.Bytes
	}
	if !reflect.DeepEqual(flows, sent) {
		t.Fatalf("spans send %v, flows say %v", flows, sent)
	}
}

func link(s core.Snapshot, from, to int) (core.Rate, bool) {
	for _, l := range s.Links {
		if l.From == from && l.To == to {
			return l.Rate, true
		}
	}
	return 0, len(s.Links) == 0
}

// checkNodes: no node is over its space or its quota, none is used against the strategy's will, each stands in one
// list.
func checkNodes(t *rapid.T, req Request, p *Plan) {
	_, index := BatchOf(req.Snapshot, req.Classes, req.Replicas)
	kept, held, runs := map[int]core.Size{}, map[int]core.Size{}, map[int]int{}
	for c, spans := range p.Classes {
		for _, s := range spans {
			for _, size := range req.Classes[c].Runs[s.Start:s.End()] {
				kept[s.Node] += size
				if s.From == s.Node {
					held[s.Node] += size
				}
			}
			runs[s.Node] += s.Length
		}
	}
	seen := map[int]bool{}
	for _, row := range p.Nodes {
		seen[row.Node] = true
		if row.Bytes != kept[row.Node] || row.Held != held[row.Node] || row.Runs != runs[row.Node] ||
			row.Explain == "" {
			t.Fatalf("row %+v: want %d bytes, %d held, %d runs", row, kept[row.Node], held[row.Node], runs[row.Node])
		}
		if row.Bytes-row.Held > req.Snapshot.Nodes[row.Node].Free {
			t.Fatalf("node %d: %d new bytes, %d free", row.Node, row.Bytes-row.Held, req.Snapshot.Nodes[row.Node].Free)
		}
		at := slices.Index(index, row.Node)
		if len(req.Scores.QuotaCap) > 0 && row.Bytes > req.Scores.QuotaCap[at] || len(req.Scores.Allow) > 0 &&
			!req.Scores.Allow[at] {
			t.Fatalf("node %d keeps %d bytes against the strategy", row.Node, row.Bytes)
		}
	}
	for _, r := range p.Refused {
		if seen[r.Node] || r.Reason == "" {
			t.Fatalf("node %d is kept and refused: %q", r.Node, r.Reason)
		}
		seen[r.Node] = true
	}
	if len(seen) != len(index) {
		t.Fatalf("%d of %d candidates are accounted for", len(seen), len(index))
	}
}

// checkTimes: no account carries more than it has, nothing is faster than the bound, and every figure can be printed.
func checkTimes(t *rapid.T, req Request, p *Plan) {
	out, in := map[int]core.Rate{}, map[int]core.Rate{}
	fluid := 0.0
	for _, f := range p.Flows {
		if f.Rate == 0 {
			continue
		}
		out[f.From] += f.Rate
		in[f.To] += f.Rate
		fluid = max(fluid, float64(f.Bytes)*core.WireOverhead/float64(f.Rate+1))
		if l, _ := link(req.Snapshot, f.From, f.To); l > 0 && f.Rate > l+1 {
			t.Fatalf("flow %+v on a link of %d", f, l)
		}
	}
	for i, n := range req.Snapshot.Nodes {
		// up to 1 B/s a flow by rounding up tiny ones
		if n.Up > 0 && out[i] > n.Up+9 || n.Down > 0 && in[i] > n.Down+9 {
			t.Fatalf("node %d sends %d of %d, receives %d of %d", i, out[i], n.Up, in[i], n.Down)
		}
	}
	if p.PredictedS-p.FillS < p.BoundS*(1-1e-6) || p.PredictedS-p.FillS < fluid*(1-1e-6) {
		t.Fatalf("predicted %v with fill %v, slowest flow %v, bound %v by %s", p.PredictedS, p.FillS, fluid, p.BoundS,
			p.Binding)
	}
	for _, v := range []float64{p.PredictedS, p.BoundS, p.Ratio, p.FillS} {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			t.Fatalf("plan has a figure of %v: %+v", v, p)
		}
	}
	for _, row := range p.Nodes {
		if !finite(row.First) || !finite(row.Finish) || row.Finish > p.PredictedS*(1+1e-9) ||
			row.First > row.Finish*(1+1e-9)+1e-9 {
			t.Fatalf("node %d: first %v, finish %v of %v", row.Node, row.First, row.Finish, p.PredictedS)
		}
	}
}

// TestEqualRunsAreAlwaysPlacedIfPossible compares with a slow twin: give each run to those who have room for most more.
// That finds a placement of equal runs if there is any.
func TestEqualRunsAreAlwaysPlacedIfPossible(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const size = 1000
		runs := rapid.IntRange(1, 30).Draw(t, "runs")
		req := Request{Replicas: rapid.IntRange(1, 4).Draw(t, "replicas"), Seed: rapid.Uint64().Draw(t, "seed")}
		req.Classes = []Class{{Runs: slices.Repeat([]core.Size{size}, runs)}}
		req.Snapshot.Nodes = make([]core.NodeState, 1)
		left := rapid.SliceOfN(rapid.IntRange(0, 30*size), 1, 8).Draw(t, "free")
		for i, free := range left {
			n := core.NodeState{Free: core.Size(free)}
			n.ID[0] = byte(i + 1)
			req.Snapshot.Nodes = append(req.Snapshot.Nodes, n)
			req.Scores.PlaceCost = append(req.Scores.PlaceCost, float64(rapid.IntRange(1, 5).Draw(t, "cost")))
		}
		possible := true
		for range runs {
			slices.SortFunc(left, func(a, b int) int { return cmp.Compare(b, a) })
			for k := range req.Replicas {
				if k >= len(left) || left[k] < size {
					possible = false
					break
				}
				left[k] -= size
			}
		}
		if _, err := Place(req); (err == nil) != possible {
			t.Fatalf("possible: %v, got: %v", possible, err)
		}
	})
}

// TestCheaperNodesAreFullBeforeDearerOnes: whoever keeps a run while a cheaper node lacks it has no room for it there.
func TestCheaperNodesAreFullBeforeDearerOnes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		req := Request{Replicas: rapid.IntRange(1, 3).Draw(t, "replicas"), Seed: rapid.Uint64().Draw(t, "seed")}
		runs := rapid.SliceOfN(rapid.IntRange(1000, 4000), 20, 100).Draw(t, "runs")
		class, largest, all := Class{}, core.Size(4000), core.Size(0)
		for _, r := range runs {
			class.Runs = append(class.Runs, core.Size(r))
			all += core.Size(r)
		}
		req.Classes = []Class{class}
		req.Snapshot.Nodes = make([]core.NodeState, 1)
		for i := range rapid.IntRange(4, 10).Draw(t, "nodes") {
			n := core.NodeState{Free: core.Size(rapid.IntRange(0, 400_000).Draw(t, "free"))}
			n.ID[0] = byte(i + 1)
			req.Snapshot.Nodes = append(req.Snapshot.Nodes, n)
			req.Scores.PlaceCost = append(req.Scores.PlaceCost, float64(rapid.IntRange(1, 20).Draw(t, "cost")))
		}
		p, err := Place(req)
		if err != nil {
			return
		}
		keeps := make([]core.Size, len(req.Snapshot.Nodes))
		dearest := 0.0
		for _, row := range p.Nodes {
			keeps[row.Node] = row.Bytes
			if row.Bytes > largest { // a single run may be one that found no other place
				dearest = max(dearest, row.Cost)
			}
		}
		for i, n := range req.Snapshot.Nodes[1:] {
			if room := min(n.Free, all) - keeps[i+1]; req.Scores.PlaceCost[i] < dearest && room > largest {
				t.Fatalf("node %d at cost %v has room for %d, yet a node at cost %v is used: %v of %d", i+1,
					req.Scores.PlaceCost[i], room, dearest, keeps, all)
			}
		}
	})
}

// TestOneRunToTheOnlyNodeThatMayKeepItTakesTime was drawn once: where no other node had a bandwidth, the plan foretold
// no time at all.
func TestOneRunToTheOnlyNodeThatMayKeepItTakesTime(t *testing.T) {
	s := core.Snapshot{Nodes: make([]core.NodeState, 6)}
	s.Nodes[4].Free = 5_000_000
	s.Nodes[5].Free, s.Nodes[5].Down = 5_000_000, 1_000_000
	p, err := Place(Request{Snapshot: s, Replicas: 1, Classes: []Class{{Runs: []core.Size{4_000_000}}, {}},
		Scores: core.Scores{Allow: []bool{false, false, false, false, true}}})
	if err != nil {
		t.Fatal(err)
	}
	if least := 4 * core.WireOverhead; p.PredictedS-p.FillS < least {
		t.Errorf("predicted %v, of it fill %v: the downlink alone takes %v", p.PredictedS, p.FillS, least)
	}
}
