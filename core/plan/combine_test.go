// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"math"
	"reflect"
	"slices"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"pgregory.net/rapid"
)

func TestCombine(t *testing.T) {
	cheap := Voice{Weight: 1, Info: core.StrategyInfo{Name: "cheap", Version: "1", Needs: []string{"price_store"},
		Deterministic: true},
		Scores: core.Scores{PlaceCost: []float64{1e-9, 3e-9}, QuotaCap: []core.Size{5, 9}, Explain: []string{"1", "3"}}}
	near := Voice{Weight: 3, Info: core.StrategyInfo{Name: "near", Version: "2", Needs: []string{"delay"},
		OwnsFirstHolder: true},
		Scores: core.Scores{PlaceCost: []float64{30, 10}, Allow: []bool{true, false}, QuotaCap: []core.Size{7, 7},
			TargetWeight: []float64{2, 6}, FirstHolderWeight: []float64{1, 3},
			Redundancy: core.Redundancy{Replicas: 2, Why: "near"}}}
	spread := Voice{Weight: 1, Info: core.StrategyInfo{Name: "spread", Version: "1", Deterministic: true},
		Scores: core.Scores{Spread: core.Spread{Level: "zone", Max: 2}, TargetWeight: []float64{4, 0},
			FirstHolderWeight: []float64{9, 1}, Redundancy: core.Redundancy{Replicas: 3, Why: "spread"}}}
	info, got := Combine([]Voice{cheap, near, spread})
	want := core.Scores{
		PlaceCost:         []float64{0.5 + 4.5, 1.5 + 1.5}, // each by its mean, the second counting three times
		Allow:             []bool{true, false},
		QuotaCap:          []core.Size{5, 7},
		TargetWeight:      []float64{0.5 * 2, 0},
		FirstHolderWeight: []float64{0.5, 1.5}, // only of the one that owns them
		Spread:            core.Spread{Level: "zone", Max: 2},
		Redundancy:        core.Redundancy{Replicas: 3, Why: "spread"},
		Explain:           []string{"1", "3"},
	}
	for i := range want.PlaceCost {
		got.PlaceCost[i] = math.Round(got.PlaceCost[i]*1e9) / 1e9
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if info.Name != "cheap,near,spread" || info.Deterministic || !info.OwnsFirstHolder ||
		!reflect.DeepEqual(info.Needs, []string{"delay", "price_store"}) {
		t.Errorf("info %+v", info)
	}
}

// TestCombineStaysGood: whatever good answers are combined, the result is one that the planner accepts, and a voice
// alone is heard as it is.
func TestCombineStaysGood(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		req := drawRequest(t)
		batch, _ := BatchOf(req.Snapshot, req.Classes, req.Replicas)
		other := req.Scores
		other.PlaceCost = nil
		for range batch.Nodes.Len() {
			other.PlaceCost = append(other.PlaceCost, rapid.SampledFrom([]float64{0, 1e-300, 1, 1e300}).Draw(t, "cost"))
		}
		_, both := Combine([]Voice{{Scores: req.Scores, Weight: 1}, {Scores: other, Weight: 2}})
		if err := CheckScores(batch, both); err != nil {
			t.Fatal(err)
		}
		_, one := Combine([]Voice{{Scores: req.Scores, Weight: 1}})
		for i, cost := range one.PlaceCost {
			if first := slices.Max(one.PlaceCost); first > 0 &&
				math.Abs(cost/first-req.Scores.PlaceCost[i]/slices.Max(req.Scores.PlaceCost)) > 1e-9 {
				t.Fatalf("costs %v became %v", req.Scores.PlaceCost, one.PlaceCost)
			}
		}
	})
}
