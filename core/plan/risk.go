// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan/fluid"
)

// Risk is what the loss of nodes would mean for a plan; the source's own disk does not count.
type Risk struct {
	Bears int `json:"bears_nodes"` // so many nodes may be lost, whichever they are, and every run can be restored
	// different sets of nodes that keep a run between them: only the loss of all nodes of one loses data
	Sets int     `json:"sets"`
	Of   float64 `json:"of_sets"` // how many sets of as many nodes there are
	// Zone is one whose loss would lose runs, none where the plan survives the loss of any; nodes without a zone are
	// one each.
	Zone  string `json:"zone,omitempty"`
	Zones bool   `json:"survives_any_zone"`
}

// RiskOf looks at every set of nodes that keep runs together: replicas of most, of which bears may be lost, and needed
// of a class are enough to restore a run of that.
func RiskOf(s core.Snapshot, classes [][]Span, replicas, bears int, needed func(class int) int) Risk {
	r := Risk{Bears: bears, Of: choose(len(s.Nodes)-1, replicas)}
	sets := map[string]bool{}
	for c, spans := range classes {
		for _, nodes := range setsOf(spans) {
			if key := fmt.Sprint(nodes); !sets[key] {
				sets[key] = true
				r.Zone = cmp.Or(r.Zone, loses(s, nodes, needed(c)))
			}
		}
	}
	r.Sets, r.Zones = len(sets), r.Zone == ""
	return r
}

// loses is a zone without which fewer than needed of some nodes are left.
func loses(s core.Snapshot, nodes []int, needed int) string {
	in := map[string]int{}
	for _, i := range nodes {
		in[fluid.ZoneIn(s, i)]++
	}
	for _, z := range slices.Sorted(maps.Keys(in)) {
		if len(nodes)-in[z] < needed {
			return fluid.ZoneName(z)
		}
	}
	return ""
}

// setsOf is the sets of nodes that keep runs of a class together, one for each stretch of runs with the same nodes.
func setsOf(spans []Span) (sets [][]int) {
	type change struct{ at, node, by int }
	var changes []change
	for _, s := range spans {
		changes = append(changes, change{s.Start, s.Node, +1}, change{s.End(), s.Node, -1})
	}
	slices.SortFunc(changes, func(a, b change) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.by, b.by)) })
	here, at := map[int]bool{}, 0
	for _, ch := range changes {
		if ch.at > at && len(here) > 0 {
			sets = append(sets, slices.Sorted(maps.Keys(here)))
		}
		at = ch.at
		if ch.by > 0 {
			here[ch.node] = true
		} else {
			delete(here, ch.node)
		}
	}
	return sets
}

// choose is the number of ways to take k of n.
func choose(n, k int) float64 {
	ways := 1.0
	for i := range k {
		ways *= float64(n-i) / float64(i+1)
	}
	return ways
}
