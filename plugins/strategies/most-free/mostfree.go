// SPDX-License-Identifier: Apache-2.0

// Package mostfree is the strategy that fills nodes in proportion to their free space.
//
// It gives no costs: target_weight is the free space in bytes, and the planner shares the runs out by it.
package mostfree

import (
	"context"

	"github.com/bkp-tool/bkp/core"
)

// New is the strategy.
func New() core.Strategy { return strategy{} }

type strategy struct{}

func (strategy) Describe(context.Context) (core.StrategyInfo, error) {
	return core.StrategyInfo{Name: "most-free", Version: "1.0.0", Summary: "in proportion to free space",
		Needs: []string{"free"}, Deterministic: true}, nil
}

func (strategy) Score(_ context.Context, batch core.Batch) (core.Scores, error) {
	var s core.Scores
	for _, free := range batch.Nodes.Free {
		s.TargetWeight = append(s.TargetWeight, float64(max(0, free)))
		s.Explain = append(s.Explain, "free "+free.String())
	}
	return s, nil
}
