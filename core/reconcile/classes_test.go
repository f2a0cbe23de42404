// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"slices"
	"testing"

	"github.com/bkp-tool/bkp/core/plan"
)

// TestNobodyKeepsParityAlone has six nodes with one shard each of many stripes, as the planner seats them: the runs of
// a stripe are given out once each, and every node gets as many of parity as any other.
func TestNobodyKeepsParityAlone(t *testing.T) {
	parity := make([]int, 6)
	for stripe := range 12 {
		p := place{stripe: stripe, holders: []int{-1, -1, -1, -1, -1, -1}}
		var given []int
		for shard := range 6 {
			run := p.shard(plan.Span{Node: shard + 1, Shard: shard}, nil)
			if given = append(given, run); run >= 4 {
				parity[shard]++
			}
		}
		if slices.Sort(given); !slices.Equal(given, []int{0, 1, 2, 3, 4, 5}) {
			t.Errorf("stripe %d: runs %v are given out", stripe, given)
		}
	}
	if slices.Min(parity) != 4 || slices.Max(parity) != 4 {
		t.Errorf("parity by node: %v", parity)
	}
}

// TestWhoGoesOnKeepsItsRun has two holders of a stripe, of which the plan wants one to go on.
func TestWhoGoesOnKeepsItsRun(t *testing.T) {
	p := place{stripe: 1, holders: []int{7, -1, 9}}
	kept := map[int]bool{9: true}
	if run := p.shard(plan.Span{Node: 9, From: 9}, kept); run != 2 {
		t.Errorf("who has run 2 keeps %d", run)
	}
	var given []int
	for shard := range 2 {
		given = append(given, p.shard(plan.Span{Node: shard + 1, Shard: shard}, kept))
	}
	if slices.Sort(given); !slices.Equal(given, []int{0, 1}) {
		t.Errorf("the others get %v", given)
	}
}
