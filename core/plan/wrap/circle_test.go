// SPDX-License-Identifier: Apache-2.0

package wrap

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
		ring := New(runs, rapid.IntRange(1, 4).Draw(t, "copies"))
		seats := make([]Seat, rapid.IntRange(1, 7).Draw(t, "seats"))
		zones := map[int]string{}
		for i := range seats {
			cap := rapid.IntRange(0, 150).Draw(t, "cap")
			seats[i] = Seat{Node: i, Zone: string(rune('A' + i*3/len(seats))), Cap: core.Size(cap),
				Quota: float64(rapid.IntRange(0, cap).Draw(t, "quota"))}
			zones[i] = seats[i].Zone
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
			if a.Start != at || a.End <= a.Start {
				t.Fatalf("arc %v does not follow position %d", a, at)
			}
			at = a.End
		}
		if at != stop || stop > ring.End() {
			t.Fatalf("the arcs end at %d, the walk at %d of %d", at, stop, ring.End())
		}
		keeps := checkArcs(t, ring, seats, zones, zoneMax, arcs)
		checkStretches(t, ring, arcs, keeps)
		patched, ok := ring.patch(arcs, stop, seats, zoneMax)
		keeps = checkArcs(t, ring, seats, zones, zoneMax, patched)
		checkStretches(t, ring, patched, keeps)
		for run, nodes := range keeps {
			if ok && len(nodes) != ring.Rounds {
				t.Fatalf("run %d has %d copies", run, len(nodes))
			}
		}
	})
}

// checkArcs expands the arcs run by run.
func checkArcs(t *rapid.T, ring *Circle, seats []Seat, zones map[int]string, zoneMax map[string]int,
	arcs []Arc) (keeps [][]int) {
	keeps = make([][]int, ring.Runs())
	left := map[int]core.Size{}
	for _, s := range seats {
		left[s.Node] = s.Cap
	}
	for _, a := range arcs {
		for pos := a.Start; pos < a.End; pos++ {
			run := pos % ring.Runs()
			if slices.Contains(keeps[run], a.Node) {
				t.Fatalf("node %d gets run %d twice", a.Node, run)
			}
			keeps[run] = append(keeps[run], a.Node)
			if left[a.Node] -= ring.Size(run); left[a.Node] < 0 {
				t.Fatalf("node %d passes its cap", a.Node)
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

func checkStretches(t *rapid.T, ring *Circle, arcs []Arc, keeps [][]int) {
	at := make([][]int, ring.Runs())
	for _, s := range ring.Stretches(arcs) {
		for run := s.Start; run < s.End; run++ {
			if at[run] != nil {
				t.Fatalf("run %d stands in two stretches", run)
			}
			at[run] = s.Nodes
		}
	}
	for run, nodes := range keeps {
		slices.Sort(nodes)
		if !slices.Equal(nodes, at[run]) {
			t.Fatalf("run %d is kept by %v, its stretch says %v", run, nodes, at[run])
		}
	}
}
