// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
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
		others := slices.DeleteFunc(slices.Clone(p.usable), func(i int) bool { return slices.Contains(p.held[c], i) })
		if err := p.noNodes(c, others, room); err != nil {
			return nil, err
		}
		asks[c] = fluid.Ask{Bytes: float64(lacking) * float64(p.sizes[c]), Each: float64(p.sizes[c]), Zones: zones,
			ZoneOf: p.zoneOf, Nodes: others}
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

// noNodes says so where copies of a class lack nodes, whatever room those have that have some: one that is to keep
// nothing, and one that keeps a copy already, are none.
func (p *planner) noNodes(c int, others []int, room []float64) error {
	some := 0
	for _, i := range others {
		if room[i] > 0 {
			some++
		}
	}
	lacking := p.lacking(c)
	if some >= lacking {
		return nil
	}
	there := fmt.Sprintf("there %s %d", fluid.Plural(some, "is", "are"), some)
	if some == 0 {
		there = "there is none"
	}
	return core.WithHint(core.Fail(core.CodeRedundant,
		"%s of copies find no place: they need %d more %s that %s room, and %s",
		p.sizes[c]*core.Size(lacking-some), lacking, fluid.Plural(lacking, "node", "nodes"), fluid.Plural(lacking, "has", "have"), there),
		"add a node, free space, or ask for %s", p.fewer())
}
