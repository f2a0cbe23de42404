// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"math"
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan/fluid"
)

// Lot is runs that the same nodes have, and that all of some others are to get.
type Lot struct {
	Runs     []core.Size
	From, To []int
}

// Leg is some runs of a lot that go the same way.
type Leg struct {
	Lot   int
	Runs  []int    // of the lot
	Links [][2]int // over which each goes once, in no order
}

// mostLots is for how many lots ways are computed.
const mostLots = 256

// Reroute is how lots travel in the least time, whoever passes them on; nothing where that is not known: on networks of
// more than fluid.MaxExact nodes, of too many lots, or where nothing leads to somebody.
func Reroute(s core.Snapshot, lots []Lot) (legs []Leg) {
	if len(s.Nodes) > fluid.MaxExact || len(lots) > mostLots {
		return nil
	}
	if !s.Changes() {
		legs, _ = reroute(s, lots)
		return legs
	}
	changing := fluid.Narrowed(s)
	_, err := fluid.Settle(timeFits, func(t float64) (seconds float64, err error) {
		legs, seconds = reroute(changing.Over(t), lots)
		return seconds, nil
	})
	if err != nil {
		return nil
	}
	return legs
}

func reroute(s core.Snapshot, lots []Lot) (legs []Leg, seconds float64) {
	net, err := fluid.NewNetwork(s)
	if err != nil {
		return nil, 0
	}
	c := fluid.Copies{Relays: true, Free: make([]float64, len(s.Nodes))}
	for i := range c.Free {
		c.Free[i] = math.Inf(1)
	}
	var of []int // by demand: its lot
	for k, lot := range lots {
		class := fluid.CopyClass{From: lot.From, Copies: len(lot.To), May: lot.To}
		for _, size := range lot.Runs {
			class.Bytes += float64(size)
		}
		if class.Bytes > 0 && len(lot.To) > 0 {
			of = append(of, k)
		}
		c.Classes = append(c.Classes, class)
	}
	ways, bound := net.Spread(c, func(least float64) float64 { return nearBound * least })
	t := newTally(net)
	for demand, k := range of {
		mine := slices.DeleteFunc(slices.Clone(ways), func(w fluid.Route) bool { return w.Demand != demand })
		if len(mine) == 0 {
			return nil, bound.Seconds
		}
		legs = append(legs, t.cut(k, lots[k].Runs, mine)...)
	}
	return legs, bound.Seconds
}

// cut gives every way so many runs as come nearest to its bytes.
func (t *tally) cut(lot int, runs []core.Size, ways []fluid.Route) []Leg {
	legs, run := make([]Leg, len(ways)), 0
	take := func(k int) {
		legs[k].Runs = append(legs[k].Runs, run)
		t.add(ways[k].Links, float64(runs[run]))
		ways[k].Bytes -= float64(runs[run])
		run++
	}
	for k, w := range ways {
		legs[k].Lot, legs[k].Links = lot, w.Links
		for run < len(runs) && float64(runs[run]) <= ways[k].Bytes+1 {
			take(k)
		}
	}
	for run < len(runs) { // less than a run is left of each: whichever makes nobody late
		best, least := 0, math.Inf(1)
		for k, w := range ways {
			ends := t.ends(w.Links, float64(runs[run]))
			if ends < least || ends == least && w.Bytes > ways[best].Bytes {
				best, least = k, ends
			}
		}
		take(best)
	}
	return slices.DeleteFunc(legs, func(l Leg) bool { return len(l.Runs) == 0 })
}
