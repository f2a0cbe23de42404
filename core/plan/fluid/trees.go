// SPDX-License-Identifier: Apache-2.0

package fluid

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
)

// treePricer brings every run of a class to a number of nodes, along a tree that begins at whoever has it.
type treePricer struct {
	net     *Network
	classes []treeClass
}

// treeClass is runs that come from the same nodes and may go to the same.
type treeClass struct {
	demand int
	roots  []int          // who has them
	copies int            // to be made of each
	may    []int          // who may keep one
	rooms  map[int]int    // what one fills at a node, where that is limited
	zones  map[string]int // copies that a zone may keep, where that is limited
	relays bool           // nodes may pass on what they do not keep
}

// How much a round of pricing may look at, how many ways it brings back, and to how many nodes a tree through whatever
// others is a cheapest one.
const (
	mostSteiner = 9
	mostLooks   = 3e6
	mostTrees   = 8
)

func (t *treePricer) cheapest(p *prices) (ways []Route, floor []float64) {
	for _, c := range t.classes {
		s := &treeSearch{treeClass: c, net: t.net, p: p, d: t.net.distances(p, c.roots)}
		found, least := s.search()
		sortByPrice(p, found)
		ways, floor = append(ways, found...), append(floor, least)
	}
	return ways, floor
}

// treeSearch looks for the cheapest trees of one class at some prices.
type treeSearch struct {
	treeClass
	net  *Network
	p    *prices
	d    *distances
	some []int // of may: those that are looked at
}

// price is that of keeping a copy at a node.
func (s *treeSearch) price(node int) float64 {
	if r, limited := s.rooms[node]; limited {
		return s.p.room[r]
	}
	return 0
}

// step is what it costs to bring a run from one vertex to the next that keeps it.
func (s *treeSearch) step(from, to int) float64 {
	if s.relays {
		return s.d.of(from, to)
	}
	if from != s.d.root() {
		return s.p.link(from, to)
	}
	least := math.Inf(1)
	for _, r := range s.roots {
		least = min(least, s.p.link(r, to))
	}
	return least
}

func (s *treeSearch) search() (ways []Route, floor float64) {
	if s.copies == len(s.may) && len(s.zones) == 0 {
		return s.everywhere()
	}
	whole := s.choose()
	sets := s.sets()
	slices.SortStableFunc(sets, func(a, b pricedSet) int { return cmp.Compare(a.price, b.price) })
	floor = math.Inf(1)
	if len(sets) > 0 {
		floor = sets[0].price
	}
	if !whole {
		floor = min(floor, s.atLeast())
	}
	for _, set := range sets[:min(len(sets), mostTrees)] {
		var nodes []int
		for m := set.nodes; m != 0; m &= m - 1 {
			nodes = append(nodes, s.some[bits.TrailingZeros64(m)])
		}
		ways = append(ways, s.tree(nodes))
	}
	return ways, floor
}

// choose picks the nodes to be looked at, all of them if that is not too much, else those that are cheapest by
// themselves, of every zone some.
func (s *treeSearch) choose() (whole bool) {
	order := slices.DeleteFunc(slices.Clone(s.may), func(i int) bool { return math.IsInf(s.step(s.d.root(), i), 1) && !s.relays })
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Compare(s.d.of(s.d.root(), a)+s.price(a), s.d.of(s.d.root(), b)+s.price(b))
	})
	most := min(len(order), 63)
	for ; most > s.copies && s.looks(most) > mostLooks; most-- {
	}
	if most == len(order) {
		s.some = order
		return true
	}
	taken, zones := make([]bool, len(order)), map[string]int{}
	for _, first := range []bool{true, false} {
		for k, i := range order {
			z := s.net.ZoneOf(i)
			if taken[k] || len(s.some) == most || first && zones[z] >= s.left(z) {
				continue
			}
			taken[k] = true
			zones[z]++
			s.some = append(s.some, i)
		}
	}
	return false
}

// left is how many copies of a run a zone may keep.
func (s *treeSearch) left(zone string) int {
	if most, limited := s.zones[zone]; limited {
		return min(most, s.copies)
	}
	return s.copies
}

// looks is about how many sums sets makes of so many nodes.
func (s *treeSearch) looks(nodes int) (sum float64) {
	sets := 1.0
	for k := 1; k <= s.copies; k++ {
		sets *= float64(nodes-k+1) / float64(k)
		each := float64(int(1)<<min(40, k-1)) * float64(s.d.n)
		if k < s.copies && s.relays {
			each += float64(s.d.n * s.d.n)
		}
		sum += sets * each
	}
	return sum
}

// pricedSet is a set of nodes, as bits, and what it costs to keep a run there.
type pricedSet struct {
	nodes uint64
	price float64
}

// sets prices every set of copies nodes by dynamic programming over its subsets: what it costs to bring a run from any
// vertex to all of them (Dreyfus, Wagner 1971; where only who keeps a run passes it on, over trees on the set itself).
func (s *treeSearch) sets() (out []pricedSet) {
	root := s.d.root()
	from := map[uint64][]float64{} // what it costs from each vertex
	keep := make([]float64, len(s.some))
	for k, i := range s.some {
		keep[k] = s.price(i)
	}
	for size := 1; size <= s.copies; size++ {
		for set := uint64(1)<<size - 1; set < 1<<len(s.some); {
			if s.zoned(set) {
				line := s.line(set, from)
				if size < s.copies {
					from[set] = line
				} else if !math.IsInf(line[root], 1) {
					price := line[root]
					for m := set; m != 0; m &= m - 1 {
						price += keep[bits.TrailingZeros64(m)]
					}
					out = append(out, pricedSet{set, price})
				}
			}
			low := set & -set // the next set of as many (Gosper)
			carry := set + low
			if carry == 0 {
				break
			}
			set = (carry^set)>>2/low | carry
		}
	}
	return out
}

// zoned reports whether no zone has too many of a set.
func (s *treeSearch) zoned(set uint64) bool {
	if len(s.zones) == 0 {
		return true
	}
	for m := set; m != 0; m &= m - 1 {
		z := s.net.ZoneOf(s.some[bits.TrailingZeros64(m)])
		count := 0
		for o := set; o != 0; o &= o - 1 {
			if s.net.ZoneOf(s.some[bits.TrailingZeros64(o)]) == z {
				count++
			}
		}
		if count > s.left(z) {
			return false
		}
	}
	return true
}

// line is what it costs to bring a run to all of a set, from each vertex.
func (s *treeSearch) line(set uint64, from map[uint64][]float64) []float64 {
	n, root := s.d.n, s.d.root()
	low := set & -set
	out := make([]float64, n)
	if !s.relays {
		// at a node of the set: the run is there, and goes on to the others; at the root: to all
		for v := range n {
			out[v] = math.Inf(1)
		}
		for m := set; m != 0; m &= m - 1 {
			at := m & -m
			v := s.some[bits.TrailingZeros64(at)]
			out[v] = s.onward(v, set&^at, at, from)
		}
		out[root] = math.Inf(1)
		for part := set; part != 0; part = (part - 1) & set {
			if part&low == 0 {
				continue
			}
			line := from[part]
			if part == set {
				line = out
			}
			rest := 0.0
			if part != set {
				rest = from[set&^part][root]
			}
			for m := part; m != 0; m &= m - 1 {
				a := s.some[bits.TrailingZeros64(m)]
				out[root] = min(out[root], s.step(root, a)+line[a]+rest)
			}
		}
		return out
	}
	if set == low {
		to := s.some[bits.TrailingZeros64(set)]
		for v := range n {
			out[v] = s.d.of(v, to)
		}
		return out
	}
	branch := make([]float64, n)
	for v := range branch {
		branch[v] = math.Inf(1)
	}
	for part := (set - 1) & set; part != 0; part = (part - 1) & set {
		if part&low == 0 {
			continue
		}
		a, b := from[part], from[set&^part]
		if a == nil || b == nil {
			continue
		}
		for v := range branch {
			branch[v] = min(branch[v], a[v]+b[v])
		}
	}
	if bits.OnesCount64(set) == s.copies {
		out[root] = math.Inf(1)
		for u, c := range branch {
			out[root] = min(out[root], s.d.of(root, u)+c)
		}
		return out
	}
	for v := range n {
		best := math.Inf(1)
		costs := s.d.cost[v*n : (v+1)*n]
		for u, c := range branch {
			best = min(best, costs[u]+c)
		}
		out[v] = best
	}
	return out
}

// onward is what it costs a node that has a run to bring it to the rest of a set, where only who keeps it passes it on.
func (s *treeSearch) onward(v int, rest, at uint64, from map[uint64][]float64) float64 {
	if rest == 0 {
		return 0
	}
	low, best := rest&-rest, math.Inf(1)
	for part := rest; part != 0; part = (part - 1) & rest {
		if part&low == 0 {
			continue
		}
		others := 0.0
		if part != rest {
			others = from[(rest&^part)|at][v]
		}
		line := from[part]
		for m := part; m != 0; m &= m - 1 {
			a := s.some[bits.TrailingZeros64(m)]
			best = min(best, s.p.link(v, a)+line[a]+others)
		}
	}
	return best
}

// to is a way to some nodes, yet without links.
func (s *treeSearch) to(nodes []int) Route {
	w := Route{Demand: s.demand, From: s.roots[0], Keeps: slices.Clone(nodes)}
	for _, i := range nodes {
		if r, limited := s.rooms[i]; limited {
			w.Rooms = append(w.Rooms, r)
		}
	}
	return w
}

// tree is the cheapest one to some nodes.
func (s *treeSearch) tree(nodes []int) Route {
	w := s.to(nodes)
	if s.relays && len(nodes) <= mostSteiner {
		w.Links = s.prune(s.steiner(nodes), nodes)
	} else {
		w.Links = s.prune(s.spanning(nodes), nodes)
	}
	return w
}

// steiner is the links of a cheapest tree through whatever nodes: Dreyfus' and Wagner's algorithm for one set.
func (s *treeSearch) steiner(nodes []int) (links [][2]int) {
	n, all := s.d.n, 1<<len(nodes)-1
	cost := make([][]float64, all+1)   // by set and vertex
	branch := make([][]float64, all+1) // the same, where the way parts right there
	parts := make([][]int, all+1)
	for set := 1; set <= all; set++ {
		cost[set], branch[set], parts[set] = make([]float64, n), make([]float64, n), make([]int, n)
		if set&(set-1) == 0 {
			for v := range n {
				cost[set][v] = s.d.of(v, nodes[bits.TrailingZeros64(uint64(set))])
			}
			continue
		}
		for v := range n {
			branch[set][v] = math.Inf(1)
			for part := (set - 1) & set; part > set/2-1 && part != 0; part = (part - 1) & set {
				if c := cost[part][v] + cost[set&^part][v]; c < branch[set][v] {
					branch[set][v], parts[set][v] = c, part
				}
			}
		}
		for v := range n {
			cost[set][v] = math.Inf(1)
			for u := range n {
				cost[set][v] = min(cost[set][v], s.d.of(v, u)+branch[set][u])
			}
		}
	}
	var walk func(set, v int)
	walk = func(set, v int) {
		if set&(set-1) == 0 {
			links = append(links, s.d.links(v, nodes[bits.TrailingZeros64(uint64(set))])...)
			return
		}
		at := -1
		for u := range n {
			if at < 0 || s.d.of(v, u)+branch[set][u] < s.d.of(v, at)+branch[set][at] {
				at = u
			}
		}
		links = append(links, s.d.links(v, at)...)
		walk(parts[set][at], at)
		walk(set&^parts[set][at], at)
	}
	walk(all, s.d.root())
	return links
}

// spanning is the links of a cheapest tree on just these nodes, and with relays the ways between them.
func (s *treeSearch) spanning(nodes []int) (links [][2]int) {
	if !s.relays {
		return s.direct(nodes)
	}
	for _, l := range s.arborescence(nodes, s.d.of) {
		links = append(links, s.d.links(l[0], l[1])...)
	}
	return links
}

// direct is the links of a cheapest tree on just these nodes.
func (s *treeSearch) direct(nodes []int) (links [][2]int) {
	first := func(to int) int {
		best := s.roots[0]
		for _, r := range s.roots {
			if s.p.link(r, to) < s.p.link(best, to) {
				best = r
			}
		}
		return best
	}
	links = s.arborescence(nodes, func(from, to int) float64 {
		if from == s.d.root() {
			from = first(to)
		}
		return s.p.link(from, to)
	})
	for k, l := range links {
		if l[0] == s.d.root() {
			links[k][0] = first(l[1])
		}
	}
	return links
}

// arborescence is the pairs of a cheapest tree from the root to some nodes.
func (s *treeSearch) arborescence(nodes []int, cost func(from, to int) float64) (pairs [][2]int) {
	vertices := append([]int{s.d.root()}, nodes...)
	var ways []Way
	for a, from := range vertices {
		for b, to := range nodes {
			if c := cost(from, to); from != to && !math.IsInf(c, 1) {
				ways = append(ways, Way{From: a, To: b + 1, Cost: c, Name: len(ways)})
			}
		}
	}
	for _, k := range arborescence(len(vertices), 0, ways) {
		pairs = append(pairs, [2]int{vertices[ways[k].From], vertices[ways[k].To]})
	}
	return pairs
}

// prune makes a tree of links that lead to all nodes: each vertex is entered once, and every end is one of the nodes.
func (s *treeSearch) prune(links [][2]int, nodes []int) (tree [][2]int) {
	before := map[int]int{}
	reached := map[int]bool{}
	queue := slices.Clone(s.roots)
	for _, r := range queue {
		reached[r] = true
	}
	for ; len(queue) > 0; queue = queue[1:] {
		for _, l := range links {
			if l[0] == queue[0] && !reached[l[1]] {
				reached[l[1]], before[l[1]] = true, l[0]
				queue = append(queue, l[1])
				tree = append(tree, l)
			}
		}
	}
	needed := map[int]bool{}
	for _, v := range nodes {
		for ok := true; ok && !needed[v]; {
			needed[v] = true
			v, ok = before[v]
			if !ok {
				break
			}
		}
	}
	return slices.DeleteFunc(tree, func(l [2]int) bool { return !needed[l[1]] })
}

// everywhere is the one set there is, where every node keeps every run.
func (s *treeSearch) everywhere() (ways []Route, floor float64) {
	for _, i := range s.may {
		if math.IsInf(s.d.of(s.d.root(), i), 1) {
			return nil, math.Inf(1)
		}
	}
	relays := s.others()
	if len(s.may) <= mostSteiner || len(relays) == 0 || len(relays) > mostSteiner {
		w := s.tree(s.may)
		if floor = s.p.of(w); !s.complete(w) {
			return nil, math.Inf(1)
		}
		if len(s.may) > mostSteiner && len(relays) > 0 {
			floor = min(floor, s.atLeast())
		}
		return []Route{w}, floor
	}
	floor = math.Inf(1)
	for chosen := range 1 << len(relays) { // every set of others
		through := slices.Clone(s.may)
		for k, i := range relays {
			if chosen>>k&1 == 1 {
				through = append(through, i)
			}
		}
		w := s.to(s.may)
		w.Links = s.prune(s.direct(through), s.may)
		if price := s.p.of(w); s.complete(w) && price < floor {
			ways, floor = []Route{w}, price
		}
	}
	return ways, floor
}

// complete reports whether a way leads to every node.
func (s *treeSearch) complete(w Route) bool {
	return !slices.ContainsFunc(s.may, func(i int) bool {
		return !slices.ContainsFunc(w.Links, func(l [2]int) bool { return l[1] == i })
	})
}

// others is who might pass on what it does not keep: it can be reached, and reaches a node that keeps it.
func (s *treeSearch) others() (relays []int) {
	if !s.relays {
		return nil
	}
	for i := range s.net.Nodes {
		out := slices.ContainsFunc(s.may, func(to int) bool { return !math.IsInf(s.d.of(i, to), 1) })
		if out && !slices.Contains(s.may, i) && !slices.Contains(s.roots, i) && !math.IsInf(s.d.of(s.d.root(), i), 1) {
			relays = append(relays, i)
		}
	}
	return relays
}

// atLeast is a price that no tree to so many copies is below: as if a node could keep several of them, as long as each
// was sent there.
func (s *treeSearch) atLeast() float64 {
	n, root := s.d.n, s.d.root()
	below := [][]float64{make([]float64, n)} // by copies and vertex: what they cost below it
	may := make([]bool, n)
	for _, i := range s.may {
		may[i] = true
	}
	for k := 1; k <= s.copies; k++ {
		at := make([]float64, n)
		for v := range n {
			at[v] = math.Inf(1)
			for a := 1; a < k; a++ {
				at[v] = min(at[v], below[a][v]+below[k-a][v])
			}
		}
		line := make([]float64, n)
		for v := range n {
			line[v] = at[v]
			for u := range n - 1 {
				best := at[u]
				if may[u] && u != v {
					best = min(best, s.price(u)+below[k-1][u])
				}
				line[v] = min(line[v], s.d.of(v, u)+best)
			}
		}
		below = append(below, line)
	}
	return below[s.copies][root]
}
