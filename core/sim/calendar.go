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
// real nodes. Where it grows, a lease grows in the same proportion as far as there is room: a real flow asks for more
// with its next run, but the runs here may be large, and one that began by day would hold its slow lease through the
// night.
func (w *world) change(name string, known *core.Rate, to core.Rate) {
	was := *known
	*known = to
	for _, shrunk := range w.book.SetCapacity(name, to) {
		l, f := w.holder(shrunk.ID)
		if now, stands := w.book.Lease(shrunk.ID); stands { // what others did before may have changed it
			w.step(l, f, task.Event{Kind: task.Scaled, Rate: now.Rate})
		}
	}
	if to == 0 || was > 0 && to > was {
		w.lanesOn(name, func(l *lane) { w.widen(l, was, to) })
	}
	for _, n := range w.nodes {
		w.try(n)
	}
}

// lanesOn calls each with every lane that an account limits.
func (w *world) lanesOn(name string, each func(l *lane)) {
	for _, n := range w.nodes {
		for _, to := range n.out {
			l := n.lanes[to]
			for _, account := range l.accounts {
				if account == name {
					each(l)
				}
			}
			if l.to.account.down == name {
				each(l)
			}
		}
	}
}

// holder is the end of a lane that holds a lease.
func (w *world) holder(lease uint64) (*lane, *task.Flow) {
	for _, n := range w.nodes {
		for _, l := range n.lanes {
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

// widen begins what is left of a run anew at a higher rate, where an account that went from one rate to another lets
// it. A lane with a delay asks for more soon anyway.
func (w *world) widen(l *lane, was, to core.Rate) {
	if !l.busy || l.delay > 0 || l.asker.State != task.Leased || l.dead() || l.left <= 0 {
		return
	}
	rate := l.asker.Rate
	higher := min(w.book.Free(l.accounts...), w.book.Free(l.to.account.down))
	if higher = min(higher, core.Rate(1)<<50) + rate; was > 0 && to > 0 {
		higher = min(higher, core.Rate(float64(rate)*float64(to)/float64(was)))
	}
	if float64(higher) < 1.05*float64(rate) {
		return
	}
	w.settle(l)
	unit, left := l.units[l.number], l.left
	for _, f := range []*task.Flow{l.asker, l.grantor} {
		w.step(l, f, task.Event{Kind: task.Lost})
	}
	w.open(l)
	w.apply(l, []task.Run{w.expect(l, unit)}, higher)
	l.spared = float64(w.sizes[unit]) - left
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
