// SPDX-License-Identifier: Apache-2.0

// Package cheapest is the strategy that stores where it costs least.
//
// place_cost is price_store + price_send: what a node asks for keeping a byte, and for a byte that is sent to it. Nodes
// that state no price are free. Under bkp's objective cost they are filled in that order; under time, as far as that is
// as fast.
package cheapest

import (
	"context"
	"fmt"

	"github.com/bkp-tool/bkp/core"
)

// New is the strategy.
func New() core.Strategy { return strategy{} }

type strategy struct{}

func (strategy) Describe(context.Context) (core.StrategyInfo, error) {
	return core.StrategyInfo{Name: "cheapest", Version: "1.0.0", Summary: "lowest price for storing and sending",
		Needs: []string{"price_store", "price_send"}, Deterministic: true}, nil
}

func (strategy) Score(_ context.Context, batch core.Batch) (core.Scores, error) {
	s := core.Scores{Objective: "cost"} // saved time is no money
	for i := range batch.Nodes.Len() {
		store, send := batch.Nodes.PriceStore[i], batch.Nodes.PriceSend[i]
		s.PlaceCost = append(s.PlaceCost, store+send)
		s.Explain = append(s.Explain, fmt.Sprintf("%.4g to store and %.4g to send a GiB", store*float64(core.GiB),
			send*float64(core.GiB)))
	}
	return s, nil
}
