// SPDX-License-Identifier: Apache-2.0

package strategies_test

import (
	"slices"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/plugins/strategies/most-free"
	"github.com/bkp-tool/bkp/plugins/strategies/nearest"
	"github.com/bkp-tool/bkp/plugins/strategies/seed"
)

// Where nobody names an objective, the strategies choose each its own nodes while the source's uplink is what takes
// time; where the nodes' downlinks do, all but nearest give way to time.
func TestWhoKeepsWhatByDefault(t *testing.T) {
	class := plan.Class{Runs: slices.Repeat([]core.Size{core.MaxRun}, 400)}
	for _, c := range []struct {
		what     string
		up       core.Rate // of the source
		strategy core.Strategy
		keeps    [4]int // runs of two copies, from the nearest and fullest to the farthest and emptiest
		most     float64
	}{
		{"narrow uplink", 10 << 20, seed.New(), [4]int{0, 0, 400, 400}, 1.01},
		{"narrow uplink", 10 << 20, nearest.New(), [4]int{400, 400, 0, 0}, 1.01},
		{"narrow uplink", 10 << 20, mostfree.New(), [4]int{57, 114, 229, 400}, 1.01},
		{"narrow downlinks", 400 << 20, seed.New(), [4]int{194, 202, 202, 202}, 1.02},
		{"narrow downlinks", 400 << 20, nearest.New(), [4]int{400, 400, 0, 0}, 2.01},
		{"narrow downlinks", 400 << 20, mostfree.New(), [4]int{200, 200, 200, 200}, 1.02},
	} {
		s := core.Snapshot{Nodes: []core.NodeState{{ID: core.ID{9}, Up: c.up}}}
		for i, part := range []core.Size{10, 20, 40, 90} {
			s.Nodes = append(s.Nodes, core.NodeState{ID: core.ID{byte(i + 1)}, Up: 100 << 20, Down: 100 << 20,
				Delay: 0.01 * float64(i),
				Free:  part * core.GiB, Total: 100 * core.GiB})
		}
		batch, _ := plan.BatchOf(s, []plan.Class{class}, 2)
		info, _ := c.strategy.Describe(t.Context())
		scores, err := c.strategy.Score(t.Context(), batch)
		if err != nil {
			t.Fatal(err)
		}
		p, err := plan.Place(plan.Request{Snapshot: s, Info: info, Scores: scores, Replicas: 2,
			Classes: []plan.Class{class}})
		if err != nil {
			t.Fatal(err)
		}
		var keeps [4]int
		for _, row := range p.Nodes {
			keeps[row.Node-1] = row.Runs
		}
		for i := range keeps {
			if off := keeps[i] - c.keeps[i]; off < -15 || off > 15 {
				t.Errorf("%s, %s: %v runs, want about %v", c.what, info.Name, keeps, c.keeps)
				break
			}
		}
		if p.Ratio > c.most {
			t.Errorf("%s, %s: %.3f of the least time, at most %v", c.what, info.Name, p.Ratio, c.most)
		}
	}
}
