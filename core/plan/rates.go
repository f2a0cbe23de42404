// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"math"
	"slices"
)

// Demand is a flow that wants bandwidth: how much, against the others, and from which accounts (by index, none twice).
type Demand struct {
	Weight   float64 // above 0: its bytes
	Accounts []int
}

// MaxMin shares the accounts' capacities (math.Inf(1) for unlimited) between flows by weighted max-min fairness. All
// flows grow from 0 together, each in proportion to its weight, until an account is full; the flows on it keep what
// they have and the others go on. With bytes for weights, flows that share the tightest account end together, and none
// of them could be faster without one of the others being slower. A flow that nothing limits gets math.Inf(1).
func MaxMin(demands []Demand, capacities []float64) []float64 {
	rates := make([]float64, len(demands))
	left := append([]float64(nil), capacities...)
	weight := make([]float64, len(capacities)) // of the flows on an account that still grow
	users := make([][]int, len(capacities))
	growing := make([]bool, len(demands))
	for i, d := range demands {
		growing[i] = true
		for _, a := range d.Accounts {
			weight[a] += d.Weight
			users[a] = append(users[a], i)
		}
	}
	level := 0.0 // rate per weight that growing flows have reached
	at := make([]float64, len(capacities))
	counts := make([]int, len(capacities))
	for a := range users {
		counts[a] = len(users[a])
	}
	for {
		full, next := -1, math.Inf(1)
		for a := range capacities {
			if counts[a] == 0 || math.IsInf(left[a], 1) {
				continue
			}
			// Since the level at[a] the growing flows on a took weight[a] for each further step of the level.
			if l := at[a] + max(0, left[a])/weight[a]; l < next {
				full, next = a, l
			}
		}
		if full < 0 {
			break
		}
		level = max(level, next)
		var touched []int
		for _, i := range users[full] {
			if !growing[i] {
				continue
			}
			growing[i] = false
			rates[i] = level * demands[i].Weight
			for _, a := range demands[i].Accounts {
				if at[a] != level {
					left[a] -= (level - at[a]) * weight[a]
					at[a] = level
				}
				counts[a]--
				touched = append(touched, a)
			}
		}
		// Summed afresh: taking a large weight off would leave only its rounding error of a small one.
		slices.Sort(touched)
		for _, a := range slices.Compact(touched) {
			weight[a] = 0
			for _, i := range users[a] {
				if growing[i] {
					weight[a] += demands[i].Weight
				}
			}
		}
	}
	for i := range rates {
		if growing[i] {
			rates[i] = math.Inf(1)
		}
	}
	return rates
}
