// SPDX-License-Identifier: Apache-2.0

package wrap

import (
	"slices"
	"sort"

	"github.com/bkp-tool/bkp/core"
)

// Circle is the runs of one class laid in a ring that is walked once for each copy. Positions count runs along the
// whole walk, so position p is run p mod n. A node that takes no more than n consecutive positions gets no run twice,
// and if the nodes' stretches follow each other without a gap, every run gets exactly as many different nodes as there
// are rounds.
type Circle struct {
	sums   []core.Size // sums[i]: bytes of the runs before i
	Rounds int         // of the walk: copies
}

// New lays runs of these sizes in a ring.
func New(runs []core.Size, rounds int) *Circle {
	c := &Circle{sums: make([]core.Size, len(runs)+1), Rounds: rounds}
	for i, size := range runs {
		c.sums[i+1] = c.sums[i] + size
	}
	return c
}

// Runs is how many there are.
func (c *Circle) Runs() int { return len(c.sums) - 1 }

// Bytes is the size of all runs.
func (c *Circle) Bytes() core.Size { return c.sums[c.Runs()] }

// End is the position at which the walk ends.
func (c *Circle) End() int { return c.Runs() * c.Rounds }

// Size is that of a run.
func (c *Circle) Size(run int) core.Size { return c.sums[run+1] - c.sums[run] }

// At is how many bytes stand before a position of the walk.
func (c *Circle) At(pos int) core.Size {
	return core.Size(pos/c.Runs())*c.Bytes() + c.sums[pos%c.Runs()]
}

// Between is how many bytes stand between two positions.
func (c *Circle) Between(start, end int) core.Size {
	if start == end { // of no runs, too
		return 0
	}
	return c.At(end) - c.At(start)
}

// Arc is a node's stretch of the walk.
type Arc struct {
	Node       int
	Start, End int // positions
}

// walk gives the seats that have a quota, in their order, stretches of the walk: a node whose quota is its cap as much
// as fits, any other its quota to the nearest run, more or less by what those before it left over or took too much. The
// seat with most to spare comes last and takes the rest. A zone of zoneMax gets at most that many rounds of the circle,
// so that no run has more copies in it. It returns the arcs, and the position at which it had to stop: c.End() if all
// went well.
func (c *Circle) walk(seats []Seat, zoneMax map[string]int) (arcs []Arc, stop int) {
	seats = spareLast(slices.DeleteFunc(slices.Clone(seats), func(s Seat) bool { return s.Quota <= 0 && s.Cap > 0 }))
	zoneLeft := map[string]int{}
	for _, s := range seats {
		zoneLeft[s.Zone] = c.End()
		if most, ok := zoneMax[s.Zone]; ok {
			zoneLeft[s.Zone] = min(most, c.Rounds) * c.Runs()
		}
	}
	pos, debt := 0, 0.0 // debt: bytes that earlier seats should have taken and did not
	for i, s := range seats {
		most := min(c.Runs(), zoneLeft[s.Zone], c.End()-pos)
		room := c.reach(pos, most, s.Cap)
		end := room
		switch {
		case i == len(seats)-1: // the rest, if it fits
		case s.Quota >= float64(s.Cap):
		default:
			end = min(room, c.nearest(pos, most, s.Quota+debt))
		}
		if end > pos {
			arcs = append(arcs, Arc{Node: s.Node, Start: pos, End: end})
		}
		debt += s.Quota - float64(c.Between(pos, end))
		zoneLeft[s.Zone] -= end - pos
		pos = end
	}
	return arcs, pos
}

// reach is the last position up to which runs from pos fit into limit bytes, at most most of them.
func (c *Circle) reach(pos, most int, limit core.Size) int {
	base := c.At(pos)
	return pos + sort.Search(most, func(k int) bool { return c.At(pos+k+1)-base > limit })
}

// nearest is the position, at most most runs from pos, whose distance in bytes comes nearest to want.
func (c *Circle) nearest(pos, most int, want float64) int {
	if want <= 0 {
		return pos
	}
	base := c.At(pos)
	k := sort.Search(most, func(k int) bool { return float64(c.At(pos+k+1)-base) > want })
	if k < most && float64(c.At(pos+k+1)-base)-want < want-float64(c.At(pos+k)-base) {
		k++
	}
	return pos + k
}

// spareLast turns the ring of seats so that the one with most room beyond its quota comes last, and its zone before it.
// Zones stay together, also when the walk has to stop early.
func spareLast(seats []Seat) []Seat {
	last, most := len(seats)-1, -1.0
	for i, s := range seats {
		if spare := float64(s.Cap) - s.Quota; spare > most {
			last, most = i, spare
		}
	}
	if last < 0 {
		return nil
	}
	first, end := last, last+1 // its zone
	for first > 0 && seats[first-1].Zone == seats[last].Zone {
		first--
	}
	for end < len(seats) && seats[end].Zone == seats[last].Zone {
		end++
	}
	return slices.Concat(seats[end:], seats[:first], seats[first:last], seats[last+1:end], seats[last:last+1])
}

// patch places the runs that a walk left over, one by one, on the cheapest seat that has room and does not have the run
// yet. The walk leaves over at most a run or so for each seat, and only where space is tight.
func (c *Circle) patch(arcs []Arc, stop int, seats []Seat, zoneMax map[string]int) (patched []Arc, ok bool) {
	left := map[int]core.Size{}
	for _, s := range seats {
		left[s.Node] = s.Cap
	}
	zone := map[int]string{}
	for _, s := range seats {
		zone[s.Node] = s.Zone
	}
	for _, a := range arcs {
		left[a.Node] -= c.Between(a.Start, a.End)
	}
	for pos := stop; pos < c.End(); pos++ {
		run := pos % c.Runs()
		has, copies := map[int]bool{}, map[string]int{}
		for _, a := range arcs {
			if c.covers(a, run) {
				has[a.Node] = true
				copies[zone[a.Node]]++
			}
		}
		best, bestCost := -1, 0.0
		for _, s := range seats {
			most, limited := zoneMax[s.Zone]
			fits := !has[s.Node] && left[s.Node] >= c.Size(run) && (!limited || copies[s.Zone] < most)
			if fits && (best < 0 || s.Cost < bestCost || s.Cost == bestCost && left[s.Node] > left[best]) {
				best, bestCost = s.Node, s.Cost
			}
		}
		if best < 0 {
			return arcs, false
		}
		left[best] -= c.Size(run)
		arcs = append(arcs, Arc{Node: best, Start: pos, End: pos + 1})
	}
	return arcs, true
}

// covers reports whether an arc passes a run.
func (c *Circle) covers(a Arc, run int) bool {
	// the first position from the arc's start on at which the run stands
	first := a.Start + ((run-a.Start)%c.Runs()+c.Runs())%c.Runs()
	return first < a.End
}

// Stretch is consecutive runs that the same nodes are to keep.
type Stretch struct {
	Start, End int // runs
	Nodes      []int
}

// Stretches cuts the ring wherever the set of nodes changes.
func (c *Circle) Stretches(arcs []Arc) (out []Stretch) {
	type change struct{ at, node, by int }
	var changes []change
	for _, a := range arcs {
		for from := a.Start; from < a.End; {
			to := min(a.End, (from/c.Runs()+1)*c.Runs())
			changes = append(changes, change{from % c.Runs(), a.Node, +1}, change{(to-1)%c.Runs() + 1, a.Node, -1})
			from = to
		}
	}
	slices.SortStableFunc(changes, func(x, y change) int { return x.at - y.at })
	var here []int
	for i := 0; i < len(changes); {
		at := changes[i].at
		for ; i < len(changes) && changes[i].at == at; i++ {
			if ch := changes[i]; ch.by > 0 {
				here = append(here, ch.node)
			}
		}
		for j := i - 1; j >= 0 && changes[j].at == at; j-- {
			if ch := changes[j]; ch.by < 0 {
				k := slices.Index(here, ch.node)
				here = slices.Delete(here, k, k+1)
			}
		}
		if i < len(changes) && len(here) > 0 {
			nodes := slices.Clone(here)
			slices.Sort(nodes)
			if last := len(out) - 1; last >= 0 && out[last].End == at && slices.Equal(out[last].Nodes, nodes) {
				out[last].End = changes[i].at
				continue
			}
			out = append(out, Stretch{Start: at, End: changes[i].at, Nodes: nodes})
		}
	}
	return out
}
