// SPDX-License-Identifier: Apache-2.0

package fluid

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// TestCheapestTree compares with a slow twin that tries every choice of a way into each vertex.
func TestCheapestTree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 5).Draw(t, "vertices")
		var ways []Way
		for range rapid.IntRange(0, 14).Draw(t, "ways") {
			ways = append(ways, Way{rapid.IntRange(0, n-1).Draw(t, "from"), rapid.IntRange(0, n-1).Draw(t, "to"),
				float64(rapid.IntRange(0, 9).Draw(t, "cost")), len(ways)})
		}
		root := rapid.IntRange(0, n-1).Draw(t, "root")
		best := math.Inf(1)
		into := make([]int, n)
		var choose func(v int, cost float64)
		choose = func(v int, cost float64) {
			if v == n {
				if reaches(n, root, ways, into) {
					best = min(best, cost)
				}
				return
			}
			if v == root {
				choose(v+1, cost)
				return
			}
			for k, w := range ways {
				if w.To == v && w.From != v {
					into[v] = k
					choose(v+1, cost+w.Cost)
				}
			}
		}
		choose(0, 0)
		taken := arborescence(n, root, ways)
		if math.IsInf(best, 1) {
			if taken != nil {
				t.Fatalf("there is no tree, but it takes %v", taken)
			}
			return
		}
		cost := 0.0
		for v := range into {
			into[v] = -1
		}
		for _, k := range taken {
			cost += ways[k].Cost
			into[ways[k].To] = k
		}
		if len(taken) != n-1 || !reaches(n, root, ways, into) || cost != best {
			t.Fatalf("takes %v at %v, the cheapest tree costs %v", taken, cost, best)
		}
	})
}

// reaches reports whether the ways into each vertex lead to it from the root.
func reaches(n, root int, ways []Way, into []int) bool {
	for v := range n {
		at, hops := v, 0
		for ; at != root && into[at] >= 0 && hops <= n; hops++ {
			at = ways[into[at]].From
		}
		if at != root {
			return false
		}
	}
	return true
}
