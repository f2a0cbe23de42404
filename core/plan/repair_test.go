// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"pgregory.net/rapid"
)

// TestReplanKeepsWhatHolds draws a half-done task with a lost node. Afterwards fixed copies stand where they stood, no
// run has two copies on a node, rooms and zones are kept to, and a copy is unplaced only if no node could take it as it
// is.
func TestReplanKeepsWhatHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes, runs, copies := rapid.IntRange(2, 7).Draw(t, "nodes"), rapid.IntRange(1, 12).Draw(t, "runs"),
			rapid.IntRange(1, 3).Draw(t, "copies")
		r := Repair{PerZone: rapid.IntRange(0, 2).Draw(t, "a zone"), Even: rapid.Bool().Draw(t, "even"),
			Sizes: slices.Repeat([]core.Size{100}, runs)}
		for i := range nodes {
			r.Room = append(r.Room, core.Size(rapid.IntRange(0, 12).Draw(t, "room"))*100)
			r.Arrive = append(r.Arrive, core.Rate(rapid.IntRange(0, 5).Draw(t, "rate")))
			r.May = append(r.May, rapid.IntRange(0, 4).Draw(t, "may") > 0)
			r.Zone = append(r.Zone, string(rune('A'+i%3)))
		}
		on, zones := map[[2]int]int{}, map[zoneRun]int{}
		for run := range runs {
			for k := range min(copies, nodes) {
				c := Copy{Run: run, Shard: k, Node: (run + k) % nodes, Fixed: rapid.Bool().Draw(t, "fixed")}
				zone := zoneRun{r.Zone[c.Node], run}
				if !r.May[c.Node] || r.PerZone > 0 && zones[zone] >= r.PerZone || !c.Fixed && r.Room[c.Node] < 100 {
					c.Node, c.Fixed = -1, false
				} else if zones[zone]++; !c.Fixed {
					r.Room[c.Node] -= 100
				}
				r.Copies = append(r.Copies, c)
			}
		}
		for _, c := range r.Copies { // Room is what is free for all that is not fixed
			if c.Node >= 0 && !c.Fixed {
				r.Room[c.Node] += 100
			}
		}
		before, room := slices.Clone(r.Copies), slices.Clone(r.Room)
		lost := len(slices.DeleteFunc(slices.Clone(before), func(c Copy) bool { return c.Node >= 0 }))
		moved, unplaced := r.Replan()
		clear(zones)
		left := 0
		for k, c := range r.Copies {
			if before[k].Fixed && c != before[k] {
				t.Fatalf("a fixed copy moved: %+v to %+v", before[k], c)
			}
			if c.Node < 0 {
				left++
				continue
			}
			on[[2]int{c.Run, c.Node}]++
			zones[zoneRun{r.Zone[c.Node], c.Run}]++
			if !c.Fixed {
				room[c.Node] -= 100
			}
		}
		for at, n := range on {
			if n > 1 {
				t.Fatalf("run %d is twice on node %d", at[0], at[1])
			}
		}
		for at, n := range zones {
			if r.PerZone > 0 && n > r.PerZone {
				t.Fatalf("run %d has %d copies in zone %s", at.run, n, at.zone)
			}
		}
		for node, rest := range room {
			if rest < 0 || rest != r.Room[node] {
				t.Fatalf("node %d has room for %d, says %d", node, rest, r.Room[node])
			}
		}
		if left != unplaced || moved < lost-unplaced {
			t.Fatalf("%d unplaced, %d left; %d moved of %d lost", unplaced, left, moved, lost)
		}
		for _, c := range r.Copies {
			for node := range nodes {
				fits := r.May[node] && on[[2]int{c.Run, node}] == 0 && room[node] >= 100 &&
					(r.PerZone == 0 || zones[zoneRun{r.Zone[node], c.Run}] < r.PerZone)
				if c.Node < 0 && fits && !r.Even {
					t.Fatalf("run %d found no place, but node %d could take it", c.Run, node)
				}
			}
		}
	})
}

func TestReplanEvensOut(t *testing.T) {
	r := Repair{Even: true, Sizes: slices.Repeat([]core.Size{10}, 30), Room: []core.Size{999, 999},
		Arrive: []core.Rate{1, 2},
		May:    []bool{true, true}, Zone: []string{"", ""}}
	for run := range 30 {
		r.Copies = append(r.Copies, Copy{Run: run, Node: 0, Fixed: run < 3})
	}
	if moved, _ := r.Replan(); moved != 18 {
		t.Errorf("%d of 27 runs moved to a node twice as fast, want 18", moved)
	}
}

func TestReplanMakesRoom(t *testing.T) {
	// Run 0 has lost its copy. Node 1 is full with run 1, which could go to node 2; node 2 has run 0 already.
	r := Repair{Sizes: []core.Size{10, 10}, Room: []core.Size{0, 10, 10}, Arrive: []core.Rate{1, 1, 1},
		May:  []bool{true, true, true},
		Zone: []string{"", "", ""}, Copies: []Copy{{Run: 0, Node: -1}, {Run: 0, Node: 2, Fixed: true},
			{Run: 1, Node: 1}}}
	if _, unplaced := r.Replan(); unplaced > 0 || r.Copies[0].Node != 1 || r.Copies[2].Node != 2 {
		t.Errorf("%d unplaced: %+v", unplaced, r.Copies)
	}
}

// TestManyHomelessCopies: looking for room in vain once doubled what had to be looked through for the next copy.
func TestManyHomelessCopies(t *testing.T) {
	r := Repair{May: []bool{true, true, true}, Zone: []string{"A", "A", "A"}, PerZone: 2,
		Room: []core.Size{1e6, 1e6, 1e6}, Arrive: []core.Rate{1, 1, 1}}
	for run := range 100 {
		r.Sizes = append(r.Sizes, 10)
		r.Copies = append(r.Copies, Copy{Run: run, Node: run % 3}, Copy{Run: run, Node: (run + 1) % 3},
			Copy{Run: run, Node: -1})
	}
	if _, unplaced := r.Replan(); unplaced != 100 {
		t.Errorf("%d of 100 copies found no place", unplaced)
	}
}
