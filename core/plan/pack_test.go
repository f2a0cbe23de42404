// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"math"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan/fluid"
	"pgregory.net/rapid"
)

// TestPackingFits: trees together pass no capacity, bring every target what they promise, are no faster than the bound
// by cuts, and come close to their own bound.
func TestPackingFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		req := drawRequest(t)
		g := Goal{Mode: Broadcast, Size: 1000e6}
		for i := range req.Snapshot.Nodes {
			if i != req.Snapshot.Source && rapid.IntRange(0, 3).Draw(t, "target") > 0 {
				g.Targets = append(g.Targets, i)
			}
		}
		p, err := Pack(req.Snapshot, g)
		if err != nil {
			t.Fatal(err)
		}
		b, err := LeastTime(req.Snapshot, g)
		if err != nil {
			t.Fatal(err)
		}
		if p.Rate == 0 || math.IsInf(p.Rate, 1) {
			if p.Rate == 0 && len(g.Targets) > 0 && !math.IsInf(b.Seconds, 1) {
				t.Fatalf("no trees, but a bound of %v s", b.Seconds)
			}
			return
		}
		if float64(g.Size)/p.Rate < b.Seconds*(1-1e-6) {
			t.Fatalf("the trees take %v s, the bound is %v s by %s", float64(g.Size)/p.Rate, b.Seconds, b.Binding)
		}
		if p.Rate*1.1 < p.Most && p.Rounds < fluid.MostRounds { // a few graphs with rates far apart run out of rounds
			t.Fatalf("after %d rounds %v of at most %v", p.Rounds, p.Rate, p.Most)
		}
		fitsNetwork(t, req.Snapshot, g, p)
	})
}

func fitsNetwork(t *rapid.T, s core.Snapshot, g Goal, p Packing) {
	up, down, links, trunks := map[int]int{}, map[int]int{}, map[[2]int]int{}, map[[2]string]int{}
	for _, l := range p.Links {
		from, to, rate := l.From, l.To, int(l.Bytes*p.Rate)
		up[from] += rate
		down[to] += rate
		links[[2]int{from, to}] += rate
		trunks[[2]string{s.Nodes[from].Zone, s.Nodes[to].Zone}] += rate
	}
	check := func(what any, used int, limit core.Rate) {
		if limit > 0 && float64(used)*core.WireOverhead > float64(limit)*(1+1e-6)+1 {
			t.Fatalf("%v carries %d of %d", what, used, limit)
		}
	}
	for i, n := range s.Nodes {
		check(i, up[i], n.Up)
		check(i, down[i], n.Down)
	}
	for pair, used := range links {
		rate, linked := link(s, pair[0], pair[1])
		if !linked {
			t.Fatalf("there is no link %v", pair)
		}
		check(pair, used, rate)
	}
	for _, trunk := range s.Trunks {
		check(trunk, trunks[[2]string{trunk.From, trunk.To}], trunk.Rate)
	}
	for _, target := range g.Targets {
		if float64(down[target]) < p.Rate*(1-1e-6)-100 {
			t.Fatalf("target %d gets %d of %v", target, down[target], p.Rate)
		}
	}
}
