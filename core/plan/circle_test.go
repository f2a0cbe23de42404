// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"pgregory.net/rapid"
)

// TestWalkNeverOversteps gives the seats quotas that make no sense together. Whatever they are: no node gets a run
// twice or passes its cap, no run has too many copies in a zone, and the arcs follow each other from the start to where
// the walk stopped. Then the stretches are compared with a slow twin that looks at every run of every arc.
func TestWalkNeverOversteps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var runs []core.Size
		for _, size := range rapid.SliceOfN(rapid.IntRange(1, 10), 1, 20).Draw(t, "runs") {
			runs = append(runs, core.Size(size))
		}
		ring := newCircle(runs, rapid.IntRange(1, 4).Draw(t, "copies"))
		seats := make([]seat, rapid.IntRange(1, 7).Draw(t, "seats"))
		zones := map[int]string{}
		for i := range seats {
			cap := rapid.IntRange(0, 150).Draw(t, "cap")
			seats[i] = seat{node: i, zone: string(rune('A' + i*3/len(seats))), cap: core.Size(cap),
				quota: float64(rapid.IntRange(0, cap).Draw(t, "quota"))}
			zones[i] = seats[i].zone
		}
		zoneMax := map[string]int{}
		for _, z := range []string{"A", "B", "C"} {
			if rapid.Bool().Draw(t, "limited") {
				zoneMax[z] = rapid.IntRange(0, 2).Draw(t, "most")
			}
		}
		arcs, stop := ring.walk(seats, zoneMax)
		at := 0
		for _, a := range arcs {
			if a.start != at || a.end <= a.start {
				t.Fatalf("arc %v does not follow position %d", a, at)
			}
			at = a.end
		}
		if at != stop || stop > ring.end() {
			t.Fatalf("the arcs end at %d, the walk at %d of %d", at, stop, ring.end())
		}
		keeps := checkArcs(t, ring, seats, zones, zoneMax, arcs)
		checkStretches(t, ring, arcs, keeps)
		patched, ok := ring.patch(arcs, stop, seats, zoneMax)
		keeps = checkArcs(t, ring, seats, zones, zoneMax, patched)
		checkStretches(t, ring, patched, keeps)
		for run, nodes := range keeps {
			if ok && len(nodes) != ring.rounds {
				t.Fatalf("run %d has %d copies", run, len(nodes))
			}
		}
	})
}

// checkArcs expands the arcs run by run.
func checkArcs(t *rapid.T, ring *circle, seats []seat, zones map[int]string, zoneMax map[string]int,
	arcs []arc) (keeps [][]int) {
	keeps = make([][]int, ring.n())
	left := map[int]core.Size{}
	for _, s := range seats {
		left[s.node] = s.cap
	}
	for _, a := range arcs {
		for pos := a.start; pos < a.end; pos++ {
			run := pos % ring.n()
			if slices.Contains(keeps[run], a.node) {
				t.Fatalf("node %d gets run %d twice", a.node, run)
			}
			keeps[run] = append(keeps[run], a.node)
			if left[a.node] -= ring.size(run); left[a.node] < 0 {
				t.Fatalf("node %d passes its cap", a.node)
			}
		}
	}
	for run, nodes := range keeps {
		copies := map[string]int{}
		for _, n := range nodes {
			copies[zones[n]]++
		}
		for z, most := range zoneMax {
			if copies[z] > most {
				t.Fatalf("run %d has %d copies in zone %s, which may have %d", run, copies[z], z, most)
			}
		}
	}
	return keeps
}

func checkStretches(t *rapid.T, ring *circle, arcs []arc, keeps [][]int) {
	at := make([][]int, ring.n())
	for _, s := range ring.stretches(arcs) {
		for run := s.start; run < s.end; run++ {
			if at[run] != nil {
				t.Fatalf("run %d stands in two stretches", run)
			}
			at[run] = s.nodes
		}
	}
	for run, nodes := range keeps {
		slices.Sort(nodes)
		if !slices.Equal(nodes, at[run]) {
			t.Fatalf("run %d is kept by %v, its stretch says %v", run, nodes, at[run])
		}
	}
}
