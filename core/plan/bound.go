// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan/fluid"
)

// demand is what has to be carried, as the bound sees it.
type demand struct {
	nodes  []int       // who may get copies
	room   []core.Size // of each: the new bytes that it could keep
	first  float64     // bytes that only the source has, and must send at least once
	copies float64     // bytes of all new copies together
	resend float64     // how many times a node may send on what it gets: replicas − 1
	extra  []float64   // of each: bytes that it could send because it keeps them already
	spread float64     // new copies of a run, at most
	moved  bool        // some runs have holders beside the source
	zone   float64     // bytes that one zone may keep, infinite where copies are not spread
}

// The things that take time. Each alone gives a lower bound; the largest is the bound.
const (
	bySource   = iota // what only the source has must leave it
	byReceive         // the copies must arrive somewhere with room for them
	bySendings        // every copy is sent by somebody, who has it
	byTrunks          // what finds no room in the source's zone must leave it
	ways
)

// meets reports whether time t is enough for one of them.
func (d *demand) meets(n *fluid.Network, way int, t float64) bool {
	const tolerance = 1 - 1e-9
	var sum float64
	switch way {
	case bySource:
		return fluid.Within(n.Out[n.Source], t) >= d.first*tolerance
	case byReceive:
		zones := map[string]float64{}
		for i, node := range d.nodes {
			got := min(float64(d.room[i]), fluid.Within(n.In[node], t))
			if sum += got; !math.IsInf(d.zone, 1) {
				zones[n.ZoneOf(node)] += got
			}
		}
		for _, zone := range slices.Sorted(maps.Keys(zones)) { // in order: sums of floats depend on it
			sum -= max(0, zones[zone]-d.zone)
		}
	case bySendings:
		sum = fluid.Within(n.Out[n.Source], t)
		for i, node := range d.nodes {
			got := min(float64(d.room[i]), fluid.Within(n.In[node], t))
			sum += min(fluid.Within(n.Out[node], t), d.resend*got+d.extra[i])
		}
	case byTrunks:
		return d.leaves(n, t, tolerance)
	}
	return sum >= d.copies*tolerance
}

// leaves reports whether the trunks out of the source's zone can carry in time t what must leave it: copies that find
// no room at home stand elsewhere, and each run of them crosses once, however many copies of it there are on the other
// side.
func (d *demand) leaves(n *fluid.Network, t, tolerance float64) bool {
	home := n.Nodes[n.Source].Zone
	rate, inside, away, beyond := 0.0, 0.0, 0.0, map[string]bool{}
	for i, node := range d.nodes {
		switch zone := n.Nodes[node].Zone; {
		case zone == home:
			inside += min(float64(d.room[i]), fluid.Within(n.In[node], t))
		default:
			away++
			beyond[zone] = true
		}
	}
	for _, zone := range slices.Sorted(maps.Keys(beyond)) {
		trunk, ok := n.TrunkBetween(home, zone)
		if !ok {
			return true
		}
		rate += trunk
	}
	if away == 0 || d.moved || home == "" {
		return true
	}
	leaving := (d.copies - min(inside, d.zone)) / min(away, d.spread)
	if d.zone < d.copies { // of every run, at least one copy stands elsewhere
		leaving = max(leaving, d.first)
	}
	return fluid.Within(rate, t) >= leaving*tolerance
}

// bound is the least time in which d can be carried whatever the plan, and what sets it. Space must suffice for d.
func (d *demand) bound(n *fluid.Network) (seconds float64, binding string) {
	enough := func(t float64) bool {
		for way := range ways {
			if !d.meets(n, way, t) {
				return false
			}
		}
		return true
	}
	if d.copies == 0 {
		return 0, "nothing (no run has to travel)"
	}
	if enough(0) {
		return 0, "nothing (no bandwidth limits it)"
	}
	low, high := 0.0, 1.0
	for !enough(high) {
		if low, high = high, 2*high; high > 1e18 {
			return math.Inf(1), "space"
		}
	}
	for range 100 {
		if mid := (low + high) / 2; enough(mid) {
			high = mid
		} else {
			low = mid
		}
	}
	for way := range ways {
		if !d.meets(n, way, high*(1-1e-6)) {
			return high, d.bindingOf(n, way, high)
		}
	}
	return high, "all together"
}

func (d *demand) bindingOf(n *fluid.Network, way int, t float64) string {
	switch way {
	case bySource:
		if n.Out[n.Source] < n.Up[n.Source] {
			return "links of the source"
		}
		return "source uplink"
	case byReceive:
		var sides, links []int
		for i, node := range d.nodes {
			switch {
			case fluid.Within(n.In[node], t) >= float64(d.room[i])*(1+1e-6):
			case n.In[node] < n.Down[node]:
				links = append(links, node)
			default:
				sides = append(sides, node)
			}
		}
		switch {
		case len(links) == 0 && len(sides) == 1:
			return "downlink " + n.NamesOf(sides)
		case len(links) == 0:
			return "downlinks " + n.NamesOf(sides)
		}
		both := slices.Concat(sides, links)
		slices.Sort(both)
		return "links to " + n.NamesOf(both)
	}
	if way == byTrunks {
		return "trunk out of zone " + n.Nodes[n.Source].Zone
	}
	var weak []int
	for _, node := range d.nodes {
		if !math.IsInf(n.Out[node], 1) {
			weak = append(weak, node)
		}
	}
	return fmt.Sprintf("uplinks %s", n.NamesOf(append([]int{n.Source}, weak...)))
}
