// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"time"

	"github.com/bkp-tool/bkp/core"
)

// Verdict is how a placement stands.
type Verdict struct {
	Copies  int       // that count, of the run that has the fewest
	Reached int       // of those, at nodes that can be reached now
	Lacks   bool      // it has less than is wanted, at nodes that are to keep it
	Act     bool      // that is to be done something about now
	Blind   bool      // too few of its nodes can be reached to judge: no further one is given up
	Until   time.Time // when the grace ends of the first node that is away; zero where none is waited for
}

// Judge says how a placement stands, and whether something is to be done about it that nobody asked for. While a node
// is away that is not given up yet nothing is: it may come back, and what others lost is made good together with what
// it has; but not where hardly anything is left.
func Judge(w Wanted, known []Segment, n Network, now time.Time) (v Verdict) {
	q := ask(w, known, n, now)
	reached := func(id core.ID) bool { i, there := q.index[id]; return there && q.nodes[i].Away.IsZero() }
	staying := func(id core.ID) bool { i, there := q.index[id]; return !there || !q.nodes[i].Drained }
	first := true
	for number, s := range known {
		for run := range s.Sizes {
			all, there := q.left(number, run, anybody), q.left(number, run, reached)
			if first || all < v.Copies {
				v.Copies = all
			}
			if first || there < v.Reached {
				v.Reached = there
			}
			first = false
			v.Lacks = v.Lacks || q.counting(s, run, staying) < q.wanted(number, run)
		}
	}
	part, waiting := q.part(), false
	v.Blind = q.patient && len(part) > 0
	for _, id := range part {
		if reached(id) || q.lost(id) {
			continue
		}
		waiting = true
		if i, there := q.index[id]; there && !v.Blind {
			if until := q.nodes[i].Away.Add(q.Grace); v.Until.IsZero() || until.Before(v.Until) {
				v.Until = until
			}
		}
	}
	v.Act = v.Lacks && !v.Blind && (!waiting || v.Reached < min(2, w.Copies))
	return v
}
