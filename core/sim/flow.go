// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"math"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/account"
	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/core/spread"
	"github.com/bkp-tool/bkp/core/task"
)

// open makes a link's flow anew where there is none any more.
func (w *world) open(l *link, s *spread.Sender) {
	if l.asker != nil && l.asker.State != task.Closed {
		return
	}
	// it is gone and never heard that the flow ended; its accounts went with it
	if l.grantor != nil && l.grantor.Holds() {
		w.step(l, l.grantor, task.Event{Kind: task.Lost})
	}
	w.serial++
	l.asker = task.NewFlow(w.serial, task.Asker, true)
	l.grantor = task.NewFlow(w.serial, task.Grantor, false)
	l.epoch++
	s.Flow = l.asker
}

// do is what a node decided to do about one of its links.
func (w *world) do(l *link, a spread.Action) {
	switch a.Kind {
	case spread.Ask:
		w.open(l, a.Sender)
		if !l.asker.Holds() {
			w.flows++
			l.way.busy, l.way.left = false, 0
		}
		runs := make([]task.Run, len(a.Runs))
		for i, unit := range a.Runs {
			runs[i] = task.Run{Number: unit, Size: w.sizes[unit]}
		}
		w.step(l, l.asker, task.Event{Kind: task.Ask, Rate: a.Rate, Runs: runs})
	case spread.Raise:
		w.step(l, l.asker, task.Event{Kind: task.Ask, Rate: a.Rate})
	case spread.Lower:
		w.must(w.book.Adjust(l.hold, a.Rate))
		w.step(l, l.asker, task.Event{Kind: task.Scaled, Rate: a.Rate})
		w.after(0, func() { w.try(l.from) })
	case spread.GiveUp: // no disk fails here
	}
}

// step moves one end of a link's flow and does what it says.
func (w *world) step(l *link, f *task.Flow, e task.Event) {
	e.Now = w.now
	rate := f.Agreed()
	actions, err := f.Step(e)
	if err != nil {
		panic(fmt.Sprintf("sim: %s to %s: %v", l.from.name, l.to.name, err)) // both ends are ours
	}
	for _, a := range actions {
		w.act(l, f, a)
	}
	if f != l.asker {
		return
	}
	if f.Holds() && f.Agreed() != rate && l.way.busy && l.way.left > 0 {
		w.settle(l)
		w.pace(l)
	}
	if s := l.sender(); f.State == task.Closed && s.Flow == f {
		s.Ended(w.now)
	}
}

// sender is the link as its sender sees it.
func (l *link) sender() *spread.Sender { return l.from.part.Sender(l.to.index) }

// act is the shell of one end: accounts and messages.
func (w *world) act(l *link, f *task.Flow, a task.Action) {
	accounts, id := l.accounts, &l.hold
	if f == l.grantor {
		accounts, id = []string{l.to.account.down}, &l.lease
	}
	switch a.Kind {
	case task.DoHold:
		w.serial++
		*id = w.serial
		w.must(w.book.Reserve(w.now, account.Lease{ID: *id, Flow: f.ID, Accounts: accounts, Rate: a.Rate,
			Expires: a.At}))
		if f == l.asker {
			w.expireLater(l, f, a.At)
		}
	case task.DoAdjust:
		w.must(w.book.Adjust(*id, a.Rate))
	case task.DoExtend:
		w.must(w.book.Renew(*id, a.At))
	case task.DoGiveBack:
		if !w.book.GiveBack(*id) {
			panic("sim: a lease was given back twice")
		}
		if f == l.asker {
			w.idle(l)
		}
	case task.DoRequeue:
		if f == l.asker || l.from.lost {
			for _, r := range a.Runs {
				l.sender().Drop(w.units, r.Number)
			}
		}
	case task.DoRetry:
		epoch := l.epoch
		w.waiting++
		w.after(a.At-w.now, func() {
			if w.waiting--; l.epoch == epoch && f.State == task.Waiting {
				w.step(l, f, task.Event{Kind: task.Due})
				w.try(l.from)
			}
		})
	case task.SendBegin:
		w.send(l, f, task.Event{Kind: task.Begun, Run: a.Run})
		w.transfer(l, a.Run)
	case task.SendApply:
		w.applied(l, a)
	case task.SendAgree:
		w.send(l, f, task.Event{Kind: task.Agreed, Runs: a.Runs, Rate: a.Rate, Lease: a.Lease, Term: a.At - w.now})
	case task.SendRefuse:
		w.send(l, f, task.Event{Kind: task.Refused, Reason: a.Reason, Retry: a.Retry})
	case task.SendComplete:
		w.send(l, f, task.Event{Kind: task.Received, Run: a.Run})
	case task.SendRevise:
		w.send(l, f, task.Event{Kind: task.Revised, Lease: a.Lease, Rate: a.Rate})
	case task.SendAbort:
		w.send(l, f, task.Event{Kind: task.Aborted, Reason: a.Reason})
	}
}

func (w *world) must(err error) {
	if err != nil {
		panic("sim: " + err.Error()) // the shell looked at the book just before
	}
}

// send carries a message to the other end, unless somebody there or here is gone.
func (w *world) send(l *link, f *task.Flow, e task.Event) {
	other := l.grantor
	if f == l.grantor {
		other = l.asker
	}
	epoch := l.epoch
	w.after(l.delay, func() {
		if l.dead() || l.epoch != epoch {
			return
		}
		switch e.Kind {
		case task.Agreed:
			l.sender().Agreed(e.Rate)
		case task.Refused:
			l.sender().Refused()
		default: // the sender hears of it by its flow
		}
		w.step(l, other, e)
		if e.Kind == task.Agreed {
			w.next(l)
		}
		if other == l.asker {
			w.more(l)
		}
	})
}

// applied is the receiver's side of an application: it looks at its accounts and answers at once.
func (w *world) applied(l *link, a task.Action) {
	epoch := l.epoch
	w.after(l.delay, func() {
		if l.dead() || l.epoch != epoch {
			return
		}
		w.serial++
		e := task.Event{Kind: task.Applied, Runs: a.Runs, Rate: a.Rate, Lease: w.serial,
			Free: w.book.Free(l.to.account.down), Nominal: w.book.Nominal(l.to.account.down)}
		if l.delay == 0 { // leases last no longer than a run
			w.step(l, l.grantor, e)
			return
		}
		q, from, down := l.to.peer, l.from.index, l.to.down
		most, nothing := q.Most(w.now, from, down, e.Free+l.grantor.Rate)
		if e.Rate = plan.Least(e.Rate, most); nothing {
			e.Reason, e.Retry = core.ReasonBusy, task.MinRetry
		}
		if w.step(l, l.grantor, e); !nothing {
			q.Granted(w.now, from, a.Rate, l.grantor.Rate, down)
		}
	})
}

// more lets the sender ask for more, before it has sent all that was granted.
func (w *world) more(l *link) {
	if l.delay > 0 && l.asker.State == task.Leased && !l.to.noticed && w.unsent(l) < w.refill(l) {
		l.sender().Low()
		w.drive(l.from)
	}
}

// refill is how much may be left to send when a link asks for more.
func (w *world) refill(l *link) float64 { return float64(l.sender().Refill(2 * l.delay)) }

// unsent is what was granted and is not sent yet.
func (w *world) unsent(l *link) float64 {
	sum := 0.0
	if l.way.busy {
		sum = l.way.left - (w.now-l.way.since).Seconds()*float64(l.way.rate)/core.WireOverhead
	}
	for _, r := range l.asker.Unbegun() {
		sum += float64(r.Size)
	}
	return sum
}

// next begins the next run that was granted, where none is being sent.
func (w *world) next(l *link) {
	if runs := l.asker.Unbegun(); len(runs) > 0 && !l.way.busy {
		w.step(l, l.asker, task.Event{Kind: task.Begun, Run: runs[0].Number})
	}
}

// transfer lets the bytes of a run arrive when the lease has carried them.
func (w *world) transfer(l *link, unit int) {
	if w.Began != nil {
		w.Began(l.from.index, l.to.index, unit)
	}
	l.way.unit, l.way.busy, l.way.left = unit, true, float64(w.sizes[unit])+l.slowStart(w.now)
	w.pace(l)
}

// keepsWindow is for how long TCP keeps its window while nothing is sent: the least timeout of Linux; and a round trip.
const keepsWindow = 200 * time.Millisecond

// slowStart is how many bytes more could have been sent while TCP's window doubles with every round trip until the
// lease's rate fits in.
func (l *link) slowStart(now time.Duration) float64 {
	if l.delay == 0 || now < l.warm {
		return 0
	}
	full := float64(l.asker.Rate) * 2 * l.delay.Seconds() // bytes in a round trip
	return full * max(0, math.Log2(1+full/plan.InitialWindow)-1) / core.WireOverhead
}

// pace says when what is left of a run will have been sent, at the rate that the lease has now.
func (w *world) pace(l *link) {
	l.way.since, l.way.rate = w.now, l.asker.Agreed()
	l.way.count++
	epoch, paced := l.epoch, l.way.count
	seconds := core.WireOverhead * l.way.left / float64(l.way.rate)
	w.after(time.Duration(seconds*float64(time.Second)), func() {
		if !l.dead() && l.epoch == epoch && l.way.count == paced {
			w.sent(l)
		}
	})
	if l.delay == 0 {
		return
	}
	if soon := (w.unsent(l) - w.refill(l)) * core.WireOverhead / float64(l.way.rate); soon > 0 && soon < seconds {
		w.after(time.Duration(soon*float64(time.Second))+1, func() {
			if !l.dead() && l.epoch == epoch && l.way.count == paced {
				w.more(l)
			}
		})
	}
}

// sent lets a run arrive when its last byte has come, and the next one follow it at once.
func (w *world) sent(l *link) {
	l.way.busy, l.way.left = false, 0
	l.warm = w.now + keepsWindow + 2*l.delay
	epoch, unit := l.epoch, l.way.unit
	arrive := func() {
		if !l.dead() && l.epoch == epoch && l.grantor.State != task.Closed {
			w.step(l, l.grantor, task.Event{Kind: task.Received, Run: unit})
			w.arrived(l, unit)
		}
	}
	if l.delay == 0 {
		arrive()
		return
	}
	w.after(l.delay, arrive)
	w.next(l)
	w.more(l)
}

// settle takes off what was sent since the run was last paced.
func (w *world) settle(l *link) {
	l.way.left = max(1, l.way.left-(w.now-l.way.since).Seconds()*float64(l.way.rate)/core.WireOverhead)
	l.way.since = w.now
}

// expireLater ends a lease that nobody renewed.
func (w *world) expireLater(l *link, f *task.Flow, at time.Duration) {
	epoch := l.epoch
	w.after(at-w.now, func() {
		switch {
		case l.epoch != epoch || !f.Holds():
		case f.Expires > w.now:
			w.expireLater(l, f, f.Expires)
		default:
			w.step(l, f, task.Event{Kind: task.Expired})
		}
	})
}

// idle is called when the sender's end of a link holds nothing any more.
func (w *world) idle(l *link) {
	w.flows--
	w.after(0, func() { w.try(l.from) })
}
