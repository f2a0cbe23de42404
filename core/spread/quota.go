// SPDX-License-Identifier: Apache-2.0

package spread

import (
	"time"

	"github.com/bkp-tool/bkp/core/plan"
)

// Quota is how much of each part of a file a node should give in a fetch in which holders push, and what it gave. What
// it gives beyond that, others have nothing else to give. It is about one segment.
type Quota struct {
	Until time.Duration // when all should be there: then it binds no more

	seg         *Segment
	parts       []set // the runs of each part
	of          []int // the part of each run
	share, gave []float64
	owns        set
	spent       set // what it owns of the parts of which it gave its share
}

// Limit says how much of each part a node should give: share in bytes, by part; of is the part of each run.
func (p *Part) Limit(s *Segment, of []int, share []float64, until time.Duration) {
	q := &Quota{Until: until, seg: s, of: of, share: share, gave: make([]float64, len(share)),
		owns: p.me.of(s).owns, spent: newSet(s.Runs())}
	for range share {
		q.parts = append(q.parts, newSet(s.Runs()))
	}
	for run, part := range of {
		q.parts[part].add(run)
	}
	p.quota = q
	for part := range share {
		q.spend(part)
	}
}

// give counts bytes that are sent, or not after all.
func (q *Quota) give(run int, bytes float64) {
	if q.owns.empty() {
		return
	}
	q.gave[q.of[run]] += bytes
	q.spend(q.of[run])
}

// spend holds back a part of which the node gave its share, to half a run.
func (q *Quota) spend(part int) {
	run := q.parts[part].from(0)
	if run < 0 {
		return
	}
	spent := q.gave[part]+float64(q.seg.sizes[run])/2 > q.share[part]
	for k, w := range q.parts[part] {
		if w &= q.owns[k]; spent {
			q.spent[k] |= w
		} else {
			q.spent[k] &^= w
		}
	}
}

// pick chooses a run of the part that is due.
func (q *Quota) pick(o *offer, p *Part) int {
	if q.owns.empty() {
		return p.rarest(o)
	}
	free := make([]bool, len(q.parts))
	within := newSet(o.seg.Runs())
	for part, runs := range q.parts {
		for k := range within {
			free[part] = free[part] || o.word(k)&runs[k] != 0
		}
	}
	part := plan.ChoosePart(q.share, q.gave, free)
	if part < 0 {
		return -1
	}
	for k := range within {
		within[k] = o.from[k] & q.parts[part][k]
	}
	only := *o
	only.from = within
	return p.rarest(&only)
}
