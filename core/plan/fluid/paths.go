// SPDX-License-Identifier: Apache-2.0

package fluid

import (
	"cmp"
	"math"
	"slices"
)

// distances is the cheapest way between every two vertices at some prices, by Floyd's and Warshall's algorithm. The
// last vertex stands before all roots, and costs nothing to leave.
type distances struct {
	n    int
	cost []float64 // [from·n + to]
	next []int     // the vertex after from on the way to to
}

func (n *Network) distances(p *prices, roots []int) *distances {
	d := &distances{n: len(n.Nodes) + 1}
	d.cost, d.next = make([]float64, d.n*d.n), make([]int, d.n*d.n)
	for i := range d.n {
		for j := range d.n {
			cost := math.Inf(1)
			switch {
			case i == j:
				cost = 0
			case i < d.n-1 && j < d.n-1:
				cost = p.link(i, j)
			case i == d.n-1 && slices.Contains(roots, j):
				cost = 0
			}
			d.cost[i*d.n+j], d.next[i*d.n+j] = cost, j
		}
	}
	for k := range d.n {
		via := d.cost[k*d.n : (k+1)*d.n]
		for i := range d.n {
			first := d.cost[i*d.n+k]
			if math.IsInf(first, 1) || i == k {
				continue
			}
			line, next := d.cost[i*d.n:(i+1)*d.n], d.next[i*d.n:(i+1)*d.n]
			for j, rest := range via {
				if c := first + rest; c < line[j] {
					line[j], next[j] = c, next[k]
				}
			}
		}
	}
	return d
}

func (d *distances) root() int               { return d.n - 1 }
func (d *distances) of(from, to int) float64 { return d.cost[from*d.n+to] }

// links is the way, without what leads from the root to those that it stands for.
func (d *distances) links(from, to int) (way [][2]int) {
	for from != to {
		next := d.next[from*d.n+to]
		if from != d.root() {
			way = append(way, [2]int{from, next})
		}
		from = next
	}
	return way
}

// pathPricer brings bytes over paths: shards into room, or parts of a file from who holds them.
type pathPricer struct {
	net  *Network
	ends [][]pathEnd // by demand
}

// pathEnd is where a path may begin and end, and what it fills.
type pathEnd struct {
	from, to int
	rooms    []int
}

func (f *pathPricer) cheapest(p *prices) (ways []Route, floor []float64) {
	d := f.net.distances(p, nil)
	for k, ends := range f.ends {
		least := math.Inf(1)
		for _, e := range ends {
			if math.IsInf(d.of(e.from, e.to), 1) {
				continue
			}
			w := Route{Demand: k, From: e.from, Keeps: []int{e.to}, Links: d.links(e.from, e.to),
				Rooms: slices.Clone(e.rooms)}
			ways, least = append(ways, w), min(least, p.of(w))
		}
		floor = append(floor, least)
	}
	sortByPrice(p, ways)
	return ways, floor
}

func sortByPrice(p *prices, ways []Route) {
	slices.SortStableFunc(ways, func(a, b Route) int { return cmp.Compare(p.of(a), p.of(b)) })
}
