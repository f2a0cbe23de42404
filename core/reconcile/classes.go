// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan"
)

// classes is the runs and stripes of all segments as the plan is asked about them: those beside each other that the
// same nodes keep.
type classes struct {
	list   []plan.Class
	places [][]place // by class
	named  map[string]int
}

// place is where a run stands, or a stripe, as a class has it.
type place struct {
	segment int
	run     int   // of no stripe
	stripe  int   // -1 where it is a run
	holders []int // of the stripe's runs, in their order; -1 where nobody keeps one
}

// newClasses is those of nothing: the first is of runs that nobody keeps.
func newClasses() *classes {
	c := &classes{list: []plan.Class{{}}, places: [][]place{nil}, named: map[string]int{}}
	c.named[classOf(place{stripe: -1}, nil)] = 0
	return c
}

func classOf(at place, holders []int) string {
	if at.stripe < 0 {
		return fmt.Sprint(holders)
	}
	return fmt.Sprint("stripe", at.holders)
}

func (c *classes) add(at place, holders []int, copies int, size core.Size) {
	as := classOf(at, holders)
	class, ok := c.named[as]
	if !ok {
		class = len(c.list)
		c.named[as] = class
		c.list, c.places = append(c.list, plan.Class{Holders: holders, Copies: copies}), append(c.places, nil)
	}
	c.list[class].Runs = append(c.list[class].Runs, size)
	c.places[class] = append(c.places[class], at)
}

// mostAlone is of how many classes with as few copies each is tried alone, where there is no room for all.
const mostAlone = 64

// partly is a plan for as many copies as there is room for, where all that are wanted have none: those with the fewest
// go up by one together, or who of them can. It is nil where nobody can.
func (c *classes) partly(copies int, p Plan) (spans [][]plan.Span) {
	wanted := func(i int) int { return cmp.Or(c.list[i].Copies, copies) }
	levels, most := make([]int, len(c.list)), 0
	for i, k := range c.list {
		levels[i] = min(wanted(i), len(k.Holders))
		most = max(most, wanted(i))
	}
	raise := func(raised ...int) bool {
		list := slices.Clone(c.list)
		for i := range list {
			list[i].Copies = levels[i]
			if slices.Contains(raised, i) {
				list[i].Copies++
			}
			if list[i].Copies == 0 {
				list[i] = plan.Class{Copies: 1}
			}
		}
		var err error
		if spans, err = p(list); err != nil {
			return false
		}
		for _, i := range raised {
			levels[i]++
		}
		return true
	}
	some := false
	for level := range most {
		var low []int
		for i, k := range c.list {
			if levels[i] == level && level < wanted(i) && len(k.Runs) > 0 {
				low = append(low, i)
			}
		}
		if len(low) == 0 {
			continue
		}
		if raise(low...) {
			some = true
			continue
		}
		for i := 0; i < len(low) && len(low) > 1 && len(low) <= mostAlone; i++ {
			some = raise(low[i]) || some
		}
	}
	if !some || !raise() { // the plan that is asked for last is the one
		return nil
	}
	return spans
}

// shard is which run of a stripe a span of the plan is about: that which its node keeps, or of those that nobody does
// who goes on the one that the span counts to: from another on in each stripe, so that nobody keeps parity alone.
func (p place) shard(s plan.Span, kept map[int]bool) int {
	if s.Node == s.From {
		return slices.Index(p.holders, s.Node)
	}
	var open []int
	for k, holder := range p.holders {
		if holder < 0 || !kept[holder] {
			open = append(open, k)
		}
	}
	return open[(s.Shard+p.stripe)%len(open)]
}
