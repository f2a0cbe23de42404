// Package reliable is the strategy that stores on nodes that seldom fail.
//
// place_cost is −log(1 − afr), afr being the part of nodes like this one that fail in a year: costs add up as the chances to
// survive multiply. Nodes that are up less than MinUptime of the time are not allowed, since a copy that cannot be reached
// does not help. Nodes that state neither count as always up and never failing.
package reliable

import (
	"context"
	"fmt"
	"math"

	"github.com/bkp-tool/bkp/core"
)

// MinUptime is the part of the time that a node must be up.
const MinUptime = 0.9

// worst keeps the cost of a node that is sure to fail finite.
const worst = 1 - 1e-9

// New is the strategy.
func New() core.Strategy { return strategy{} }

type strategy struct{}

func (strategy) Describe(context.Context) (core.StrategyInfo, error) {
	return core.StrategyInfo{Name: "reliable", Version: "1.0.0", Summary: "nodes that are up and seldom fail",
		Needs: []string{"annual_failure", "uptime"}, Deterministic: true}, nil
}

func (strategy) Score(_ context.Context, batch core.Batch) (core.Scores, error) {
	var s core.Scores
	for i := range batch.Nodes.Len() {
		failure, uptime := min(max(0, batch.Nodes.AnnualFailure[i]), worst), batch.Nodes.Uptime[i]
		s.Allow = append(s.Allow, uptime >= MinUptime)
		s.PlaceCost = append(s.PlaceCost, -math.Log1p(-failure))
		s.Explain = append(s.Explain, fmt.Sprintf("up %.4g %% of the time, %.3g %% fail in a year", 100*uptime, 100*failure))
	}
	return s, nil
}
