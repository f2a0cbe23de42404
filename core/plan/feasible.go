// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan/fluid"
)

// feasible looks at all classes at once, where one after the other found too little room. It says how much of each
// class each node should take for everything to find a place, or which cut is too narrow.
func (p *planner) feasible() (most []map[int]core.Size, err error) {
	room := make([]float64, len(p.Snapshot.Nodes))
	for i, n := range p.Snapshot.Nodes {
		room[i] = min(float64(n.Free), float64(p.quotaLeft[i]), float64(bytesIn(p.arrive[i], p.tcap)))
	}
	asks := make([]fluid.Ask, len(p.Classes))
	for c := range p.Classes {
		lacking := p.lacking(c)
		if lacking == 0 || p.sizes[c] == 0 {
			continue
		}
		_, zones := p.zoneLimits(c)
		asks[c] = fluid.Ask{Bytes: float64(lacking) * float64(p.sizes[c]), Each: float64(p.sizes[c]), Zones: zones,
			ZoneOf: p.zoneOf, Nodes: slices.DeleteFunc(slices.Clone(p.usable), func(i int) bool {
				return slices.Contains(p.held[c], i)
			})}
	}
	shares, missing, full := p.net.Seat(asks, room)
	if full != "" {
		return nil, core.WithHint(core.Fail(core.CodeRedundant,
			"%s of copies find no place, whoever takes which: %s is full", core.Size(missing), full),
			"free space, add a node, or ask for %s", p.fewer())
	}
	most = make([]map[int]core.Size, len(p.Classes))
	for c, share := range shares {
		if share != nil {
			most[c] = map[int]core.Size{}
		}
		for i, bytes := range share {
			most[c][i] = core.Size(bytes)
		}
	}
	return most, nil
}
