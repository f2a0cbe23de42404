// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/core/scenariotest"
	"github.com/bkp-tool/bkp/plugins/strategies/seed"
)

// TestMoves: the simulator decides what the same file says of real nodes, see TestMoves in core/commands.
func TestMoves(t *testing.T) {
	scenariotest.Each(t, "../spread/testdata/moves/*.txt", func(t *testing.T, file string) {
		m := &scenariotest.Moves{}
		scenariotest.Play(t, file, m.Line, func() string { return move(t, m) })
	})
}

// move carries a scenario out.
func move(t *testing.T, m *scenariotest.Moves) string {
	top := Topology{Goal: plan.Goal{Mode: plan.Replicas, Size: core.Size(m.Runs) * 16 * core.KiB, Replicas: m.Copies}}
	c, strategy := Config{Runs: m.Runs, Seed: 1}, seed.New()
	for i, n := range m.Nodes {
		s := core.NodeState{Labels: map[string]string{"name": n.Name}, Up: n.Up, Down: n.Down, Free: core.GiB, Total: core.GiB,
			Delay: 0.001}
		s.ID[0] = byte(i + 1)
		top.Network.Nodes = append(top.Network.Nodes, s)
		for _, l := range n.Links {
			top.Network.Links = append(top.Network.Links, core.LinkState{From: l.From, To: i, Rate: l.Rate},
				core.LinkState{From: i, To: l.From, Rate: l.Rate})
		}
		if n.Name == m.Lose {
			c.Lose = []Loss{{Node: i, At: m.After.Seconds()}}
		}
	}
	sent := map[scenariotest.Link][]int{}
	c.Began = func(from, to, run int) {
		l := scenariotest.Link{m.Nodes[from].Name, m.Nodes[to].Name}
		sent[l] = append(sent[l], run)
	}
	c.Score = func(b core.Batch) (core.Scores, error) { return strategy.Score(t.Context(), b) }
	var err error
	if c.Info, err = strategy.Describe(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err = Run(top, c); err != nil {
		t.Fatal(err)
	}
	return m.Said(sent)
}
