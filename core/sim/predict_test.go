// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"math"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan"
)

// TestPredictedTime compares what the planner expects with what the transfer decisions come to, from files of a few MiB
// on.
func TestPredictedTime(t *testing.T) {
	networks := topologies(t)
	for _, receivers := range []int{4, 8} {
		networks = append(networks, unequal(receivers))
	}
	for _, top := range networks {
		for _, c := range []struct {
			runs int
			most float64
		}{{32, 0.10}, {64, 0.05}, {128, 0.05}, {256, 0.05}, {512, 0.05}} {
			if len(top.Network.Nodes) > 20 && c.runs > 64 {
				continue // takes long
			}
			t.Run(fmt.Sprintf("%s/%d", top.Name, c.runs), func(t *testing.T) {
				took, seeds := 0.0, 1
				if len(top.Network.Nodes) > 20 {
					seeds = 4 // which differ by a tenth there, where runs are few
				}
				var r Result
				for seed := range seeds {
					var err error
					if r, err = Run(top, Config{Runs: c.runs, Seed: uint64(seed + 1)}); err != nil {
						t.Fatal(err)
					}
					took += r.MakespanS / float64(seeds)
				}
				if off := took/r.PredictedS - 1; math.Abs(off) > c.most {
					t.Errorf("predicted %.4g s, took %.4g s: off by %.1f %%, bound %.4g s", r.PredictedS, took,
						100*off, r.BoundS)
				}
			})
		}
	}
}

// unequal is 128 MiB to all of some receivers on a mesh, whose uplinks differ by a factor of 16: there, chains of
// sendings over the slowest were once predicted to take longer than everything else.
func unequal(receivers int) Topology {
	top := Topology{Name: fmt.Sprintf("unequal%d", receivers),
		Goal: plan.Goal{Mode: plan.Replicas, Size: 128 * core.MiB, Replicas: receivers}}
	for i := range receivers + 1 {
		n := core.NodeState{Labels: map[string]string{"name": fmt.Sprint("n", i)}, Free: core.GiB, Total: core.GiB,
			Up: 5e6, Down: 12.5e6}
		if n.ID[0] = byte(i + 1); i > 0 {
			n.Up = core.Rate([]float64{10e6, 5e6, 2.5e6, 1.25e6, 0.625e6}[i%5])
		}
		top.Network.Nodes = append(top.Network.Nodes, n)
	}
	for from := range top.Network.Nodes {
		for to := range top.Network.Nodes {
			if from != to { // as nodes tell of each other
				top.Network.Links = append(top.Network.Links, core.LinkState{From: from, To: to, Rate: 12.5e6})
			}
		}
	}
	return top
}
