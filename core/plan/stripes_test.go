// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"pgregory.net/rapid"
)

// TestStripesBesideCopies has stripes of six, one of five, some of which one shard is held, and tree nodes that are
// kept three times, on nodes of several zones. Every run of a stripe is at a node of its own, and no zone has more than
// it may.
func TestStripesBesideCopies(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes := rapid.IntRange(7, 9).Draw(t, "nodes")
		var s core.Snapshot
		for i := range nodes + 1 {
			s.Nodes = append(s.Nodes, core.NodeState{ID: core.ID{byte(i + 1)}, Free: 1 << 40,
				Zone: fmt.Sprint(i % 4), Up: core.Rate(rapid.IntRange(1, 9).Draw(t, "up")) * 1e6,
				Down: core.Rate(rapid.IntRange(1, 9).Draw(t, "down")) * 1e6})
		}
		for i := range s.Nodes {
			for k := range s.Nodes {
				if i != k {
					s.Links = append(s.Links, core.LinkState{From: i, To: k})
				}
			}
		}
		runs := func(n int) []core.Size { return slices.Repeat([]core.Size{4 << 20}, n) }
		classes := []Class{{Runs: runs(rapid.IntRange(1, 40).Draw(t, "stripes"))}, {Runs: runs(1), Copies: 5},
			{Runs: runs(3), Holders: []int{rapid.IntRange(1, nodes).Draw(t, "holder")}}, {Runs: runs(2), Copies: 3}}
		req := Request{Snapshot: s, Replicas: 6, K: 4, Classes: classes, Seed: rapid.Uint64().Draw(t, "seed")}
		spread := rapid.Bool().Draw(t, "spread")
		if spread {
			req.Scores.Spread = core.Spread{Level: "zone", Max: 2}
		}
		p, err := Place(req)
		if err != nil {
			t.Fatal(err)
		}
		for c, class := range classes {
			want := max(class.Copies, 0)
			if want == 0 {
				want = 6
			}
			for run := range class.Runs {
				at, zones, shards := map[int]bool{}, map[string]int{}, map[int]bool{}
				for _, x := range p.Classes[c] {
					if run < x.Start || run >= x.End() {
						continue
					}
					at[x.Node] = true
					if zones[s.Nodes[x.Node].Zone]++; spread && zones[s.Nodes[x.Node].Zone] > 2 {
						t.Fatalf("class %d run %d: zone %s has %v", c, run, s.Nodes[x.Node].Zone, p.Classes[c])
					}
					if x.From == x.Node {
						continue
					}
					if x.From != 0 || shards[x.Shard] || x.Shard < 0 || x.Shard >= want-len(class.Holders) {
						t.Fatalf("class %d run %d: shard %d from %d", c, run, x.Shard, x.From)
					}
					shards[x.Shard] = true
				}
				if len(at) != want || len(shards) != want-len(class.Holders) {
					t.Fatalf("class %d run %d is at %v, shards %v: want %d", c, run, at, shards, want)
				}
			}
		}
		if p.Risk.Bears != 2 {
			t.Fatalf("it bears %d losses", p.Risk.Bears)
		}
	})
}

func TestTooFewNodesForAStripe(t *testing.T) {
	s := core.Snapshot{Nodes: make([]core.NodeState, 6)}
	for i := range s.Nodes {
		s.Nodes[i] = core.NodeState{ID: core.ID{byte(i + 1)}, Address: fmt.Sprint("n", i), Free: 1 << 40}
		s.Links = append(s.Links, core.LinkState{From: 0, To: i})
	}
	s.Links = s.Links[1:]
	_, err := Place(Request{Snapshot: s, Replicas: 6, K: 4, Classes: []Class{{Runs: []core.Size{1 << 20}}}})
	if core.CodeOf(err) != core.CodeRedundant || !strings.Contains(err.Error(), "6 runs of each stripe need 6 nodes") {
		t.Errorf("five nodes for 4+2: %v", err)
	}
}
