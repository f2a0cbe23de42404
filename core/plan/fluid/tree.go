// SPDX-License-Identifier: Apache-2.0

package fluid

import "math"

// Way is an arc of a graph with a cost.
type Way struct {
	From, To int
	Cost     float64
	Name     int // the caller's
}

// arborescence is a cheapest tree from root to all of n vertices, by the algorithm of Chu, Liu (1965) and Edmonds
// (1967): each vertex takes its cheapest way in; a circle that comes of it is drawn together into one vertex, whose
// ways in cost what they cost more than the one they would replace; and so on. It returns the names of the ways taken;
// nil where some vertex cannot be reached.
func arborescence(n, root int, ways []Way) (taken []int) {
	best := make([]int, n) // the cheapest way in
	for v := range best {
		best[v] = -1
	}
	for k, w := range ways {
		if w.To != root && w.From != w.To && (best[w.To] < 0 || w.Cost < ways[best[w.To]].Cost) {
			best[w.To] = k
		}
	}
	for v := range n {
		if v != root && best[v] < 0 {
			return nil
		}
	}
	circle, circles := circlesOf(n, root, func(v int) int { return ways[best[v]].From })
	if circles == 0 {
		for v := range n {
			if v != root {
				taken = append(taken, ways[best[v]].Name)
			}
		}
		return taken
	}
	into, next := make([]int, n), circles
	for v := range n {
		if into[v] = circle[v]; circle[v] < 0 {
			into[v] = next
			next++
		}
	}
	var drawn []Way
	for k, w := range ways {
		if into[w.From] == into[w.To] {
			continue
		}
		cost := w.Cost
		if circle[w.To] >= 0 {
			cost -= ways[best[w.To]].Cost
		}
		drawn = append(drawn, Way{into[w.From], into[w.To], cost, k})
	}
	inner := arborescence(next, into[root], drawn)
	if inner == nil && next > 1 {
		return nil
	}
	replaced := make([]bool, n)
	for _, k := range inner {
		taken = append(taken, ways[k].Name)
		replaced[ways[k].To] = true
	}
	for v := range n {
		if circle[v] >= 0 && !replaced[v] {
			taken = append(taken, ways[best[v]].Name)
		}
	}
	return taken
}

// circlesOf numbers the circles in which every vertex but root has one before it; −1 for vertices on none.
func circlesOf(n, root int, before func(v int) int) (circle []int, count int) {
	circle = make([]int, n)
	seen := make([]int, n)
	for v := range n {
		circle[v], seen[v] = -1, -1
	}
	for start := range n {
		v := start
		for v != root && seen[v] < 0 {
			seen[v] = start
			v = before(v)
		}
		if v == root || seen[v] != start || circle[v] >= 0 {
			continue
		}
		for at := v; ; {
			circle[at] = count
			if at = before(at); at == v {
				break
			}
		}
		count++
	}
	return circle, count
}

// Paths is how far each vertex is from root, and by which way it is reached: Bellman and Ford's, on costs from 0 up.
func Paths(n, root int, ways []Way) (distance []float64, by []int) {
	distance, by = make([]float64, n), make([]int, n)
	for v := range n {
		distance[v], by[v] = math.Inf(1), -1
	}
	distance[root] = 0
	for changed := true; changed; {
		changed = false
		for k, w := range ways {
			if d := distance[w.From] + w.Cost; d < distance[w.To] {
				distance[w.To], by[w.To] = d, k
				changed = true
			}
		}
	}
	return distance, by
}
