// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/core/sim"
)

// random is networks that nobody tuned to, on which plans or bounds were once far off; each has its exact bound, found
// by linear programming over rationals.
func random(t *testing.T) (all []sim.Topology) {
	files, _ := filepath.Glob("testdata/random/*.json")
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		top, err := sim.Read(data, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, top)
	}
	if len(all) < 12 {
		t.Fatalf("%d topologies", len(all))
	}
	return all
}

// TestRandomBounds: the bound was up to 12 % too low for copies.
func TestRandomBounds(t *testing.T) {
	for _, top := range random(t) {
		b, err := plan.LeastTime(top.Network, top.Goal)
		if err != nil || math.Abs(b.Seconds-top.Bound) > 1e-6*top.Bound {
			t.Errorf("%s: bound %v s by %s, want %v s (%v)", top.Name, b.Seconds, b.Binding, top.Bound, err)
		}
	}
}

// TestRandomPlans: what a plan's own flows take was up to 7 times the bound, where who keeps what knew no trunks.
func TestRandomPlans(t *testing.T) {
	for _, top := range random(t) {
		g := top.Goal
		if g.Mode != plan.Replicas && g.Mode != plan.Shards {
			continue
		}
		req := plan.Request{Snapshot: top.Network, Replicas: g.Replicas, Relays: true, Seed: 1,
			Classes: []plan.Class{{Runs: slices.Repeat([]core.Size{g.Size / 1000}, 1000)}}}
		if g.PerZone > 0 {
			req.Scores.Spread = core.Spread{Level: "zone", Max: g.PerZone}
		}
		if g.Mode == plan.Shards {
			req.K, req.Replicas = g.K, g.K+g.M
			req.Classes[0].Runs = slices.Repeat([]core.Size{(g.Size/1000 + core.Size(g.K) - 1) / core.Size(g.K)}, 1000)
		}
		for _, costs := range []bool{false, true} {
			if costs {
				for i := range top.Network.Nodes[1:] {
					req.Scores.PlaceCost = append(req.Scores.PlaceCost, float64(1+i%3))
				}
			}
			p, err := plan.Place(req)
			if err != nil {
				t.Errorf("%s: %v", top.Name, err)
				continue
			}
			if fluid := p.PredictedS - p.FillS; fluid > 1.02*top.Bound || fluid < top.Bound*(1-1e-6) {
				t.Errorf("%s: the plan's flows take %v s, the bound is %v s by %s", top.Name, fluid, top.Bound, p.Binding)
			}
		}
	}
}

// TestFrontier: nothing that takes longer costs as much, and who waits long enough pays what the cheapest nodes ask.
func TestFrontier(t *testing.T) {
	several := 0
	for _, top := range random(t) {
		if top.Goal.Mode != plan.Replicas {
			continue
		}
		req := plan.Request{Snapshot: top.Network, Replicas: top.Goal.Replicas, Relays: true, Seed: 1,
			Classes: []plan.Class{{Runs: slices.Repeat([]core.Size{top.Goal.Size / 1000}, 1000)}}}
		for i := range top.Network.Nodes[1:] {
			req.Scores.PlaceCost = append(req.Scores.PlaceCost, float64(1+i*i%7))
		}
		plans, err := plan.Frontier(req, 5)
		if err != nil {
			t.Fatalf("%s: %v", top.Name, err)
		}
		cost := func(p *plan.Plan) (sum float64) {
			for _, row := range p.Nodes {
				sum += row.Cost * float64(row.Bytes)
			}
			return sum
		}
		for k := 1; k < len(plans); k++ {
			before, here := plans[k-1].PredictedS-plans[k-1].FillS, plans[k].PredictedS-plans[k].FillS
			if cost(plans[k]) >= cost(plans[k-1]) || here < before*(1-0.01) {
				t.Errorf("%s: %v s at %v follows %v s at %v", top.Name, here, cost(plans[k]), before, cost(plans[k-1]))
			}
		}
		if len(plans) > 2 {
			several++
		}
	}
	if several < 3 {
		t.Errorf("only %d networks have more than two ends", several)
	}
}
