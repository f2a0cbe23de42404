// SPDX-License-Identifier: Apache-2.0

// Package strategies_test compares the strategies that bkp ships.
package strategies_test

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins/strategies/most-free"
	"github.com/bkp-tool/bkp/plugins/strategies/nearest"
	"github.com/bkp-tool/bkp/plugins/strategies/seed"
)

// In a network whose near nodes are nearly full, the three strategies put the nodes in three orders.
func TestNearNodesNearlyFull(t *testing.T) {
	batch := core.Batch{Objective: "time", Replicas: 2, File: core.BatchFile{Size: 256 * core.MiB},
		Nodes: core.NodeColumns{
			//                 near, nearly full        middle, half full        far, nearly empty
			ID:       []string{"near1", "near2", "mid1", "mid2", "far1", "far2"},
			Link:     rates(40, 30, 20, 15, 8, 5),
			Downlink: rates(0, 0, 0, 0, 0, 0),
			Delay:    []float64{0.001, 0.002, 0.010, 0.020, 0.060, 0.080},
			Free:     sizes(3, 2, 10, 12, 40, 90),
			Total:    sizes(60, 50, 20, 20, 50, 100),
		}}
	for _, c := range []struct {
		strategy core.Strategy
		best     string // most wanted first
	}{
		{seed.New(), "mid2 mid1 far1 far2 near1 near2"},
		{nearest.New(), "near1 near2 mid1 mid2 far1 far2"},
		{mostfree.New(), "far2 far1 mid2 mid1 near1 near2"},
	} {
		info, _ := c.strategy.Describe(t.Context())
		scores, err := c.strategy.Score(t.Context(), batch)
		if err != nil {
			t.Fatalf("%s: %v", info.Name, err)
		}
		if got := ranking(batch.Nodes.ID, scores); got != c.best {
			t.Errorf("%s: %s, want %s\n%s", info.Name, got, c.best, strings.Join(scores.Explain, "\n"))
		}
	}
}

// ranking is by ascending cost, then by descending weight.
func ranking(ids []string, s core.Scores) string {
	order := make([]int, len(ids))
	for i := range order {
		order[i] = i
	}
	at := func(column []float64, i int) float64 {
		if len(column) == 0 {
			return 0
		}
		return column[i]
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(at(s.PlaceCost, a), at(s.PlaceCost, b)),
			cmp.Compare(at(s.TargetWeight, b), at(s.TargetWeight, a)))
	})
	var names []string
	for _, i := range order {
		names = append(names, ids[i])
	}
	return strings.Join(names, " ")
}

func rates(mib ...core.Rate) []core.Rate {
	for i := range mib {
		mib[i] *= core.Rate(core.MiB)
	}
	return mib
}

func sizes(gib ...core.Size) []core.Size {
	for i := range gib {
		gib[i] *= core.GiB
	}
	return gib
}
