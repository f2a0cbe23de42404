// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/core/task"
)

// follow lets an account, and what nodes know of it, have the rate that its calendar gives it, from change to change.
func (w *world) follow(name string, ahead core.Forecast, known *core.Rate) {
	if len(ahead) == 0 {
		return
	}
	next, ok := ahead.Next(w.now.Seconds())
	if !ok {
		return
	}
	w.after(time.Duration(next*float64(time.Second))-w.now, func() {
		w.change(name, known, ahead.At(w.now.Seconds()))
		w.follow(name, ahead, known)
	})
}

// change gives an account another rate. Where it shrinks, the leases on it shrink and both ends hear of it, as between
// real nodes. Where it grows, their senders ask for more.
func (w *world) change(name string, known *core.Rate, to core.Rate) {
	*known = to
	for _, shrunk := range w.book.SetCapacity(name, to) {
		l, f := w.holder(shrunk.ID)
		if now, stands := w.book.Lease(shrunk.ID); stands { // what others did before may have changed it
			w.step(l, f, task.Event{Kind: task.Scaled, Rate: now.Rate})
		}
	}
	for _, n := range w.nodes {
		n.peer.Up, n.peer.Down = n.up, n.down
	}
	for _, n := range w.nodes {
		w.try(n)
	}
}

// holder is the end of a link that holds a lease.
func (w *world) holder(lease uint64) (*link, *task.Flow) {
	for _, n := range w.nodes {
		for _, l := range n.links {
			switch {
			case l == nil || l.asker == nil:
			case l.asker.Holds() && l.hold == lease:
				return l, l.asker
			case l.grantor.Holds() && l.lease == lease:
				return l, l.grantor
			}
		}
	}
	panic("sim: a lease that nobody holds")
}

// view is the network as the planner believes it to be from now on.
func (w *world) view() core.Snapshot { return w.later(w.believed, w.now.Seconds()) }

// later is a network some seconds after the beginning.
func (w *world) later(s core.Snapshot, seconds float64) core.Snapshot {
	if !s.Changes() {
		return s
	}
	return s.Later(int64(seconds))
}

// doneBy is which part of a job can be done at most by a moment, when all of it takes as long as the bound.
func (w *world) doneBy(at float64, bound plan.Bound) float64 {
	if s := w.topology.Network; s.Changes() {
		if b, err := plan.LeastTime(s.Over(at), w.topology.Goal); err == nil {
			bound = b
		}
	}
	return min(1, at/bound.Seconds)
}
