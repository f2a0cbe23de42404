// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"math"
	"slices"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"pgregory.net/rapid"
)

// TestFlowsFit: on any network, the flow of a goal passes no capacity within the least time, every node gets at least
// what it is to keep, and passes on no more than what came to it.
func TestFlowsFit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		req := drawRequest(t)
		g := drawGoal(t, req.Snapshot)
		f, b, err := FlowOf(req.Snapshot, g)
		if err != nil {
			t.Fatal(err)
		}
		if b.Seconds == 0 || math.IsInf(b.Seconds, 1) {
			return
		}
		want := map[Mode]float64{Replicas: float64(g.Replicas), Shards: 1 + float64(g.M)/float64(g.K)}
		if kept := sum(f.Kept); math.Abs(kept-want[g.Mode]*float64(g.Size)) > 1e-5*float64(g.Size) {
			t.Fatalf("%v: %v is kept", g.Mode, kept)
		}
		for c, part := range g.Parts {
			if given := sum(f.Shares[c]); !(g.K == 1 && slices.Contains(part.Holders, g.Sink)) &&
				math.Abs(given-float64(part.Size)) > 1e-5*float64(part.Size) {
				t.Fatalf("of part %d of %v, %v is given", c, part.Size, given)
			}
		}
		n := len(req.Snapshot.Nodes)
		up, down, links, trunks := make([]float64, n), make([]float64, n), map[[2]int]float64{}, map[[2]string]float64{}
		for _, l := range f.Links {
			up[l.From] += l.Bytes
			down[l.To] += l.Bytes
			links[[2]int{l.From, l.To}] += l.Bytes
			trunks[[2]string{req.Snapshot.Nodes[l.From].Zone, req.Snapshot.Nodes[l.To].Zone}] += l.Bytes
		}
		check := func(what any, used float64, limit core.Rate) {
			if limit > 0 && used*core.WireOverhead > float64(limit)*b.Seconds*(1+1e-5)+2 {
				t.Fatalf("%v of %v carries %v of %v in %v s (%v)", what, g.Mode, used, limit, b.Seconds, b.Binding)
			}
		}
		for i, node := range req.Snapshot.Nodes {
			check(i, up[i], node.Up)
			check(i, down[i], node.Down)
			if f.Kept[i] > float64(node.Free)*(1+1e-6)+1 || down[i] < (f.Kept[i]+f.Passed[i])*(1-1e-6)-1 {
				t.Fatalf("node %d with %v free receives %v, keeps %v and passes on %v", i, node.Free, down[i], f.Kept[i],
					f.Passed[i])
			}
		}
		for pair, used := range links {
			rate, linked := link(req.Snapshot, pair[0], pair[1])
			if !linked {
				t.Fatalf("there is no link %v", pair)
			}
			check(pair, used, rate)
		}
		for _, trunk := range req.Snapshot.Trunks {
			check(trunk, trunks[[2]string{trunk.From, trunk.To}], trunk.Rate)
		}
	})
}

func sum(values []float64) (sum float64) {
	for _, v := range values {
		sum += v
	}
	return sum
}

// drawGoal is any job on a network.
func drawGoal(t *rapid.T, s core.Snapshot) Goal {
	n := len(s.Nodes)
	g := Goal{Mode: rapid.SampledFrom([]Mode{Broadcast, Replicas, Shards, Fetch}).Draw(t, "mode"), Size: 100e6, K: 1}
	switch g.Mode {
	case Broadcast:
		for i := range n {
			if i != s.Source && rapid.IntRange(0, 3).Draw(t, "target") > 0 {
				g.Targets = append(g.Targets, i)
			}
		}
	case Replicas:
		g.Replicas, g.PerZone = rapid.IntRange(1, 4).Draw(t, "copies"), rapid.IntRange(0, 2).Draw(t, "zone")
	case Shards:
		g.K, g.M = rapid.IntRange(1, 3).Draw(t, "k"), rapid.IntRange(0, 2).Draw(t, "m")
		g.PerZone = rapid.IntRange(0, 2).Draw(t, "zone")
	case Fetch:
		g.Sink = s.Source
		for range rapid.IntRange(1, 3).Draw(t, "parts") {
			g.Parts = append(g.Parts, Part{Size: 30e6, Holders: rapid.SliceOfNDistinct(rapid.IntRange(0, n-1), 1, n,
				func(i int) int { return i }).Draw(t, "holders")})
		}
		g.K = rapid.IntRange(1, 2).Draw(t, "k")
	}
	return g
}
