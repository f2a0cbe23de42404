// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestMaxMin(t *testing.T) {
	inf := math.Inf(1)
	for _, c := range []struct {
		name       string
		demands    []Demand
		capacities []float64
		want       []float64
	}{
		{"one flow takes the narrowest", []Demand{{1, []int{0, 1}}}, []float64{10, 4}, []float64{4}},
		{"two share by weight", []Demand{{1, []int{0}}, {3, []int{0}}}, []float64{8}, []float64{2, 6}},
		{"what one cannot use, the other gets", []Demand{{1, []int{0, 1}}, {1, []int{0}}}, []float64{10, 2},
			[]float64{2, 8}},
		{"a frozen flow frees others", []Demand{{1, []int{0, 1}}, {1, []int{1}}, {1, []int{1, 2}}}, []float64{1, 12, 3},
			[]float64{1, 8, 3}},
		{"nothing limits", []Demand{{5, []int{0}}}, []float64{inf}, []float64{inf}},
		{"no accounts at all", []Demand{{5, nil}}, nil, []float64{inf}},
	} {
		if got := MaxMin(c.demands, c.capacities); !slices.EqualFunc(got, c.want,
			func(a, b float64) bool { return a == b || math.Abs(a-b) < 1e-9 }) {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

// TestMaxMinIsFair checks what defines a max-min fair sharing: no account is overfull, and every flow crosses a full
// one on which no other flow has more for its weight. So whatever a flow gained, a flow no better off would lose.
func TestMaxMinIsFair(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		capacities := rapid.SliceOfN(rapid.SampledFrom([]float64{1, 2, 3, 10, 1000, math.Inf(1)}), 1, 8).Draw(t,
			"capacities")
		demands := make([]Demand, rapid.IntRange(1, 12).Draw(t, "flows"))
		for i := range demands {
			demands[i].Weight = rapid.SampledFrom([]float64{1, 2, 1e9, 0.001}).Draw(t, "weight")
			demands[i].Accounts = rapid.SliceOfNDistinct(rapid.IntRange(0, len(capacities)-1), 0, 4,
				rapid.ID[int]).Draw(t, "accounts")
		}
		rates := MaxMin(demands, capacities)
		used, best := make([]float64, len(capacities)), make([]float64, len(capacities))
		for i, d := range demands {
			for _, a := range d.Accounts {
				used[a] += rates[i]
				best[a] = max(best[a], rates[i]/d.Weight)
			}
		}
		for a, c := range capacities {
			if used[a] > c*(1+1e-9) {
				t.Fatalf("account %d carries %v of %v", a, used[a], c)
			}
		}
		for i, d := range demands {
			limited := slices.ContainsFunc(d.Accounts, func(a int) bool { return !math.IsInf(capacities[a], 1) })
			fair := slices.ContainsFunc(d.Accounts, func(a int) bool {
				return !math.IsInf(capacities[a], 1) && used[a] >= capacities[a]*(1-1e-9) &&
					rates[i]/d.Weight >= best[a]*(1-1e-9)
			})
			if limited != fair || !limited && !math.IsInf(rates[i], 1) {
				t.Fatalf("flow %d at %v: limited %v, at its fair bottleneck %v (rates %v)", i, rates[i], limited, fair,
					rates)
			}
		}
	})
}
