// SPDX-License-Identifier: Apache-2.0

package fluid

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
)

// forever is a capacity that never binds, and still can be added up.
const forever = 1e18

// pipes is a network as a graph for max-flow whose capacities grow with time: an arc carries fixed + rate·T bytes
// within T seconds. A node is three vertices in a row, so that what passes through it takes from its down side and from
// its up side. On a mesh without caps on single links all links of a zone pass one vertex, which keeps the graph small.
type pipes struct {
	heads  [][]int // by vertex: indexes into arcs; arc k^1 is the reverse of k
	arcs   []flowArc
	node   []int // the middle vertex of each node
	source int
	sink   int
	drains []int // the arcs of drain
	net    *Network
	level  []int
	next   []int
}

type flowArc struct {
	to          int
	fixed, rate float64
	left        float64 // at the T under consideration
	pipe        pipe
}

// pipe says what an arc stands for, to name a cut.
type pipe struct {
	kind pipeKind
	node int
	to   int
	part int
	name string

	second bool // of a link through a trunk, the half beyond it
}

type pipeKind int

const (
	ofNothing pipeKind = iota
	ofUp
	ofDown
	ofLink
	ofTrunk
	ofStore
	ofZone
	ofPart
	ofShare
)

func (p *pipes) vertex() int {
	p.heads = append(p.heads, nil)
	return len(p.heads) - 1
}

func (p *pipes) arc(from, to int, fixed, rate float64, what pipe) {
	if math.IsInf(rate, 1) {
		fixed, rate = forever, 0
	}
	p.heads[from] = append(p.heads[from], len(p.arcs))
	p.heads[to] = append(p.heads[to], len(p.arcs)+1)
	p.arcs = append(p.arcs, flowArc{to: to, fixed: fixed, rate: rate, pipe: what}, flowArc{to: from})
}

// pipes builds the graph of the whole network; the source is the snapshot's.
func (n *Network) pipes() *pipes {
	p := &pipes{net: n}
	p.sink = p.vertex()
	var ups, downs []int
	for i := range n.Nodes {
		down, mid, up := p.vertex(), p.vertex(), p.vertex()
		p.arc(down, mid, 0, n.Down[i], pipe{kind: ofDown, node: i})
		p.arc(mid, up, 0, n.Up[i], pipe{kind: ofUp, node: i})
		p.node, ups, downs = append(p.node, mid), append(ups, up), append(downs, down)
	}
	p.source = p.node[n.Source]
	trunks := map[[2]string][2]int{}
	trunk := func(name [2]string, rate float64) [2]int {
		ends, ok := trunks[name]
		if !ok {
			ends = [2]int{p.vertex(), p.vertex()}
			p.arc(ends[0], ends[1], 0, rate, pipe{kind: ofTrunk, name: name[0] + ">" + name[1]})
			trunks[name] = ends
		}
		return ends
	}
	if n.links != nil {
		p.arcs = slices.Grow(p.arcs, 2*len(n.Nodes)*len(n.Nodes))
		for i := range n.Nodes {
			for j := range n.Nodes {
				rate, ok := n.Link(i, j)
				if !ok {
					continue
				}
				from, to := ups[i], downs[j]
				if name, limit, crosses := n.Trunk(i, j); crosses {
					ends := trunk(name, limit)
					middle := ends[0]
					p.arc(from, middle, 0, rate, pipe{kind: ofLink, node: i, to: j})
					p.arc(ends[1], to, 0, rate, pipe{kind: ofLink, node: i, to: j, second: true})
					continue
				}
				p.arc(from, to, 0, rate, pipe{kind: ofLink, node: i, to: j})
			}
		}
		return p
	}
	out, in, zones := map[string]int{}, map[string]int{}, []string{}
	for i, node := range n.Nodes {
		z := node.Zone
		if _, ok := out[z]; !ok {
			zones = append(zones, z)
			out[z], in[z] = p.vertex(), p.vertex()
		}
		p.arc(ups[i], out[z], forever, 0, pipe{})
		p.arc(in[z], downs[i], forever, 0, pipe{})
	}
	free := p.vertex() // joins all pairs of zones without a trunk
	for _, a := range zones {
		whole := true
		for _, b := range zones {
			if _, ok := n.trunks[[2]string{a, b}]; ok {
				whole = false
			}
		}
		if whole {
			p.arc(out[a], free, forever, 0, pipe{})
		}
		for _, b := range zones {
			switch rate, ok := n.trunks[[2]string{a, b}]; {
			case ok:
				ends := trunk([2]string{a, b}, Payload(rate))
				p.arc(out[a], ends[0], forever, 0, pipe{})
				p.arc(ends[1], in[b], forever, 0, pipe{})
			case !whole:
				p.arc(out[a], in[b], forever, 0, pipe{})
			}
		}
		p.arc(free, in[a], forever, 0, pipe{})
	}
	return p
}

// drain has these nodes alone drain to the sink, so many bytes each: one graph answers what is asked of many nodes.
func (p *pipes) drain(most float64, nodes ...int) {
	for _, k := range p.drains {
		p.arcs[k].fixed = 0
	}
	p.drains = p.drains[:0]
	for _, i := range nodes {
		p.drains = append(p.drains, len(p.arcs))
		p.arc(p.node[i], p.sink, most, 0, pipe{})
	}
}

// rate is the flow within a second; infinite where nothing limits it.
func (p *pipes) rate() float64 {
	if rate := p.flow(1); rate < forever/2 {
		return rate
	}
	return math.Inf(1)
}

// stores adds what each node but the source, and each zone, may keep.
func (p *pipes) stores(n *Network, most float64, perZone int) {
	zones := map[string]int{}
	for i := range n.Nodes {
		if i == n.Source {
			continue
		}
		z := n.ZoneOf(i)
		at, ok := zones[z]
		if !ok {
			at = p.vertex()
			zones[z] = at
			limit := forever
			if perZone > 0 {
				limit = float64(perZone) * most
			}
			p.arc(at, p.sink, limit, 0, pipe{kind: ofZone, name: ZoneName(z)})
		}
		p.arc(p.node[i], at, min(most, float64(n.Nodes[i].Free)), 0, pipe{kind: ofStore, node: i})
	}
}

// least is the least time in which demand flows from source to sink, and the cut that sets it: Newton's method on cuts,
// as for every parametric flow (Radzik 1993). Each round finds the smallest cut at T and moves T to where that cut is
// just enough.
func (p *pipes) least(demand float64) (seconds float64, binding string) {
	const tolerance = 1e-11
	binding = "nothing (no bandwidth limits it)"
	for range 200 {
		if p.flow(seconds) >= demand*(1-tolerance) {
			return seconds, binding
		}
		fixed, rate, cut := p.cut()
		binding = p.names(cut)
		if rate <= 0 {
			return math.Inf(1), binding
		}
		next := (demand - fixed) / rate
		if next <= seconds*(1+1e-15) {
			return seconds, binding
		}
		seconds = next
	}
	return seconds, binding
}

// flow is the greatest flow within T seconds, by Dinic's algorithm.
func (p *pipes) flow(t float64) (sum float64) {
	for k := range p.arcs {
		p.arcs[k].left = p.arcs[k].fixed + p.arcs[k].rate*t
	}
	for p.layer() {
		p.next = append(p.next[:0], make([]int, len(p.heads))...)
		for {
			got := p.push(p.source, forever)
			if got <= 0 {
				break
			}
			sum += got
		}
	}
	return sum
}

// tiny is what counts as nothing left of a capacity, in bytes.
const tiny = 1e-6

// layer numbers the vertices by their distance from the source over arcs with something left.
func (p *pipes) layer() bool {
	if p.level == nil {
		p.level = make([]int, len(p.heads))
	}
	for len(p.level) < len(p.heads) {
		p.level = append(p.level, 0)
	}
	for i := range p.level {
		p.level[i] = -1
	}
	p.level[p.source] = 0
	queue := []int{p.source}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		for _, k := range p.heads[at] {
			if a := p.arcs[k]; a.left > tiny && p.level[a.to] < 0 {
				p.level[a.to] = p.level[at] + 1
				queue = append(queue, a.to)
			}
		}
	}
	return p.level[p.sink] >= 0
}

func (p *pipes) push(at int, most float64) float64 {
	if at == p.sink {
		return most
	}
	for ; p.next[at] < len(p.heads[at]); p.next[at]++ {
		k := p.heads[at][p.next[at]]
		a := &p.arcs[k]
		if a.left <= tiny || p.level[a.to] != p.level[at]+1 {
			continue
		}
		if got := p.push(a.to, min(most, a.left)); got > 0 {
			a.left -= got
			p.arcs[k^1].left += got
			return got
		}
	}
	return 0
}

// cut is the smallest cut after flow: what it holds, and how fast that grows.
func (p *pipes) cut() (fixed, rate float64, arcs []int) {
	for at, heads := range p.heads {
		for _, k := range heads {
			if a := p.arcs[k]; k%2 == 0 && p.level[at] >= 0 && p.level[a.to] < 0 {
				fixed, rate = fixed+a.fixed, rate+a.rate
				arcs = append(arcs, k)
			}
		}
	}
	return fixed, rate, arcs
}

// names says what a cut consists of.
func (p *pipes) names(cut []int) string {
	parts := make([]pipe, len(cut))
	for i, k := range cut {
		parts[i] = p.arcs[k].pipe
	}
	return p.net.sentence(parts)
}

// sentence names what binds: "source uplink", "link n2>n3", "downlinks n3, n6 and space of n1".
func (n *Network) sentence(all []pipe) string {
	words := map[pipeKind][]string{}
	for _, w := range all {
		switch w.kind {
		case ofUp, ofDown, ofStore, ofShare:
			words[w.kind] = append(words[w.kind], n.NameOf(w.node))
		case ofLink:
			words[w.kind] = append(words[w.kind], n.NameOf(w.node)+">"+n.NameOf(w.to))
		case ofTrunk, ofZone:
			words[w.kind] = append(words[w.kind], w.name)
		case ofNothing, ofPart: // they limit nothing
		}
	}
	var parts []string
	for _, kind := range []struct {
		pipeKind
		one, many string
	}{{ofUp, "uplink", "uplinks"}, {ofDown, "downlink", "downlinks"}, {ofLink, "link", "links"},
		{ofTrunk, "trunk", "trunks"},
		{ofStore, "space of", "space of"}, {ofZone, "limit of", "limits of"},
		{ofShare, "what is kept by", "what is kept by"}} {
		list := words[kind.pipeKind]
		switch slices.Sort(list); {
		case len(list) == 0:
		case kind.pipeKind == ofUp && len(list) == 1 && list[0] == n.NameOf(n.Source):
			parts = append(parts, "source uplink")
		case len(list) > 5:
			parts = append(parts, fmt.Sprintf("%d %s", len(list), strings.TrimSuffix(kind.many, " of")))
		default:
			parts = append(parts, Plural(len(list), kind.one, kind.many)+" "+strings.Join(list, ", "))
		}
	}
	return cmp.Or(strings.Join(parts, " and "), "nothing (no bandwidth limits it)")
}
