// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"
	"testing"

	"github.com/bkp-tool/bkp/core"
)

// pricedNodes is one copy for three nodes: slow and cheap, middling, fast and dear.
func pricedNodes() Request {
	req := Request{Replicas: 1, Classes: []Class{{Runs: slices.Repeat([]core.Size{core.MiB}, 300)}}}
	req.Snapshot.Nodes = []core.NodeState{{}, {Down: 1 << 20}, {Down: 4 << 20}, {Down: 16 << 20}}
	for i := range req.Snapshot.Nodes {
		req.Snapshot.Nodes[i].ID[0], req.Snapshot.Nodes[i].Free = byte(i+1), core.TiB
	}
	req.Scores.PlaceCost = []float64{1, 2, 8}
	return req
}

func TestObjectives(t *testing.T) {
	plan := func(change func(*Request)) (runs [4]int, p *Plan) {
		req := pricedNodes()
		change(&req)
		p, err := Place(req)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range p.Nodes {
			runs[row.Node] = row.Runs
		}
		return runs, p
	}
	if runs, _ := plan(func(r *Request) { r.Objective = ObjectiveCost }); runs != [4]int{0, 300, 0, 0} {
		t.Errorf("cost: %v, want all on the cheapest", runs)
	}
	fast, quick := plan(func(r *Request) { r.Objective = ObjectiveTime })
	if quick.PredictedS > 1.06*quick.BoundS || fast[3] < 200 {
		t.Errorf("time: %v, %v s of at least %v s", fast, quick.PredictedS, quick.BoundS)
	}
	runs, p := plan(func(r *Request) { r.Objective, r.Deadline = ObjectiveCost, 60 })
	if p.PredictedS > 61 || runs[3] == 0 || runs[3] >= fast[3] {
		t.Errorf("cost within 60 s: %v in %v s", runs, p.PredictedS)
	}
	last := quick.PredictedS
	for _, weight := range []float64{1, 0.5, 0} {
		_, p := plan(func(r *Request) { r.Objective, r.Blend = ObjectiveBlend, weight })
		if p.PredictedS < last*(1-1e-9) {
			t.Errorf("blend with %v of time takes %v s, with more of it %v s", weight, p.PredictedS, last)
		}
		last = p.PredictedS
	}
	if last < 300 {
		t.Errorf("blend without time takes %v s: not the cheapest", last)
	}
	req := pricedNodes()
	req.Deadline = 10
	if _, err := Place(req); core.CodeOf(err) != core.CodeRedundant || core.HintOf(err) == "" {
		t.Errorf("a deadline of 10 s where 15 are needed: %v", err)
	}
}

// TestRelaysReachTheFar: two copies at the end of a chain; those between keep nothing and are named.
func TestRelaysReachTheFar(t *testing.T) {
	req := Request{Replicas: 2, Relays: true, Classes: []Class{{Runs: slices.Repeat([]core.Size{core.MiB}, 20)}}}
	for i := range 5 {
		n := core.NodeState{}
		if n.ID[0] = byte(i + 1); i > 2 {
			n.Free = core.TiB
		}
		req.Snapshot.Nodes = append(req.Snapshot.Nodes, n)
		if i > 0 {
			req.Snapshot.Links = append(req.Snapshot.Links, core.LinkState{From: i - 1, To: i, Rate: 1 << 20})
		}
	}
	p, err := Place(req)
	if err != nil {
		t.Fatal(err)
	}
	want := []Span{{Node: 1, From: 0, Length: 20}, {Node: 2, From: 1, Length: 20}}
	if !slices.Equal(p.Relays, want) {
		t.Errorf("relays %+v, want %+v", p.Relays, want)
	}
	if want := []Span{{Node: 3, From: 2, Length: 20}, {Node: 4, From: 3, Length: 20}}; !slices.Equal(p.Classes[0],
		want) {
		t.Errorf("spans %+v, want %+v", p.Classes[0], want)
	}
	if req.Relays = false; p != nil {
		if _, err := Place(req); core.CodeOf(err) != core.CodeRedundant {
			t.Errorf("without relays: %v", err)
		}
	}
}

// TestShardsStandApart: every run has each shard once, on different nodes, all straight from the source.
func TestShardsStandApart(t *testing.T) {
	req := Request{Replicas: 5, K: 3, Classes: []Class{{Runs: slices.Repeat([]core.Size{1000}, 40)}}, Seed: 3}
	for i := range 8 {
		n := core.NodeState{Free: core.TiB, Up: 1e6, Down: core.Rate(1+i) * 1e6}
		n.ID[0] = byte(i + 1)
		req.Snapshot.Nodes = append(req.Snapshot.Nodes, n)
	}
	p, err := Place(req)
	if err != nil {
		t.Fatal(err)
	}
	for run := range 40 {
		nodes, shards := map[int]bool{}, map[int]bool{}
		for _, s := range p.Classes[0] {
			if run >= s.Start && run < s.End() {
				nodes[s.Node], shards[s.Shard] = true, true
				if s.From != 0 {
					t.Fatalf("run %d: node %d passes on a shard", run, s.From)
				}
			}
		}
		if len(nodes) != 5 || len(shards) != 5 {
			t.Fatalf("run %d: shards %v on nodes %v", run, shards, nodes)
		}
	}
	if want := 5.0 / 3 * 120000 / (1e6 / core.WireOverhead); p.BoundS < want*0.999 || p.Binding != "source uplink" {
		t.Errorf("bound %v s by %s, want %v s by the source's uplink", p.BoundS, p.Binding, want)
	}
}

// TestCostsAreToldWhenPutAside: where costs give way to time, a plan still says what it costs.
func TestCostsAreToldWhenPutAside(t *testing.T) {
	req := pricedNodes()
	for i := range 3 {
		req.Snapshot.Nodes[i+1].Down = 0
		req.Snapshot.Links = append(req.Snapshot.Links, core.LinkState{From: 0, To: i + 1, Rate: 1 << 20})
	}
	p, err := Place(req)
	if err != nil || len(p.Nodes) != 3 || p.Ratio > 1.05 {
		t.Fatalf("%+v (%v)", p, err)
	}
	for _, row := range p.Nodes {
		if row.Cost != req.Scores.PlaceCost[row.Node-1] {
			t.Errorf("node %d costs %v, says the plan; %v, says the strategy", row.Node, row.Cost,
				req.Scores.PlaceCost[row.Node-1])
		}
	}
}
