// SPDX-License-Identifier: Apache-2.0

// Package zonespread is the strategy that keeps at most one copy of a run in a zone.
//
// It has no opinion on anything else: costs and weights are left to the planner, or to a strategy that it is combined
// with, as in --strategy cheapest,zone-spread. Where there are fewer zones than copies there is no plan, and bkp says
// so.
package zonespread

import (
	"context"

	"github.com/bkp-tool/bkp/core"
)

// New is the strategy.
func New() core.Strategy { return strategy{} }

type strategy struct{}

func (strategy) Describe(context.Context) (core.StrategyInfo, error) {
	return core.StrategyInfo{Name: "zone-spread", Version: "1.0.0", Summary: "no two copies of a run in one zone",
		Needs: []string{"zone"}, Deterministic: true}, nil
}

func (strategy) Score(_ context.Context, batch core.Batch) (core.Scores, error) {
	s := core.Scores{Spread: core.Spread{Level: "zone", Max: 1}}
	for _, zone := range batch.Nodes.Zone {
		if zone == "" {
			zone = "of its own"
		}
		s.Explain = append(s.Explain, "zone "+zone)
	}
	return s, nil
}
