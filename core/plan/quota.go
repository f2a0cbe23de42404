// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"math"
	"slices"
)

// share is a node's part in the quotas of one class.
type share struct {
	node   int
	zone   string
	cap    float64 // bytes that it may take
	cost   float64 // per byte
	weight float64 // how shares are weighed where costs do not decide
	quota  float64 // bytes: the answer
}

// sameCost is how far apart two costs may be, relative to the lower, to count as the same: rounding, no more. A
// strategy may well order nodes of one delay by a trifle that their bandwidths make.
const sameCost = 1e-9

// setQuotas gives out need bytes: to the cheapest nodes first, and among nodes of the same cost in proportion to their
// weights. No node passes its cap and no zone the given one, where there is one. It returns what it could not give out.
func setQuotas(shares []share, need float64, zoneCap map[string]float64) (short float64) {
	order := make([]*share, len(shares))
	for i := range shares {
		shares[i].quota = 0
		order[i] = &shares[i]
	}
	slices.SortStableFunc(order, func(a, b *share) int { return cmp.Compare(a.cost, b.cost) })
	zoneLeft := map[string]float64{}
	for _, s := range order {
		if cap, ok := zoneCap[s.zone]; ok {
			zoneLeft[s.zone] = cap
		} else {
			zoneLeft[s.zone] = math.Inf(1)
		}
	}
	for len(order) > 0 && need > 0 {
		group := 1
		for group < len(order) && order[group].cost <= order[0].cost*(1+sameCost) {
			group++
		}
		given := level(order[:group], need, zoneLeft)
		need -= given
		order = order[group:]
	}
	if need < 0.5 {
		return 0
	}
	return need
}

// level fills nodes like vessels: each as high as its weight, all rising together until amount is poured out or they
// are full. Nodes of weight 0 are filled last, evenly.
func level(group []*share, amount float64, zoneLeft map[string]float64) (given float64) {
	for _, weightless := range []bool{false, true} {
		zones, names := map[string][]*share{}, []string{}
		for _, s := range group {
			if (s.weight == 0) != weightless {
				continue
			}
			if zones[s.zone] == nil {
				names = append(names, s.zone)
			}
			zones[s.zone] = append(zones[s.zone], s)
		}
		height := rise(func(h float64) (sum float64) {
			for _, z := range names {
				sum += min(zoneLeft[z], poured(zones[z], h))
			}
			return sum
		}, amount-given)
		for _, z := range names {
			// A zone at its cap stands lower than the others: it finds its own height.
			part := min(zoneLeft[z], poured(zones[z], height))
			h := rise(func(h float64) float64 { return poured(zones[z], h) }, part)
			for _, s := range zones[z] {
				s.quota = filled(s, h)
			}
			zoneLeft[z] -= part
			given += part
		}
	}
	return given
}

func filled(s *share, height float64) float64 {
	if s.weight == 0 {
		return min(s.cap, height)
	}
	return min(s.cap, height*s.weight)
}

func poured(group []*share, height float64) (sum float64) {
	for _, s := range group {
		sum += filled(s, height)
	}
	return sum
}

// rise is the lowest height at which sum reaches amount, or one at which it grows no more.
func rise(sum func(float64) float64, amount float64) float64 {
	high := 1.0
	for sum(high) < amount {
		if high > 1e30 {
			return math.Inf(1)
		}
		high *= 2
	}
	low := 0.0
	for range 120 {
		if mid := (low + high) / 2; sum(mid) < amount {
			low = mid
		} else {
			high = mid
		}
	}
	return high
}
