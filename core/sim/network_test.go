// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan"
)

// anyNetwork is a job of any mode on a mesh, on two to four sites with trunks between them, or on a sparse graph.
func anyNetwork(seed uint64) Topology {
	r := rand.New(rand.NewPCG(seed, 9))
	n, zones := 7+r.IntN(9), 2+r.IntN(3)
	kind := r.IntN(4)
	mode := []plan.Mode{plan.Broadcast, plan.Replicas, plan.Shards, plan.Fetch}[r.IntN(4)]
	t := Topology{Name: fmt.Sprintf("%s on network %d of kind %d with %d nodes", mode, seed, kind, n)}
	rate := func(from, to int) core.Rate {
		return core.Rate(float64(from+r.IntN(to-from)) * 1e6 * core.WireOverhead)
	}
	for i := range n {
		s := core.NodeState{Labels: map[string]string{"name": fmt.Sprint("n", i)}, Zone: fmt.Sprint("z", i%zones),
			Up: rate(2, 40), Down: rate(20, 60), Free: 900e6}
		if kind == 1 {
			s.Up, s.Down = rate(1, 5), rate(5, 20)
		}
		copy(s.ID[:], s.Labels["name"])
		t.Network.Nodes = append(t.Network.Nodes, s)
	}
	switch kind {
	case 2:
		for a := range zones {
			for b := range zones {
				if a != b {
					t.Network.Trunks = append(t.Network.Trunks,
						core.TrunkState{From: fmt.Sprint("z", a), To: fmt.Sprint("z", b), Rate: rate(5, 20)})
				}
			}
		}
	case 3:
		for i := range n {
			for _, d := range []int{1, 1 + r.IntN(n-1)} {
				a, b := i, (i+d)%n
				t.Network.Links = append(t.Network.Links, core.LinkState{From: a, To: b, Rate: rate(3, 18)},
					core.LinkState{From: b, To: a, Rate: rate(3, 18)})
			}
		}
	}
	t.Goal = plan.Goal{Mode: mode, Size: 500e6, Replicas: 2 + r.IntN(2), PerZone: 2, K: 2, M: 1}
	switch mode {
	case plan.Broadcast:
		for i := 1; i < n; i += 1 + r.IntN(2) {
			t.Goal.Targets = append(t.Goal.Targets, i)
		}
	case plan.Fetch:
		t.Goal.K = 1
		t.Goal.Parts = []plan.Part{{Size: 250e6, Holders: []int{1, 2, 4}}, {Size: 250e6, Holders: []int{2, 3}}}
	}
	return t
}

// served runs a job on a network: nothing may be left undone, and nothing done sooner than the bound says is possible.
func served(t testing.TB, seed uint64, wrong float64) {
	top := anyNetwork(seed)
	_, r := simulate(t, top, Config{Runs: 80, Seed: seed, Error: wrong})
	if r.UndeliveredBytes > 0 || r.Ratio < 1-1e-6 {
		t.Errorf("%s, error %v: ratio %v of %v s by %s, missing %v", top.Name, wrong, r.Ratio, r.BoundS, r.Binding,
			r.Missing)
	}
}

func TestAnyNetworkIsServed(t *testing.T) {
	for seed := range uint64(24) {
		served(t, seed, 0.3*float64(seed%2))
	}
}

func FuzzAnyNetwork(f *testing.F) {
	f.Add(uint64(99), true)
	f.Add(uint64(117), false) // runs that the sink refused were counted as given, and nobody gave them again
	f.Add(uint64(379), false) // the only way led through a holder of the other part
	f.Fuzz(func(t *testing.T, seed uint64, wrong bool) {
		if wrong {
			served(t, seed, 0.3)
		} else {
			served(t, seed, 0)
		}
	})
}
