// SPDX-License-Identifier: Apache-2.0

package task

import (
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
)

// table is the one that the package comment prints. A nil cell is impossible.
var table = [events][states]func(*step){
	Ask:     {Idle: (*step).apply, Leased: (*step).renew},
	Applied: {Idle: (*step).grant, Leased: (*step).grant, Closed: (*step).refuseClosed},
	Agreed:  {Idle: ignore, Asking: (*step).agree, Leased: ignore, Renewing: (*step).agree, Closed: ignore},
	Refused: {Idle: ignore, Asking: (*step).refused, Leased: ignore, Renewing: (*step).refused, Waiting: ignore,
		Closed: ignore},
	Begun:      {(*step).late, (*step).late, (*step).begun, (*step).begun, (*step).late, (*step).answerLate},
	Received:   {(*step).late, (*step).late, (*step).received, (*step).received, (*step).late, (*step).answerLate},
	RunFailed:  {ignore, ignore, (*step).runFailed, (*step).runFailed, ignore, ignore},
	RunAborted: {ignore, ignore, (*step).runFailed, (*step).runFailed, ignore, ignore},
	Scaled:     {ignore, (*step).scaled, (*step).scaled, (*step).scaled, ignore, ignore},
	Revised:    {ignore, ignore, (*step).revised, (*step).revised, ignore, ignore},
	Due:        {ignore, ignore, ignore, ignore, func(s *step) { s.State = Idle }, ignore},
	Expired:    {ignore, (*step).expire, (*step).expire, (*step).expire, ignore, ignore},
	Aborted:    {(*step).end, (*step).end, (*step).end, (*step).end, (*step).end, ignore},
	Stop:       {(*step).stop, (*step).stop, (*step).stop, (*step).stop, (*step).stop, ignore},
	Lost:       {(*step).lose, (*step).lose, (*step).lose, (*step).lose, (*step).lose, ignore},
}

func ignore(*step) {}

// apply holds this end's accounts and asks.
func (s *step) apply() {
	if len(s.Runs) == 0 || s.Event.Rate <= 0 {
		s.violation("it asks for %d runs at the rate %d", len(s.Runs), s.Event.Rate)
		return
	}
	s.hold(s.Event.Rate, s.Now+Hold)
	s.asked, s.applied = slices.Clone(s.Runs), s.Flow.Rate
	s.do(Action{Kind: SendApply, Runs: s.Runs, Rate: s.Flow.Rate})
	s.State = Asking
}

// renew asks for more runs under the same lease, or for a higher rate where one is free here, or both.
func (s *step) renew() {
	if len(s.Runs) == 0 && s.Event.Rate <= s.Flow.Rate {
		s.violation("it asks for nothing")
		return
	}
	if s.Event.Rate > s.Flow.Rate {
		s.adjust(s.Event.Rate)
	}
	s.asked, s.applied = slices.Clone(s.Runs), s.Flow.Rate
	s.do(Action{Kind: SendApply, Runs: s.Runs, Rate: s.Flow.Rate})
	s.State = Renewing
}

// grant answers an application at once. One for no run that is new here, under a lease that stands, is about its rate.
func (s *step) grant() {
	fresh := slices.DeleteFunc(slices.Clone(s.Runs), func(r Run) bool { return s.find(r.Number) >= 0 })
	switch {
	case s.Event.Rate <= 0:
		s.violation("it was asked for a lease of %d", s.Event.Rate)
		return
	case s.State == Leased && len(s.Runs) > 0 && len(fresh) == 0: // asked again: the same answer
		s.do(Action{Kind: SendAgree, Lease: s.Flow.Lease, Rate: s.Flow.Rate, Runs: s.Runs, At: s.Expires})
		return
	case s.Event.Reason != core.ReasonNone:
		s.do(Action{Kind: SendRefuse, Reason: s.Event.Reason, Retry: s.Retry})
		return
	case len(s.Runs) == 0 && s.State == Idle:
		s.do(Action{Kind: SendRefuse, Reason: core.ReasonHave})
		return
	}
	rate := Grant(s.Event.Rate, s.Free+s.Flow.Rate, s.Nominal) // what it holds already is its own to keep
	if rate == 0 {
		s.do(Action{Kind: SendRefuse, Reason: core.ReasonBusy, Retry: max(s.Retry, MinRetry)})
		return
	}
	for _, r := range fresh {
		s.open = append(s.open, openRun{Run: r})
		s.moved = s.Now
	}
	until := s.Now + Term(s.OpenBytes(), rate)
	switch {
	case s.State == Idle:
		s.Flow.Lease = s.Event.Lease
		s.hold(rate, until)
	case len(fresh) == 0: // only progress makes a lease last longer
		until = s.Expires
		s.adjust(rate)
	default:
		s.adjust(rate)
		s.extend(until)
	}
	s.agreed = rate
	s.do(Action{Kind: SendAgree, Lease: s.Flow.Lease, Rate: rate, Runs: s.Runs, At: until})
	s.State = Leased
}

func (s *step) refuseClosed() { s.do(Action{Kind: SendRefuse, Reason: s.Flow.Reason}) }

// agree takes the grant: what is held here shrinks to it. Where less is held by now, the grantor is told.
func (s *step) agree() {
	switch {
	case s.Event.Rate <= 0 || s.Event.Rate > s.applied:
		s.violation("it asked for %d and was granted %d", s.applied, s.Event.Rate)
		return
	case slices.ContainsFunc(s.Runs, func(r Run) bool { return !s.wasAsked(r.Number) }):
		s.violation("it was granted a run that it did not ask for")
		return
	}
	for _, r := range s.Runs {
		s.open = append(s.open, openRun{Run: r})
	}
	s.settleAsked()
	s.refusals = 0
	s.Flow.Lease, s.agreed = s.Event.Lease, min(s.Event.Rate, s.Flow.Rate)
	if len(s.open) == 0 {
		s.giveBack(Idle)
		return
	}
	s.adjust(s.agreed)
	s.extend(s.Now + max(s.Term, Term(s.OpenBytes(), s.agreed)))
	if s.agreed < s.Event.Rate {
		s.do(Action{Kind: SendRevise, Lease: s.Flow.Lease, Rate: s.agreed})
	}
	s.State = Leased
}

// refused looks at the reason: wait, go idle or end, unless open runs keep the lease alive.
func (s *step) refused() {
	s.settleAsked()
	if len(s.open) > 0 {
		s.adjust(s.agreed)
		s.State = Leased
		return
	}
	switch s.Event.Reason {
	case core.ReasonBusy:
		s.giveBack(Waiting)
		pause := min(MaxRetry, MinRetry<<min(s.refusals, 10))
		s.refusals++
		s.do(Action{Kind: DoRetry, At: s.Now + max(pause, s.Retry)})
	case core.ReasonHave, core.ReasonInFlight:
		s.giveBack(Idle)
	default:
		s.end()
	}
}

func (s *step) begun() {
	i := s.find(s.Run)
	switch {
	case i < 0:
		s.late()
		return
	case s.open[i].begun:
		return
	}
	s.open[i].begun, s.moved = true, s.Now
	if s.Sends {
		s.do(Action{Kind: SendBegin, Run: s.Run, Lease: s.Flow.Lease})
	}
	s.extend(s.Now + Term(s.OpenBytes(), s.Flow.Rate))
}

func (s *step) received() {
	i := s.find(s.Run)
	switch {
	case i < 0:
		s.late()
		return
	case !s.open[i].begun:
		s.violation("run %d was received before it began", s.Run)
		return
	}
	s.close(i)
	s.moved = s.Now
	if !s.Sends {
		s.do(Action{Kind: SendComplete, Run: s.Run})
	}
	s.drain()
}

// late lets a message pass that is about a run which is settled here, and no other.
func (s *step) late() {
	if !s.done.Has(s.Run) {
		s.violation("%s of run %d, which was not granted", s.Kind, s.Run)
	}
}

func (s *step) runFailed() {
	i := s.find(s.Run)
	if i < 0 {
		return
	}
	if s.Kind == RunFailed {
		s.do(Action{Kind: SendAbort, Run: s.Run, Reason: s.Event.Reason})
	}
	s.do(Action{Kind: DoRequeue, Runs: []Run{s.open[i].Run}})
	s.close(i)
	s.drain()
}

// scaled notes that the lease is smaller, lets it last longer, and tells the other end. One that asks will do so when
// it is answered, and one that was scaled to nothing ends.
func (s *step) scaled() {
	if s.Event.Rate <= 0 {
		s.Event.Reason = core.ReasonBusy
		s.stop()
		return
	}
	s.Flow.Rate = min(s.Flow.Rate, s.Event.Rate)
	if s.State == Asking || s.Event.Rate >= s.agreed {
		return
	}
	s.agreed = s.Event.Rate
	s.extend(max(s.Expires, s.Now+Term(s.OpenBytes(), s.Flow.Rate)))
	s.do(Action{Kind: SendRevise, Lease: s.Flow.Lease, Rate: s.agreed})
}

// revised lowers what is held to what the other end has left or wants. Word of an earlier lease of the flow comes late.
func (s *step) revised() {
	if s.Event.Lease != s.Flow.Lease || s.Event.Rate >= s.agreed {
		return
	}
	if s.Event.Rate <= 0 {
		s.violation("its lease was revised to %d", s.Event.Rate)
		return
	}
	s.agreed = s.Event.Rate
	s.adjust(s.Event.Rate)
	// not from now: it could be raised and lowered for ever
	s.extend(max(s.Expires, s.moved+Term(s.OpenBytes(), s.Flow.Rate)))
}

// answerLate answers a message for a closed flow with the reason for which it closed. What this end did itself needs no
// answer.
func (s *step) answerLate() {
	if s.fromPeer(s.Kind) {
		s.do(Action{Kind: SendAbort, Run: NoRun, Reason: s.Flow.Reason})
	}
}

func (s *step) expire() {
	s.Event.Reason = core.ReasonExpired
	s.stop()
}

func (s *step) stop() {
	s.end()
	s.do(Action{Kind: SendAbort, Run: NoRun, Reason: s.Flow.Reason})
}

func (s *step) lose() {
	s.Event.Reason = core.ReasonStopped
	s.end()
}

// end gives back, queues again what is not there, and closes.
func (s *step) end() {
	left := slices.Concat(s.Open(), s.asked)
	s.open, s.asked = nil, nil
	if s.Holds() {
		s.giveBack(Closed)
	}
	if len(left) > 0 {
		s.do(Action{Kind: DoRequeue, Runs: left})
	}
	s.State, s.Flow.Reason = Closed, s.Event.Reason
	if s.Flow.Reason == core.ReasonNone {
		s.Flow.Reason = core.ReasonStopped
	}
}

// drain gives back when no run is open; a renewing flow waits for its answer. Progress extends the lease.
func (s *step) drain() {
	switch {
	case len(s.open) > 0:
		s.extend(s.Now + Term(s.OpenBytes(), s.Flow.Rate))
	case s.State == Leased:
		s.giveBack(Idle)
	}
}

func (s *step) hold(rate core.Rate, until time.Duration) {
	s.Flow.Rate, s.agreed, s.Expires = rate, rate, until
	s.do(Action{Kind: DoHold, Rate: rate, At: until})
}

func (s *step) adjust(rate core.Rate) {
	if rate != s.Flow.Rate {
		s.Flow.Rate = rate
		s.do(Action{Kind: DoAdjust, Rate: rate})
	}
}

func (s *step) extend(until time.Duration) {
	s.Expires = until
	s.do(Action{Kind: DoExtend, At: until})
}

func (s *step) giveBack(next State) {
	s.do(Action{Kind: DoGiveBack})
	s.Flow.Rate, s.agreed, s.Expires, s.Flow.Lease = 0, 0, 0, 0
	s.State = next
}

// settleAsked queues again what was asked for and is neither granted nor there.
func (s *step) settleAsked() {
	var left []Run
	for _, r := range s.asked {
		if s.find(r.Number) < 0 && !slices.Contains(s.Have, r.Number) {
			left = append(left, r)
		}
	}
	s.asked = nil
	if len(left) > 0 {
		s.do(Action{Kind: DoRequeue, Runs: left})
	}
}

func (s *step) wasAsked(number int) bool {
	return slices.ContainsFunc(s.asked, func(r Run) bool { return r.Number == number })
}

func (s *step) find(number int) int {
	return slices.IndexFunc(s.open, func(r openRun) bool { return r.Number == number })
}

// close settles an open run: a message about it that comes late is no violation.
func (s *step) close(i int) {
	number := s.open[i].Number
	if grow := number/8 + 1 - len(s.done); grow > 0 {
		s.done = append(s.done, make(core.Bitmap, grow)...)
	}
	s.done.Set(number)
	s.open = slices.Delete(s.open, i, i+1)
}
