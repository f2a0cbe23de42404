// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"slices"
	"strings"

	"github.com/bkp-tool/bkp/core"
)

// Voice is one of several strategies that price the same candidates.
type Voice struct {
	Info   core.StrategyInfo
	Scores core.Scores
	Weight float64 // of its costs in the sum; 1 where they count alike
}

// Combine makes one answer of several, each of which CheckScores found good: a node is allowed if all allow it; of caps
// and spreads the smallest holds, and of redundancies the largest; the first objective that one names holds; costs are
// brought to a common unit, the mean of their column, and summed by the voices' weights; weights multiply. Voices
// without an opinion on a column do not count in it.
func Combine(voices []Voice) (info core.StrategyInfo, scores core.Scores) {
	info.Deterministic = true
	var names, versions, sayings []string
	for _, v := range voices {
		names = append(names, v.Info.Name)
		versions = append(versions, v.Info.Name+" "+v.Info.Version)
		sayings = append(sayings, v.Info.Summary)
		info.Needs = append(info.Needs, v.Info.Needs...)
		info.Deterministic = info.Deterministic && v.Info.Deterministic
		info.OwnsFirstHolder = info.OwnsFirstHolder || v.Info.OwnsFirstHolder
		scores.Allow = merge(scores.Allow, v.Scores.Allow, func(a, b bool) bool { return a && b })
		scores.QuotaCap = merge(scores.QuotaCap, v.Scores.QuotaCap, func(a, b core.Size) core.Size { return min(a, b) })
		scores.PlaceCost = merge(scores.PlaceCost, common(v.Scores.PlaceCost, v.Weight),
			func(a, b float64) float64 { return a + b })
		scores.TargetWeight = merge(scores.TargetWeight, common(v.Scores.TargetWeight, 1), times)
		scores.Explain = merge(scores.Explain, v.Scores.Explain, join)
		if r := v.Scores.Redundancy; r.Replicas > scores.Redundancy.Replicas {
			scores.Redundancy = r
		}
		scores.Objective = cmp.Or(scores.Objective, v.Scores.Objective)
		if s := v.Scores.Spread; s.Level != "" && (scores.Spread.Level == "" || s.Max < scores.Spread.Max) {
			scores.Spread = s
		}
	}
	for _, v := range voices { // where some own the first holders, only they have a say in them
		if v.Info.OwnsFirstHolder == info.OwnsFirstHolder {
			scores.FirstHolderWeight = merge(scores.FirstHolderWeight, common(v.Scores.FirstHolderWeight, 1), times)
		}
	}
	slices.Sort(info.Needs)
	info.Needs = slices.Compact(info.Needs)
	info.Name, info.Version, info.Summary = strings.Join(names, ","), strings.Join(versions, ", "),
		strings.Join(sayings, "; ")
	return info, scores
}

func times(a, b float64) float64 { return a * b }

func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "; " + b
}

// merge is a column made of two, either of which may be empty.
func merge[T any](a, b []T, both func(T, T) T) []T {
	switch {
	case len(b) == 0:
		return a
	case len(a) == 0:
		return slices.Clone(b)
	}
	for i := range a {
		a[i] = both(a[i], b[i])
	}
	return a
}

// common brings a column to a mean of weight, so that columns in seconds and in money can be added, and products stay
// finite.
func common(column []float64, weight float64) []float64 {
	mean := 0.0
	for _, v := range column {
		mean += v / float64(len(column)) // divided first: the sum of large ones must not overflow
	}
	if mean == 0 {
		return column
	}
	out := make([]float64, len(column))
	for i, v := range column {
		out[i] = v / mean * weight
	}
	return out
}
