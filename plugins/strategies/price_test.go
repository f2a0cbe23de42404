// SPDX-License-Identifier: Apache-2.0

package strategies_test

import (
	"math"
	"slices"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins/strategies/cheapest"
	"github.com/bkp-tool/bkp/plugins/strategies/reliable"
	zonespread "github.com/bkp-tool/bkp/plugins/strategies/zone-spread"
)

// Three nodes: one dear and sure, one cheap and shaky, one free of charge and mostly off.
func TestPricesAndRisks(t *testing.T) {
	batch := core.Batch{Nodes: core.NodeColumns{
		ID: []string{"sure", "shaky", "off"}, Zone: []string{"A", "A", ""},
		PriceStore: []float64{3e-9, 1e-9, 0}, PriceSend: []float64{1e-9, 1e-9, 0},
		AnnualFailure: []float64{0.01, 0.5, 1}, Uptime: []float64{0.999, 0.9, 0.2},
	}}
	s, _ := cheapest.New().Score(t.Context(), batch)
	if want := []float64{4e-9, 2e-9, 0}; !slices.EqualFunc(s.PlaceCost, want, near) {
		t.Errorf("cheapest: %v, want %v", s.PlaceCost, want)
	}
	s, _ = reliable.New().Score(t.Context(), batch)
	if want := []float64{-math.Log(0.99), math.Ln2, -math.Log(1e-9)}; !slices.EqualFunc(s.PlaceCost, want, near) {
		t.Errorf("reliable: %v, want %v", s.PlaceCost, want)
	}
	if want := []bool{true, true, false}; !slices.Equal(s.Allow, want) {
		t.Errorf("reliable allows %v, want %v", s.Allow, want)
	}
	s, _ = zonespread.New().Score(t.Context(), batch)
	if s.Spread != (core.Spread{Level: "zone", Max: 1}) || s.PlaceCost != nil || s.TargetWeight != nil ||
		s.Allow != nil {
		t.Errorf("zone-spread: %+v", s)
	}
}

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-6*max(math.Abs(a), math.Abs(b)) }
