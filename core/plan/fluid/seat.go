// SPDX-License-Identifier: Apache-2.0

package fluid

import "math"

// Ask is a class of runs that wants room: Bytes of copies in all, at most Each on one node.
type Ask struct {
	Bytes, Each float64
	Nodes       []int              // who may keep some
	Zones       map[string]float64 // what a zone may keep, where that is limited
	ZoneOf      func(node int) string
}

// Seat finds room for all asks at once, by a flow from classes through zones to nodes: how much of each class each node
// should take, or what is missing and which cut is too narrow. room is by node.
func (n *Network) Seat(asks []Ask, room []float64) (most []map[int]float64, missing float64, full string) {
	g := &pipes{net: n}
	g.sink, g.source = g.vertex(), g.vertex()
	nodes, need := map[int]int{}, 0.0
	for c, ask := range asks {
		need += ask.Bytes
		class, zones := g.vertex(), map[string]int{}
		g.arc(g.source, class, ask.Bytes, 0, pipe{})
		for _, i := range ask.Nodes {
			if _, ok := nodes[i]; !ok {
				nodes[i] = g.vertex()
				g.arc(nodes[i], g.sink, room[i], 0, pipe{kind: ofStore, node: i})
			}
			z := ask.ZoneOf(i)
			if _, ok := zones[z]; !ok {
				limit, limited := ask.Zones[z]
				if !limited {
					limit = forever
				}
				zones[z] = g.vertex()
				g.arc(class, zones[z], limit, 0, pipe{kind: ofZone, name: ZoneName(z)})
			}
			g.arc(zones[z], nodes[i], ask.Each, 0, pipe{kind: ofShare, node: i, part: c})
		}
	}
	if got := g.flow(0); got < need*(1-1e-12)-1 {
		_, _, cut := g.cut()
		return nil, math.Ceil(need - got), g.names(cut)
	}
	most = make([]map[int]float64, len(asks))
	for k := 0; k < len(g.arcs); k += 2 {
		if a := g.arcs[k].pipe; a.kind == ofShare {
			if most[a.part] == nil {
				most[a.part] = map[int]float64{}
			}
			most[a.part][a.node] = math.Round(g.arcs[k+1].left)
		}
	}
	return most, 0, ""
}

// Arrivals is the payload rate at which anything from the source can reach each node but itself, over whatever ways.
func (n *Network) Arrivals() []float64 {
	p := n.pipes()
	rates := make([]float64, len(n.Nodes))
	for i := range rates {
		if i != n.Source {
			p.drain(forever, i)
			rates[i] = p.rate()
		}
	}
	return rates
}
