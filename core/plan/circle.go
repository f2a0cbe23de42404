// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"
	"sort"

	"github.com/bkp-tool/bkp/core"
)

// circle is the runs of one class laid in a ring that is walked once for each copy. Positions count runs along the
// whole walk, so position p is run p mod n. A node that takes no more than n consecutive positions gets no run twice,
// and if the nodes' stretches follow each other without a gap, every run gets exactly as many different nodes as there
// are rounds.
type circle struct {
	sums   []core.Size // sums[i]: bytes of the runs before i
	rounds int
}

func newCircle(runs []core.Size, rounds int) *circle {
	c := &circle{sums: make([]core.Size, len(runs)+1), rounds: rounds}
	for i, size := range runs {
		c.sums[i+1] = c.sums[i] + size
	}
	return c
}

func (c *circle) n() int               { return len(c.sums) - 1 }
func (c *circle) bytes() core.Size     { return c.sums[c.n()] }
func (c *circle) end() int             { return c.n() * c.rounds }
func (c *circle) size(i int) core.Size { return c.sums[i+1] - c.sums[i] }

// at is how many bytes stand before a position of the walk.
func (c *circle) at(pos int) core.Size {
	return core.Size(pos/c.n())*c.bytes() + c.sums[pos%c.n()]
}

// arc is a node's stretch of the walk.
type arc struct {
	node       int
	start, end int // positions
}

// seat is a node's place at the circle.
type seat struct {
	node  int
	zone  string
	cap   core.Size // bytes that it can keep of this class
	cost  float64   // per byte
	quota float64   // bytes that it should
}

// walk gives the seats that have a quota, in their order, stretches of the walk: a node whose quota is its cap as much
// as fits, any other its quota to the nearest run, more or less by what those before it left over or took too much. The
// seat with most to spare comes last and takes the rest. A zone of zoneMax gets at most that many rounds of the circle,
// so that no run has more copies in it. It returns the arcs, and the position at which it had to stop: c.end() if all
// went well.
func (c *circle) walk(seats []seat, zoneMax map[string]int) (arcs []arc, stop int) {
	seats = spareLast(slices.DeleteFunc(slices.Clone(seats), func(s seat) bool { return s.quota <= 0 && s.cap > 0 }))
	zoneLeft := map[string]int{}
	for _, s := range seats {
		zoneLeft[s.zone] = c.end()
		if most, ok := zoneMax[s.zone]; ok {
			zoneLeft[s.zone] = min(most, c.rounds) * c.n()
		}
	}
	pos, debt := 0, 0.0 // debt: bytes that earlier seats should have taken and did not
	for i, s := range seats {
		most := min(c.n(), zoneLeft[s.zone], c.end()-pos)
		room := c.reach(pos, most, s.cap)
		end := room
		switch {
		case i == len(seats)-1: // the rest, if it fits
		case s.quota >= float64(s.cap):
		default:
			end = min(room, c.nearest(pos, most, s.quota+debt))
		}
		if end > pos {
			arcs = append(arcs, arc{node: s.node, start: pos, end: end})
		}
		debt += s.quota - float64(c.at(end)-c.at(pos))
		zoneLeft[s.zone] -= end - pos
		pos = end
	}
	return arcs, pos
}

// reach is the last position up to which runs from pos fit into limit bytes, at most most of them.
func (c *circle) reach(pos, most int, limit core.Size) int {
	base := c.at(pos)
	return pos + sort.Search(most, func(k int) bool { return c.at(pos+k+1)-base > limit })
}

// nearest is the position, at most most runs from pos, whose distance in bytes comes nearest to want.
func (c *circle) nearest(pos, most int, want float64) int {
	if want <= 0 {
		return pos
	}
	base := c.at(pos)
	k := sort.Search(most, func(k int) bool { return float64(c.at(pos+k+1)-base) > want })
	if k < most && float64(c.at(pos+k+1)-base)-want < want-float64(c.at(pos+k)-base) {
		k++
	}
	return pos + k
}

// spareLast turns the ring of seats so that the one with most room beyond its quota comes last, and its zone before it.
// Zones stay together, also when the walk has to stop early.
func spareLast(seats []seat) []seat {
	last, most := len(seats)-1, -1.0
	for i, s := range seats {
		if spare := float64(s.cap) - s.quota; spare > most {
			last, most = i, spare
		}
	}
	if last < 0 {
		return nil
	}
	first, end := last, last+1 // its zone
	for first > 0 && seats[first-1].zone == seats[last].zone {
		first--
	}
	for end < len(seats) && seats[end].zone == seats[last].zone {
		end++
	}
	return slices.Concat(seats[end:], seats[:first], seats[first:last], seats[last+1:end], seats[last:last+1])
}

// patch places the runs that a walk left over, one by one, on the cheapest seat that has room and does not have the run
// yet. The walk leaves over at most a run or so for each seat, and only where space is tight.
func (c *circle) patch(arcs []arc, stop int, seats []seat, zoneMax map[string]int) (patched []arc, ok bool) {
	left := map[int]core.Size{}
	for _, s := range seats {
		left[s.node] = s.cap
	}
	zone := map[int]string{}
	for _, s := range seats {
		zone[s.node] = s.zone
	}
	for _, a := range arcs {
		left[a.node] -= c.at(a.end) - c.at(a.start)
	}
	for pos := stop; pos < c.end(); pos++ {
		run := pos % c.n()
		has, copies := map[int]bool{}, map[string]int{}
		for _, a := range arcs {
			if c.covers(a, run) {
				has[a.node] = true
				copies[zone[a.node]]++
			}
		}
		best, bestCost := -1, 0.0
		for _, s := range seats {
			most, limited := zoneMax[s.zone]
			fits := !has[s.node] && left[s.node] >= c.size(run) && (!limited || copies[s.zone] < most)
			if fits && (best < 0 || s.cost < bestCost || s.cost == bestCost && left[s.node] > left[best]) {
				best, bestCost = s.node, s.cost
			}
		}
		if best < 0 {
			return arcs, false
		}
		left[best] -= c.size(run)
		arcs = append(arcs, arc{node: best, start: pos, end: pos + 1})
	}
	return arcs, true
}

// covers reports whether an arc passes a run.
func (c *circle) covers(a arc, run int) bool {
	// the first position from the arc's start on at which the run stands
	first := a.start + ((run-a.start)%c.n()+c.n())%c.n()
	return first < a.end
}

// stretch is consecutive runs that the same nodes are to keep.
type stretch struct {
	start, end int // runs
	nodes      []int
}

// stretches cuts the ring wherever the set of nodes changes.
func (c *circle) stretches(arcs []arc) (out []stretch) {
	type change struct{ at, node, by int }
	var changes []change
	for _, a := range arcs {
		for from := a.start; from < a.end; {
			to := min(a.end, (from/c.n()+1)*c.n())
			changes = append(changes, change{from % c.n(), a.node, +1}, change{(to-1)%c.n() + 1, a.node, -1})
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
			if last := len(out) - 1; last >= 0 && out[last].end == at && slices.Equal(out[last].nodes, nodes) {
				out[last].end = changes[i].at
				continue
			}
			out = append(out, stretch{start: at, end: changes[i].at, nodes: nodes})
		}
	}
	return out
}
