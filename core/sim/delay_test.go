// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"math"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/core/task"
)

// far gives every node but the source a delay, and every second one half of it.
func far(t Topology, seconds float64) Topology {
	nodes := append([]core.NodeState(nil), t.Network.Nodes...)
	for i := range nodes {
		if i != t.Network.Source {
			nodes[i].Delay = seconds / float64(1+i%2)
		}
	}
	t.Network.Nodes = nodes
	return t
}

// On a real network of this kind, 20 ms one way cost 5 to 12 % more than none.
func TestDelaysCostTime(t *testing.T) {
	mbit := core.Rate(1e6 / 8)
	top := Topology{Name: "star", Goal: plan.Goal{Mode: plan.Broadcast, Size: 128 << 20, Targets: []int{1, 2, 3, 4}}}
	for i, up := range []core.Rate{80, 10, 20, 40, 80} {
		n := core.NodeState{Labels: map[string]string{"name": string(rune('a' + i))}, Up: up * mbit, Down: 200 * mbit,
			Free: core.TiB}
		n.ID[0] = byte(i)
		top.Network.Nodes = append(top.Network.Nodes, n)
	}
	before, most := 0.0, 1.05
	for _, delay := range []float64{0, 0.005, 0.02, 0.1} {
		_, r := simulate(t, far(top, delay), Config{Runs: 200, Seed: 1})
		if r.UndeliveredBytes > 0 || r.Ratio < before-0.01 || r.Ratio > most+2*delay {
			t.Errorf("%v s: ratio %.3f, after %.3f with less delay", delay, r.Ratio, before)
		}
		before, most = r.Ratio, 1.12
	}
}

func TestAnyFarNetworkIsServed(t *testing.T) {
	for seed := range uint64(24) {
		top := far(anyNetwork(seed), 0.03)
		_, r := simulate(t, top, Config{Runs: 80, Seed: seed, Error: 0.3 * float64(seed%2)})
		if r.UndeliveredBytes > 0 || r.Ratio < 1-1e-6 {
			t.Errorf("%s: ratio %v of %v s by %s, missing %v", top.Name, r.Ratio, r.BoundS, r.Binding, r.Missing)
		}
	}
}

func TestLossFarAway(t *testing.T) {
	if testing.Short() {
		t.Skip("without the race detector")
	}
	for _, top := range topologies(t) {
		for node := range min(4, len(top.Network.Nodes)) {
			loseOne(t, far(top, 0.05), Config{Runs: 60, Seed: uint64(node), Lose: []Loss{{node, 0.4 * top.Bound}}})
		}
	}
}

// A link that was still begins with TCP's first window, and one that was not goes on with what it has.
func TestSlowStart(t *testing.T) {
	l := link{delay: 20e6, warm: 1e9}
	l.asker = &task.Flow{Rate: 100e6 / 8}
	if cold, want := l.slowStart(2e9), 500e3*(math.Log2(1+500e3/plan.InitialWindow)-1)/core.WireOverhead; math.Abs(cold-want) > 1 || l.slowStart(5e8) != 0 {
		t.Errorf("cold %.0f, want %.0f; warm %.0f", cold, want, l.slowStart(5e8))
	}
	if l.delay = 0; l.slowStart(2e9) != 0 {
		t.Error("a window without a delay")
	}
}
