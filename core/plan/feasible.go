// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"math"
	"slices"

	"github.com/bkp-tool/bkp/core"
)

// feasible looks at all classes at once, where one after the other found too little room: a flow from classes through
// zones to nodes. It says how much of each class each node should take for everything to find a place, or which cut is
// too narrow.
func (p *planner) feasible() (most []map[int]core.Size, err error) {
	g := &pipes{net: p.net}
	g.sink = g.vertex()
	g.source = g.vertex()
	nodes := map[int]int{}
	for _, i := range p.usable {
		nodes[i] = g.vertex()
		room := min(float64(p.Snapshot.Nodes[i].Free), float64(p.quotaLeft[i]), float64(bytesIn(p.arrive[i], p.tcap)))
		g.arc(nodes[i], g.sink, room, 0, pipe{kind: ofStore, node: i})
	}
	need := 0.0
	for c := range p.Classes {
		lacking := p.Replicas - len(p.held[c])
		if lacking == 0 || p.sizes[c] == 0 {
			continue
		}
		need += float64(lacking) * float64(p.sizes[c])
		class := g.vertex()
		g.arc(g.source, class, float64(lacking)*float64(p.sizes[c]), 0, pipe{})
		_, limits := p.zoneLimits(c)
		zones := map[string]int{}
		for _, i := range p.usable {
			if slices.Contains(p.held[c], i) {
				continue
			}
			z := p.zoneOf(i)
			if _, ok := zones[z]; !ok {
				limit, limited := limits[z]
				if !limited {
					limit = forever
				}
				zones[z] = g.vertex()
				g.arc(class, zones[z], limit, 0, pipe{kind: ofZone, name: zoneName(z)})
			}
			g.arc(zones[z], nodes[i], float64(p.sizes[c]), 0, pipe{kind: ofShare, node: i, part: c})
		}
	}
	if got := g.flow(0); got < need*(1-1e-12)-1 {
		_, _, cut := g.cut()
		return nil, core.WithHint(core.Fail(core.CodeRedundant,
			"%s of copies find no place, whoever takes which: %s is full", core.Size(math.Ceil(need-got)),
			g.names(cut)),
			"free space, add a node, or ask for fewer copies with --replicas")
	}
	most = make([]map[int]core.Size, len(p.Classes))
	for k := 0; k < len(g.arcs); k += 2 {
		if a := g.arcs[k].pipe; a.kind == ofShare {
			if most[a.part] == nil {
				most[a.part] = map[int]core.Size{}
			}
			most[a.part][a.node] = core.Size(math.Round(g.arcs[k+1].left))
		}
	}
	return most, nil
}
