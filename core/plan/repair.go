// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"math"

	"github.com/bkp-tool/bkp/core"
)

// Copy is one copy, or shard, of a run that a task owes.
type Copy struct {
	Run   int
	Shard int
	Node  int  // who is to keep it; −1 where nobody is any more
	Fixed bool // it is there, or on its way, and stays where it is
}

// Repair is a question of a coordinator during a task: some copies have no node any more, or the estimates were wrong.
type Repair struct {
	Copies  []Copy
	Sizes   []core.Size // by run
	Apart   []int       // by run: the stripe that it is in, whose runs are at nodes of their own; -1 for none; nil: all so
	Room    []core.Size // by node: what it can keep of copies that are not fixed
	Arrive  []core.Rate // by node: how fast it can receive, as measured; 0 is unlimited
	Busy    []core.Size // by node: what it has to receive beside copies that are not fixed; nil: nothing
	May     []bool      // by node: it may be given copies
	Zone    []string    // by node; empty: the node is a zone of its own
	PerZone int         // copies of a run that a zone may keep; 0 for any number
	// copies may also move from nodes that would be done late to others; else only those without a node
	Even   bool
	Relays bool // nodes pass on what they do not keep
}

// Replan gives copies that are not fixed to other nodes. Each copy without a node goes to the one that would be done
// soonest with it: that may keep it, has room, and has no other copy of the run. If Even, copies then move one by one
// from the node that would be done last to the one that would be done first, as long as that makes the last sooner.
// Copies are changed in place; those left without a node found none. What is delivered never moves.
func (r *Repair) Replan() (moved, unplaced int) {
	t := &repair{Repair: r, left: make([]float64, len(r.May)), on: map[[2]int]int{}, zones: map[zoneRun]int{},
		byNode: make([][]int, len(r.May))}
	for node, bytes := range r.Busy {
		t.left[node] = float64(bytes)
	}
	for k, c := range r.Copies {
		if c.Node >= 0 {
			t.put(k, c.Node, +1)
		}
	}
	for k, c := range r.Copies {
		if c.Node >= 0 {
			continue
		}
		to := t.soonest(c.Run, -1)
		if to < 0 {
			to = t.makeRoom(c.Run)
		}
		if to < 0 {
			unplaced++
			continue
		}
		r.Copies[k].Node = to
		t.put(k, to, +1)
		moved++
	}
	for r.Even && t.shift() {
		moved++
	}
	return moved, unplaced
}

type zoneRun struct {
	zone string
	run  int
}

// repair keeps count of what each node has left to receive.
type repair struct {
	*Repair
	left   []float64
	on     map[[2]int]int // (run, node): copies
	zones  map[zoneRun]int
	byNode [][]int // copies that may move, by where they are; some have left since
}

func (t *repair) put(k, node, by int) {
	c := t.Copies[k]
	t.on[[2]int{t.apart(c.Run), node}] += by
	if t.Zone[node] != "" {
		t.zones[zoneRun{t.Zone[node], t.apart(c.Run)}] += by
	}
	if c.Fixed {
		return // its room is taken already
	}
	t.left[node] += float64(by) * float64(t.Sizes[c.Run])
	t.Room[node] -= core.Size(by) * t.Sizes[c.Run]
	if by > 0 {
		t.byNode[node] = append(t.byNode[node], k)
	}
}

// apart is what runs have in common of which a node may have one: their stripe, as a number below 0, or the run itself.
func (t *repair) apart(run int) int {
	if t.Apart == nil || t.Apart[run] < 0 {
		return run
	}
	return -1 - t.Apart[run]
}

// done is when a node would have received what it has left and some bytes more.
func (t *repair) done(node int, more core.Size) float64 {
	if t.Arrive[node] <= 0 {
		return 0
	}
	return (t.left[node] + float64(more)) / float64(t.Arrive[node])
}

// fits reports whether a node could have a copy of a run, which would come from another.
func (t *repair) fits(run, node, from int) bool {
	if !t.May[node] || t.on[[2]int{t.apart(run), node}] > 0 || t.Room[node] < t.Sizes[run] {
		return false
	}
	z := t.Zone[node]
	if t.PerZone == 0 || z == "" {
		return true
	}
	copies := t.zones[zoneRun{z, t.apart(run)}]
	if from >= 0 && t.Zone[from] == z {
		copies--
	}
	return copies < t.PerZone
}

// soonest is the node that would be done first with a copy of a run; −1 where none can have it.
func (t *repair) soonest(run, from int) int {
	best, soon := -1, math.Inf(1)
	for node := range t.May {
		if node == from || !t.fits(run, node, from) {
			continue
		}
		if d := t.done(node, t.Sizes[run]); best < 0 || d < soon {
			best, soon = node, d
		}
	}
	return best
}

// makeRoom moves one copy of another run away so that this one fits: a way of two steps to the free space, where there
// is none of one.
func (t *repair) makeRoom(run int) int {
	for node := range t.May {
		if !t.May[node] || t.on[[2]int{t.apart(run), node}] > 0 {
			continue
		}
		for _, k := range t.byNode[node] {
			c := t.Copies[k]
			if c.Node != node || c.Fixed {
				continue
			}
			to := t.soonest(c.Run, node)
			if to < 0 {
				continue
			}
			here, there := len(t.byNode[node]), len(t.byNode[to])
			t.move(k, to)
			if t.fits(run, node, -1) {
				return node
			}
			t.move(k, node)
			t.byNode[node], t.byNode[to] = t.byNode[node][:here], t.byNode[to][:there]
		}
	}
	return -1
}

func (t *repair) move(k, to int) {
	t.put(k, t.Copies[k].Node, -1)
	t.Copies[k].Node = to
	t.put(k, to, +1)
}

// shift moves one copy from the node that would be done last, if that makes the last sooner.
func (t *repair) shift() bool {
	last := -1
	for node := range t.May {
		if last < 0 || t.done(node, 0) > t.done(last, 0) {
			last = node
		}
	}
	for i := len(t.byNode[last]) - 1; i >= 0; i-- {
		k := t.byNode[last][i]
		if c := t.Copies[k]; c.Node == last && !c.Fixed {
			if to := t.soonest(c.Run, last); to >= 0 && t.done(to, t.Sizes[c.Run]) < t.done(last, 0)*(1-1e-9) {
				t.byNode[last] = t.byNode[last][:i]
				t.move(k, to)
				return true
			}
		}
	}
	return false
}
