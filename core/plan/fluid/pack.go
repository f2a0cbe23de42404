// SPDX-License-Identifier: Apache-2.0

package fluid

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/bkp-tool/bkp/core"
)

// Packing is how a broadcast can go over many trees at once: each carries a part of the file, and none of the network's
// capacities is passed. Rates are payload bytes a second.
type Packing struct {
	Rate   float64   // of all trees together: the file is everywhere after Size/Rate
	Most   float64   // no packing has a higher rate, by duality; +Inf where that is not known
	Links  []Carried // for each byte of the file, how much goes over which link
	Relays []int     // nodes that pass on and are no targets
	Rounds int

	binding string // what the bound's prices are paid for, dearest first
}

// Packing stops within closeEnough of the best, or after MostRounds rounds.
const (
	closeEnough = 1.02
	MostRounds  = 20000
	mostWays    = 3e6 // ways looked at in all rounds: about a second
	exactRelays = 5   // up to so many relays, every set of them is tried for the cheapest tree
)

// Pack packs trees by multiplicative weights (Plotkin, Shmoys, Tardos 1991; Garg, Könemann 1998): whatever has a
// capacity has a price, at first a tiny one. Each round takes the cheapest tree to all targets and sends through it
// what its narrowest place holds, and raises the price of everything that it uses by the part of its capacity that was
// taken. Scaled down to what fits, the trees are a packing; and since no tree is cheaper than the cheapest, the price
// of the whole network over that of the cheapest tree is a bound on every packing.
//
// Which tree to the targets alone is cheapest is hard where relays may help (Steiner's problem): with few relays all
// sets of them are tried, with more, trees are good ones and the bound is that of cuts.
func Pack(s core.Snapshot, g Goal) (Packing, error) {
	net, err := NewNetwork(s)
	if err == nil {
		err = g.check(net)
	}
	if err == nil && g.Mode != Broadcast {
		err = fmt.Errorf("goal: trees carry a broadcast, not %s", g.Mode)
	}
	if err != nil {
		return Packing{}, err
	}
	b := net.cutBroadcast(g)
	if math.IsInf(b.Seconds, 1) {
		return Packing{}, nil
	}
	return net.pack(g, float64(g.Size)/b.Seconds), nil
}

// pack stops once the rate is within closeEnough of one that is a bound, of which one is known.
func (n *Network) pack(g Goal, known float64) (out Packing) {
	p := newPacker(n, g)
	out.Most = known
	rounds := min(MostRounds, int(mostWays)/(1+len(p.ways)*p.trials()))
	for out.Rounds = 0; out.Rounds < rounds; out.Rounds++ {
		tree, cost := p.cheapest()
		if tree == nil {
			return Packing{}
		}
		if most := p.worth() / cost; p.exact && cost > 0 && most < out.Most {
			out.Most, out.binding = most, p.dearest()
		}
		if !p.send(tree) {
			return Packing{Rate: math.Inf(1), Most: math.Inf(1)} // nothing limits it
		}
		if out.Rate = p.sent / p.overload(); out.Rate*closeEnough >= out.Most {
			break
		}
	}
	p.links(&out)
	return out
}

// packer holds prices and what was sent. Resources are uplinks, downlinks, links and trunks that have a limit.
type packer struct {
	net     *Network
	targets []int
	relays  []int
	exact   bool
	ways    []Way
	uses    [][]int // by way: its resources
	cap     []float64
	name    []string
	price   []float64
	load    []float64
	carried []float64 // by way
	sent    float64
}

// step is by how much a place that was filled once gets dearer.
const step = 0.1

func newPacker(n *Network, g Goal) *packer {
	p := &packer{net: n}
	resource := func(rate float64, name string) int {
		if math.IsInf(rate, 1) {
			return -1
		}
		p.cap, p.name = append(p.cap, rate), append(p.name, name)
		return len(p.cap) - 1
	}
	ups, downs, trunks := make([]int, len(n.Nodes)), make([]int, len(n.Nodes)), map[[2]string]int{}
	for i := range n.Nodes {
		ups[i], downs[i] = resource(n.Up[i], "uplink "+n.NameOf(i)), resource(n.Down[i], "downlink "+n.NameOf(i))
		if i != n.Source && slices.Contains(g.Targets, i) {
			p.targets = append(p.targets, i)
		} else if i != n.Source && n.fanout(i) > 0 {
			p.relays = append(p.relays, i)
		}
	}
	p.exact = len(p.relays) <= exactRelays
	for i := range n.Nodes {
		for j := range n.Nodes {
			rate, ok := n.Link(i, j)
			if !ok || j == n.Source {
				continue
			}
			uses := []int{ups[i], downs[j], resource(rate, "link "+n.NameOf(i)+">"+n.NameOf(j))}
			if name, limit, crosses := n.Trunk(i, j); crosses {
				if _, known := trunks[name]; !known {
					trunks[name] = resource(limit, "trunk "+name[0]+">"+name[1])
				}
				uses = append(uses, trunks[name])
			}
			p.ways = append(p.ways, Way{From: i, To: j, Name: len(p.ways)})
			p.uses = append(p.uses, slices.DeleteFunc(uses, func(r int) bool { return r < 0 }))
		}
	}
	p.load, p.carried = make([]float64, len(p.cap)), make([]float64, len(p.ways))
	for _, c := range p.cap {
		p.price = append(p.price, 1/c)
	}
	return p
}

// trials is how many trees a round looks at.
func (p *packer) trials() int {
	if p.exact {
		return 1 << len(p.relays)
	}
	return len(p.targets)
}

// dearest names the places that cost most in the present prices.
func (p *packer) dearest() string {
	all := p.worth()
	order := make([]int, len(p.cap))
	for r := range order {
		order[r] = r
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(p.cap[b]*p.price[b], p.cap[a]*p.price[a]) })
	var names []string
	for _, r := range order {
		if p.cap[r]*p.price[r] < all/20 || len(names) == 5 {
			break
		}
		names = append(names, p.name[r])
	}
	if len(names) == 0 {
		return "trees over the whole network"
	}
	return "trees over " + strings.Join(names, ", ")
}

func (p *packer) worth() (sum float64) {
	for r, c := range p.cap {
		sum += c * p.price[r]
	}
	return sum
}

// cheapest is the cheapest tree to all targets, as ways, and its price.
func (p *packer) cheapest() (tree []int, cost float64) {
	for k := range p.ways {
		p.ways[k].Cost = 0
		for _, r := range p.uses[k] {
			p.ways[k].Cost += p.price[r]
		}
	}
	if !p.exact {
		return p.grow()
	}
	cost = math.Inf(1)
	for chosen := range 1 << len(p.relays) {
		t := p.over(chosen)
		if c := p.costOf(t); t != nil && c < cost {
			tree, cost = t, c
		}
	}
	return tree, cost
}

// over is the cheapest tree to the targets and those relays whose bits are set.
func (p *packer) over(chosen int) []int {
	number := make([]int, len(p.net.Nodes))
	for i := range number {
		number[i] = -1
	}
	count := 0
	add := func(i int) { number[i] = count; count++ }
	add(p.net.Source)
	for _, t := range p.targets {
		add(t)
	}
	for b, r := range p.relays {
		if chosen&(1<<b) != 0 {
			add(r)
		}
	}
	var ways []Way
	for k, w := range p.ways {
		if a, b := number[w.From], number[w.To]; a >= 0 && b >= 0 {
			ways = append(ways, Way{a, b, w.Cost, k})
		}
	}
	return arborescence(count, 0, ways)
}

func (p *packer) costOf(tree []int) (sum float64) {
	for _, k := range tree {
		sum += p.ways[k].Cost
	}
	return sum
}

// grow reaches one target after the other by the shortest way from what is reached already (Takahashi, Matsuyama 1980).
func (p *packer) grow() (tree []int, cost float64) {
	reached := map[int]bool{p.net.Source: true}
	for left := slices.Clone(p.targets); len(left) > 0; {
		ways := slices.Clone(p.ways)
		for k := range ways {
			if reached[ways[k].To] {
				ways[k].Cost = math.Inf(1)
			}
			if reached[ways[k].From] {
				ways[k].From = p.net.Source
			}
		}
		distance, by := Paths(len(p.net.Nodes), p.net.Source, ways)
		next := slices.MinFunc(left, func(a, b int) int {
			switch {
			case distance[a] < distance[b]:
				return -1
			case distance[a] > distance[b]:
				return 1
			}
			return a - b
		})
		if math.IsInf(distance[next], 1) {
			return nil, 0
		}
		for v := next; !reached[v]; {
			k := by[v]
			tree = append(tree, k)
			reached[v] = true
			v = p.ways[k].From
		}
		left = slices.DeleteFunc(left, func(t int) bool { return reached[t] })
	}
	return tree, p.costOf(tree)
}

// send fills the tree as far as its narrowest place goes, and raises prices. False where nothing limits it.
func (p *packer) send(tree []int) bool {
	times := map[int]float64{}
	for _, k := range tree {
		for _, r := range p.uses[k] {
			times[r]++
		}
	}
	amount := math.Inf(1)
	for r, t := range times {
		amount = min(amount, p.cap[r]/t)
	}
	if math.IsInf(amount, 1) {
		return false
	}
	high := 0.0
	for r, t := range times {
		p.load[r] += amount * t
		p.price[r] *= 1 + step*amount*t/p.cap[r]
		high = max(high, p.price[r])
	}
	for r := range p.price {
		if high > 1e100 { // only how prices compare matters
			p.price[r] /= 1e100
		}
	}
	for _, k := range tree {
		p.carried[k] += amount
	}
	p.sent += amount
	return true
}

// overload is by how much the fullest place is over its capacity.
func (p *packer) overload() (most float64) {
	for r, c := range p.cap {
		most = max(most, p.load[r]/c)
	}
	return most
}

func (p *packer) links(out *Packing) {
	for k, w := range p.ways {
		if part := p.carried[k] / p.sent; part > 0 {
			out.Links = append(out.Links, Carried{w.From, w.To, part})
			if slices.Contains(p.relays, w.From) && !slices.Contains(out.Relays, w.From) {
				out.Relays = append(out.Relays, w.From)
			}
		}
	}
}
