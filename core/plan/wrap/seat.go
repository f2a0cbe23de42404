// SPDX-License-Identifier: Apache-2.0

package wrap

import (
	"cmp"
	"slices"

	"github.com/bkp-tool/bkp/core"
)

// Seat is a node's place at the circle.
type Seat struct {
	Node   int
	Zone   string
	Order  uint64    // in which the nodes of a zone sit
	Cap    core.Size // bytes that it can keep of this class
	Cost   float64   // per byte
	Weight float64   // how quotas are weighed where costs do not decide
	Quota  float64   // bytes that it should keep
}

// Assign walks the circle; where the runs left over find no place, it walks again with caps of whole runs, which wastes
// more space but leaves nothing over if it can be done at all. zoneMax is how many copies a zone may take, and zoneCap
// those in bytes.
func (c *Circle) Assign(seats []Seat, zoneMax map[string]int, zoneCap map[string]float64) ([]Arc, bool) {
	around := slices.SortedFunc(slices.Values(seats), func(a, b Seat) int {
		return cmp.Or(cmp.Compare(a.Zone, b.Zone), cmp.Compare(a.Order, b.Order), cmp.Compare(a.Node, b.Node))
	})
	arcs, stop := c.walk(around, zoneMax)
	if arcs, ok := c.patch(arcs, stop, around, zoneMax); ok {
		return arcs, true
	}
	largest := core.Size(1)
	for i := range c.Runs() {
		largest = max(largest, c.Size(i))
	}
	whole := slices.Clone(seats)
	for k := range whole {
		if whole[k].Cap < c.Bytes() {
			whole[k].Cap -= whole[k].Cap % largest
		}
	}
	if SetQuotas(whole, float64(c.At(c.End())), zoneCap) > 0 {
		return nil, false
	}
	quotas := map[int]float64{}
	for _, s := range whole {
		quotas[s.Node] = s.Quota
	}
	for k := range around {
		around[k].Quota = quotas[around[k].Node]
	}
	arcs, stop = c.walk(around, zoneMax)
	return c.patch(arcs, stop, around, zoneMax)
}
