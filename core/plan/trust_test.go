// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"math/rand/v2"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan"
)

// However unlike the uplinks, full replication on a mesh is predicted to take no longer than senders need that choose
// as they go.
func TestFullReplicationIsPredictedNearItsBound(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		var s core.Snapshot
		for i := range 3 + random.IntN(8) {
			s.Nodes = append(s.Nodes, core.NodeState{ID: core.ID{byte(random.Uint32()), byte(i)}, Free: core.TiB,
				Total: core.TiB,
				Up:    core.Rate(1_000_000 << random.IntN(7)), Down: 100_000_000})
		}
		first := make([]float64, len(s.Nodes)-1) // as if by delays
		for i := range first {
			first[i] = 1 / (0.001 + 0.01*random.Float64())
		}
		runs := make([]core.Size, 400)
		for i := range runs {
			runs[i] = core.Size(200_000 + random.IntN(200_000))
		}
		p, err := plan.Place(plan.Request{Snapshot: s, Seed: random.Uint64(), Replicas: len(s.Nodes) - 1,
			Scores: core.Scores{FirstHolderWeight: first}, Objective: plan.ObjectiveTime,
			Classes: []plan.Class{{Runs: runs}}})
		if err != nil {
			t.Fatal(err)
		}
		if p.Ratio > 1.1001 {
			t.Errorf("seed %d: predicted %.3f times the bound", seed, p.Ratio)
		}
	}
}
