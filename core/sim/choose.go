package sim

import (
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/account"
	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/core/task"
)

// try lets a node send as long as it finds somebody to send to.
func (w *world) try(n *node) {
	n.hungry = false
	for !n.lost && w.serve(n) {
	}
}

// serve starts one flow from a node; false if there is none to start now.
func (w *world) serve(n *node) bool {
	if n.active >= plan.MaxFlows {
		return false
	}
	free := w.book.Free(n.account.up)
	n.hungry = true
	if n.index == w.source && n.unsent > 0 {
		if w.serveStage(n, plan.Spreading, free) {
			return true
		}
	}
	return w.serveStage(n, plan.Filling, free)
}

func (w *world) serveStage(n *node, stage plan.Stage, free core.Rate) bool {
	lanes, receivers := w.receivers(n, stage)
	for i, l := range lanes {
		if l.delay > 0 && n.up > 0 {
			receivers[i].Fair = w.fair(l, stage, slices.Delete(slices.Clone(receivers), i, i+1))
		}
	}
	pick := plan.Choose(stage, free, n.up, receivers)
	if pick < 0 {
		return false
	}
	l := lanes[pick]
	rate := min(free, receivers[pick].Free)
	if rate == account.Unlimited { // nothing limits it: as good as at once
		rate = 1 << 50
	}
	if fair := receivers[pick].Fair; fair > 0 {
		rate = min(rate, fair)
	}
	w.open(l)
	w.apply(l, w.batch(l, stage, rate), rate)
	return true
}

// fair is what a lane should have of its sender's uplink, beside the lanes that hold some of it and those that wait.
func (w *world) fair(l *lane, stage plan.Stage, waiting []plan.Receiver) core.Rate {
	own := w.receiver(l)
	if l.trunk != nil { // nobody else may use what crosses it
		return plan.Least(l.from.up/2, own.Nominal)
	}
	var served []plan.Receiver
	for _, to := range l.from.out {
		if other := l.from.lanes[to]; other != l && other.busy {
			served = append(served, w.receiver(other))
		}
	}
	return plan.Fair(stage, l.from.up, own, served, waiting)
}

// batch chooses runs for a lane: one where words take no time, else as many as a real node asks for. It is less the
// nearer the end, so that nobody is left with much to pass on when the others are done.
func (w *world) batch(l *lane, stage plan.Stage, rate core.Rate) (runs []task.Run) {
	bytes := core.Size(1)
	if l.taste = !l.to.began; l.delay > 0 && !l.taste {
		if bytes = plan.Batch(rate, 2*l.delay); stage == plan.Spreading {
			bytes = min(bytes, core.Size(l.from.unsent)*w.sizes[0]/core.Size(2*len(l.from.out)))
		} else {
			bytes = min(bytes, l.to.need/4)
		}
	}
	for len(runs) == 0 || bytes >= w.sizes[0] && len(l.units) < core.SegmentRuns {
		s := w.useful(l, stage)
		if s.empty() {
			break
		}
		r := w.expect(l, w.pick(l, s))
		runs, bytes = append(runs, r), bytes-r.Size
	}
	return runs
}

// more asks for more under a lease that stands, before it has carried what was granted, where the lane is still the one
// to be served.
func (w *world) more(l *lane) {
	f, n := l.asker, l.from
	if l.delay == 0 || f.State != task.Leased || n.lost || l.to.noticed || len(l.units) >= core.SegmentRuns ||
		w.unsent(l) >= l.refill() {
		return
	}
	stages := []plan.Stage{plan.Filling}
	if n.index == w.source && n.unsent > 0 {
		stages = []plan.Stage{plan.Spreading, plan.Filling}
	}
	for _, stage := range stages {
		lanes, receivers := w.receivers(n, stage)
		own := w.receiver(l)
		own.Free += f.Rate
		if w.useful(l, stage).empty() {
			own.Free = 0
		}
		if n.up > 0 {
			own.Fair = w.fair(l, stage, receivers)
		}
		pick := plan.Choose(stage, w.book.Free(n.account.up)+f.Rate, n.up, append(receivers, own))
		if pick < 0 {
			continue
		}
		if pick < len(lanes) && (own.Free == 0 || l.taste ||
			!plan.Keeps(stage, own, receivers[pick], w.now-l.leased, 2*l.delay)) {
			return
		}
		rate := f.Rate + min(w.book.Free(l.accounts...), w.book.Free(l.to.account.down), 1<<50)
		if fair := own.Fair; fair > 0 {
			if len(lanes) > 0 && float64(f.Rate) > plan.TooMuch*float64(fair) {
				w.must(w.book.Adjust(l.hold, fair))
				w.step(l, f, task.Event{Kind: task.Scaled, Rate: fair})
				w.after(0, func() { w.try(n) })
			}
			rate = max(f.Rate, min(rate, fair))
		}
		w.step(l, f, task.Event{Kind: task.Ask, Runs: w.batch(l, stage, f.Rate), Rate: rate})
		return
	}
}

// refill is how much may be left to send when a lane asks for more.
func (l *lane) refill() float64 { return float64(plan.Batch(l.asker.Rate, 2*l.delay)) / 2 }

// unsent is what was granted and is not sent yet.
func (w *world) unsent(l *lane) float64 {
	sum := 0.0
	if l.sending {
		sum = l.left - (w.now-l.since).Seconds()*float64(l.pacedAt)/core.WireOverhead
	}
	for _, r := range l.asker.Unbegun() {
		sum += float64(r.Size)
	}
	return sum
}

// receivers lists up to plan.MaxReceivers nodes that want something which n holds, and could take it now.
func (w *world) receivers(n *node, stage plan.Stage) (lanes []*lane, out []plan.Receiver) {
	if len(n.out) == 0 {
		return nil, nil
	}
	w.refresh()
	start := w.random.IntN(len(n.out))
	for k := range n.out {
		l := n.lanes[n.out[(start+k)%len(n.out)]]
		if l.busy || l.to.noticed || l.asker != nil && l.asker.State == task.Waiting {
			continue
		}
		r := w.receiver(l)
		if plan.Choose(stage, account.Unlimited, 0, []plan.Receiver{r}) < 0 || w.useful(l, stage).empty() {
			continue
		}
		lanes, out = append(lanes, l), append(out, r)
		if len(out) == plan.MaxReceivers {
			break
		}
	}
	return lanes, out
}

// receiver is what a sender's hints tell it about the other end of a lane.
func (w *world) receiver(l *lane) plan.Receiver {
	r := plan.Receiver{Nominal: plan.Least(l.from.up, l.to.down, l.link), Free: w.book.Free(l.to.account.down),
		Empty: !l.to.began,
		First: l.from.first[l.to.index], Given: l.from.given[l.to.index], Crit: w.crit(l)}
	if len(l.accounts) > 1 {
		r.Free = min(r.Free, w.book.Free(l.accounts[1:]...))
	}
	if l.trunk != nil {
		r.Nominal = plan.Least(r.Nominal, l.trunk.rate)
		if r.First == 0 { // who passes on most beyond a trunk is the best to enter there
			r.First, r.Given = float64(l.to.up), l.to.entered
		}
	}
	if r.Near = l.delay.Seconds(); r.Near == 0 && r.Nominal > 0 {
		r.Near = 1 / float64(r.Nominal)
	}
	return r
}

func (w *world) crit(l *lane) float64 {
	if l.to.need == 0 && len(w.relays) > 0 { // a relay is as urgent as who waits behind it
		crit := 0.0
		for _, to := range l.to.out {
			if v := w.nodes[to]; v.need > 0 && v != l.from {
				crit = max(crit, plan.Crit(v.need, v.down, 0, 0))
			}
		}
		return crit
	}
	if l.trunk == nil {
		return plan.Crit(l.to.need, l.to.down, 0, 0)
	}
	return plan.Crit(l.to.need, l.to.down, w.zones[l.trunk.to].need, l.trunk.rate)
}

// once reports whether a run should cross a trunk once: where many want it, and nobody beyond holds it from the start.
func (w *world) once() bool {
	mode := w.topology.Goal.Mode
	return mode == plan.Broadcast || mode == plan.Replicas
}

// useful is what the receiver of a lane lacks and the sender holds. A run crosses a trunk only while no node of the
// zone beyond has it or is getting it, or when the zone has all that it wants: then it is a second way to it. In a
// fetch a holder keeps to its shares until the fluid plan would be done: what it gives beyond them, others have nothing
// else to give. The answer is valid until the next call.
func (w *world) useful(l *lane, stage plan.Stage) set {
	from, to := l.from, l.to
	for k := range w.scratch {
		v := from.has[k] & (to.want[k] | to.passes[k]) &^ to.has[k] &^ to.coming[k]
		if stage == plan.Spreading {
			v &^= from.sent[k]
		}
		w.scratch[k] = v
	}
	if from.share != nil && w.now < w.due {
		w.scratch.all(func(unit int) {
			if c := w.part[unit]; from.owns.has(unit) && from.gave[c]+float64(w.sizes[unit])/2 > from.share[c] {
				w.scratch.drop(unit)
			}
		})
	}
	if z := l.trunk; z != nil && w.once() && w.zones[z.to].need > 0 {
		copies := w.zones[z.to].copies
		w.scratch.all(func(unit int) {
			if copies[unit] > 0 {
				w.scratch.drop(unit)
			}
		})
	}
	return w.scratch
}

// pick chooses the unit to send: of the part of a file that is due, where the plan says who gives what, else the
// rarest.
func (w *world) pick(l *lane, s set) int {
	n := l.from
	if n.share == nil || n.owns.empty() {
		return w.rarest(s)
	}
	free := make([]bool, len(n.share))
	s.all(func(unit int) { free[w.part[unit]] = true })
	part := plan.ChoosePart(n.share, n.gave, free)
	s.all(func(unit int) {
		if w.part[unit] != part {
			s.drop(unit)
		}
	})
	return w.rarest(s)
}

// rarest is the unit with the fewest copies among some drawn at random.
func (w *world) rarest(s set) int {
	best := s.from(w.random.IntN(len(w.sizes)))
	for range plan.MaxSampled - 1 {
		if u := s.from(w.random.IntN(len(w.sizes))); w.copies[u] < w.copies[best] {
			best = u
		}
	}
	return best
}
