// SPDX-License-Identifier: Apache-2.0

package wrap

import (
	"cmp"
	"math"
	"slices"
)

// SameCost is how far apart two costs may be, relative to the lower, to count as the same: rounding, no more. A
// strategy may well order nodes of one delay by a trifle that their bandwidths make.
const SameCost = 1e-9

// SetQuotas gives out need bytes: to the cheapest nodes first, and among nodes of the same cost in proportion to their
// weights. No node passes its cap and no zone the given one, where there is one. It returns what it could not give out.
func SetQuotas(seats []Seat, need float64, zoneCap map[string]float64) (short float64) {
	order := make([]*Seat, len(seats))
	for i := range seats {
		seats[i].Quota = 0
		order[i] = &seats[i]
	}
	slices.SortStableFunc(order, func(a, b *Seat) int { return cmp.Compare(a.Cost, b.Cost) })
	zoneLeft := map[string]float64{}
	for _, s := range order {
		if cap, ok := zoneCap[s.Zone]; ok {
			zoneLeft[s.Zone] = cap
		} else {
			zoneLeft[s.Zone] = math.Inf(1)
		}
	}
	for len(order) > 0 && need > 0 {
		group := 1
		for group < len(order) && order[group].Cost <= order[0].Cost*(1+SameCost) {
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
func level(group []*Seat, amount float64, zoneLeft map[string]float64) (given float64) {
	for _, weightless := range []bool{false, true} {
		zones, names := map[string][]*Seat{}, []string{}
		for _, s := range group {
			if (s.Weight == 0) != weightless {
				continue
			}
			if zones[s.Zone] == nil {
				names = append(names, s.Zone)
			}
			zones[s.Zone] = append(zones[s.Zone], s)
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
				s.Quota = filled(s, h)
			}
			zoneLeft[z] -= part
			given += part
		}
	}
	return given
}

func filled(s *Seat, height float64) float64 {
	if s.Weight == 0 {
		return min(float64(s.Cap), height)
	}
	return min(float64(s.Cap), height*s.Weight)
}

func poured(group []*Seat, height float64) (sum float64) {
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
