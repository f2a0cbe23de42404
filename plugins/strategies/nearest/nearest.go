// SPDX-License-Identifier: Apache-2.0

// Package nearest is the strategy that stores on the nodes with the least delay.
//
// place_cost is the delay in whole steps of 5 milliseconds, given in seconds: below that, measured delays are noise.
// Nodes that are equally near are told apart by bandwidth, the wider first: 1/bandwidth (in bytes per second) is added,
// which stays under a step from 200 B/s on.
//
// It asks for this order to hold whatever time that takes (objective cost): where links are alike, a plan made for time
// would have every node take part, and the near ones no more than the far.
package nearest

import (
	"context"
	"fmt"
	"math"

	"github.com/bkp-tool/bkp/core"
)

// step is what delays are compared in: within it, noise decides which of two is shorter. Seconds.
const step = 5e-3

// New is the strategy.
func New() core.Strategy { return strategy{} }

type strategy struct{}

func (strategy) Describe(context.Context) (core.StrategyInfo, error) {
	return core.StrategyInfo{Name: "nearest", Version: "1.0.0", Summary: "least delay first, then most bandwidth",
		Needs: []string{"delay", "link", "downlink"}, Deterministic: true}, nil
}

func (strategy) Score(_ context.Context, batch core.Batch) (core.Scores, error) {
	s := core.Scores{Objective: "cost"}
	for i := range batch.Nodes.Len() {
		delay := math.Floor(batch.Nodes.Delay[i]/step) * step
		s.PlaceCost = append(s.PlaceCost, delay+inverse(batch.Nodes.Link[i], batch.Nodes.Downlink[i]))
		s.Explain = append(s.Explain, fmt.Sprintf("delay %.3g ms", batch.Nodes.Delay[i]*1e3))
	}
	return s, nil
}

// inverse is 1/bandwidth of the narrower of link and downlink; 0, unlimited, costs nothing.
func inverse(link, down core.Rate) (cost float64) {
	for _, rate := range []core.Rate{link, down} {
		if rate > 0 {
			cost = max(cost, 1/float64(rate))
		}
	}
	return cost
}
