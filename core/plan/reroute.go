// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"math"
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan/fluid"
)

// Lot is runs that the same nodes have, and of which as many copies more are to be at others.
type Lot struct {
	Runs   []core.Size
	From   []int          // who has them
	May    []int          // who may be given them: all of these where there are as many as copies
	Copies int            // of each run
	Zones  map[string]int // how many of a run each zone may be given, where that is limited
}

// Leg is some runs of a lot that go the same way.
type Leg struct {
	Lot   int
	Runs  []int    // of the lot
	Links [][2]int // over which each goes once, in no order
	Keeps []int    // who is to keep them
}

// mostLots is for how many lots ways are computed.
const mostLots = 256

// Room is what nodes can keep of lots, in bytes by node, and what of it they were to keep until now, from which there
// is to be no more than needs be taken away; nil for any, and for nothing.
type Room struct {
	Free, Due []core.Size
	Direct    bool // nobody passes on what it does not keep
}

// Reroute is how lots travel in the least time, whoever passes them on, and that time; nothing where that is not known:
// on networks of more than fluid.MaxExact nodes, of too many lots, where nothing leads to somebody, or there is no
// room.
func Reroute(s core.Snapshot, lots []Lot, room Room) (legs []Leg, seconds float64) {
	if len(s.Nodes) > fluid.MaxExact || len(lots) > mostLots {
		return nil, 0
	}
	if !s.Changes() {
		return reroute(s, lots, room)
	}
	changing := fluid.Narrowed(s)
	_, err := fluid.Settle(timeFits, func(t float64) (float64, error) {
		legs, seconds = reroute(changing.Over(t), lots, room)
		return seconds, nil
	})
	if err != nil {
		return nil, 0
	}
	return legs, seconds
}

func reroute(s core.Snapshot, lots []Lot, room Room) (legs []Leg, seconds float64) {
	net, err := fluid.NewNetwork(s)
	if err != nil {
		return nil, 0
	}
	c, of := copiesOf(len(s.Nodes), lots, room)
	ways, bound := net.Spread(c, func(least float64) float64 { return nearBound * least })
	t, left := newTally(net), slices.Clone(room.Free)
	for demand, k := range of {
		mine := slices.DeleteFunc(slices.Clone(ways), func(w fluid.Route) bool { return w.Demand != demand })
		some, ok := t.cut(k, lots[k].Runs, mine, left)
		if !ok {
			return nil, bound.Seconds
		}
		legs = append(legs, some...)
	}
	return legs, bound.Seconds
}

// copiesOf is lots as package fluid sees them, and of which lot each demand is.
func copiesOf(nodes int, lots []Lot, room Room) (c fluid.Copies, of []int) {
	c = fluid.Copies{Relays: !room.Direct, Free: make([]float64, nodes)}
	for i := range c.Free {
		if c.Free[i] = math.Inf(1); room.Free != nil {
			c.Free[i] = float64(max(0, room.Free[i]))
		}
	}
	for _, due := range room.Due {
		c.Fair = append(c.Fair, float64(due))
	}
	for k, lot := range lots {
		class := fluid.CopyClass{From: lot.From, Copies: lot.Copies, May: lot.May, Zones: lot.Zones}
		for _, size := range lot.Runs {
			class.Bytes += float64(size)
		}
		if class.Bytes > 0 && lot.Copies > 0 {
			of = append(of, k)
		}
		c.Classes = append(c.Classes, class)
	}
	return c, of
}

// cut gives every way so many runs as come nearest to its bytes, as far as there is room left; false where there is
// not.
func (t *tally) cut(lot int, runs []core.Size, ways []fluid.Route, left []core.Size) (legs []Leg, ok bool) {
	legs = make([]Leg, len(ways))
	run := 0
	fits := func(w fluid.Route) bool {
		return left == nil || !slices.ContainsFunc(w.Keeps, func(i int) bool { return left[i] < runs[run] })
	}
	take := func(k int) {
		legs[k].Runs = append(legs[k].Runs, run)
		t.add(ways[k].Links, float64(runs[run]))
		ways[k].Bytes -= float64(runs[run])
		if left != nil {
			for _, i := range ways[k].Keeps {
				left[i] -= runs[run]
			}
		}
		run++
	}
	for k, w := range ways {
		legs[k].Lot, legs[k].Links, legs[k].Keeps = lot, w.Links, w.Keeps
		for run < len(runs) && float64(runs[run]) <= ways[k].Bytes+1 && fits(w) {
			take(k)
		}
	}
	for run < len(runs) { // less than a run is left of each: whichever makes nobody late
		best, least := -1, math.Inf(1)
		for k, w := range ways {
			if !fits(w) {
				continue
			}
			ends := t.ends(w.Links, float64(runs[run]))
			if best < 0 || ends < least || ends == least && w.Bytes > ways[best].Bytes {
				best, least = k, ends
			}
		}
		if best < 0 {
			return nil, false
		}
		take(best)
	}
	return slices.DeleteFunc(legs, func(l Leg) bool { return len(l.Runs) == 0 }), true
}
