// SPDX-License-Identifier: Apache-2.0

package spread

import (
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/core/task"
)

// Sender is the way from a node to one target in one transfer, with at most one flow at a time.
type Sender struct {
	Flow *task.Flow // this end of it, which the driver makes and moves; nil where there is none

	part    *Part
	to      *Peer
	sending []underway
	busy    bool          // it stands in Part.busy
	leased  time.Duration // since when a lease stands
	after   time.Duration // it applies for nothing before this moment
	fails   int           // flows in a row that ended early
	broken  time.Duration // since when the target has kept no run that it was sent; 0 where it does
	raised  time.Duration // when it asked last for nothing but a higher rate
	raising bool          // what it asked for last was that
	full    bool          // the target agreed to less than was asked for
	helps   bool          // the lease that stands is for what the plan has others give
	taste   bool          // the lease that stands is for the first run that the target gets
	lowered bool          // the lease was lowered just now, to be renewed
	most    core.Rate     // what it was lowered to because it carried no more; 0 where it was not
	use     use
}

// underway is a run that a target was asked to take.
type underway struct {
	seg   *Segment
	run   int
	first bool // it was given to nobody else before
}

// To is the target's number.
func (s *Sender) To() int { return s.to.Number }

// Part is the part in a transfer to which it belongs.
func (s *Sender) Part() *Part { return s.part }

// Sends reports whether the target was asked to take a run, which is not there yet.
func (s *Sender) Sends(seg *Segment, run int) bool {
	return slices.ContainsFunc(s.sending, func(u underway) bool { return u.seg == seg && u.run == run })
}

// sender finds or makes the way to a target.
func (p *Part) sender(to *Peer) *Sender {
	for len(p.senders) <= to.Number {
		p.senders = append(p.senders, nil)
	}
	if p.senders[to.Number] == nil {
		p.senders[to.Number] = &Sender{part: p, to: to}
	}
	return p.senders[to.Number]
}

// Sender is the way to a target; nil where nothing was sent there yet.
func (p *Part) Sender(to int) *Sender {
	if to < len(p.senders) {
		return p.senders[to]
	}
	return nil
}

// holds reports whether a lease stands, or is asked for.
func (s *Sender) holds() bool { return s != nil && s.Flow != nil && s.Flow.Holds() }

// rests reports whether it could apply for a lease, as far as it goes itself.
func (s *Sender) rests(now time.Duration) bool {
	return s == nil || now >= s.after && (s.Flow == nil || s.Flow.State == task.Idle || s.Flow.State == task.Closed)
}

// promise notes that the target is asked to take a run.
func (s *Sender) promise(seg *Segment, run int) {
	p, to := s.part, s.to.of(seg)
	u, size := underway{seg: seg, run: run}, float64(seg.sizes[run])
	if seg.index < len(p.sent) && !p.sent[seg.index].has(run) {
		u.first = true
		p.sent[seg.index].add(run)
		p.unsent--
		p.given = put(p.given, s.to.Number, at(p.given, s.to.Number)+size)
	}
	if p.quota != nil {
		p.quota.give(run, size)
	}
	s.to.entered += size
	p.gave = put(p.gave, s.to.Number, at(p.gave, s.to.Number)+size)
	if to.pass != nil && !to.want.has(run) {
		s.to.relay.held++
	}
	to.mark(to.coming, run, true)
	s.sending = append(s.sending, u)
}

// Drop takes back a run that will not come this way.
func (s *Sender) Drop(seg *Segment, run int) {
	i := slices.IndexFunc(s.sending, func(u underway) bool { return u.seg == seg && u.run == run })
	if i < 0 {
		return
	}
	p, to, u := s.part, s.to.of(seg), s.sending[i]
	size := float64(seg.sizes[run])
	s.sending = slices.Delete(s.sending, i, i+1)
	if to.coming.has(run) && to.pass != nil && !to.want.has(run) {
		s.to.leave()
	}
	to.mark(to.coming, run, false)
	if p.quota != nil {
		p.quota.give(run, -size)
	}
	s.to.entered -= size
	p.gave = put(p.gave, s.to.Number, max(0, at(p.gave, s.to.Number)-size))
	if u.first && seg.copies[run] <= 1 { // nobody but the source has it
		p.sent[seg.index].drop(run)
		p.unsent++
		p.given[s.to.Number] -= size
	}
}

// Arrived says that the target has a run that it was sent.
func (s *Sender) Arrived(now time.Duration, seg *Segment, run int) {
	s.sending = slices.DeleteFunc(s.sending, func(u underway) bool { return u.seg == seg && u.run == run })
	s.to.Have(now, seg, run)
	s.fails, s.broken = 0, 0
}

// Agreed says what the target agreed to, before the flow takes it.
func (s *Sender) Agreed(rate core.Rate) { s.full = rate < s.Flow.Rate }

// Refused says that the target did not agree.
func (s *Sender) Refused() { s.full = s.full || s.raising }

// Elsewhere says that others send the target what it was asked to take of a segment, but for some.
func (s *Sender) Elsewhere(now time.Duration, seg *Segment, but []int) {
	to := s.to.of(seg)
	for _, u := range s.sending {
		if u.seg == seg && !slices.Contains(but, u.run) && to.want.has(u.run) && !to.has.has(u.run) {
			to.say(now, u.run)
		}
	}
}

// Low says that half or less of a batch is left to send under the lease.
func (s *Sender) Low() {
	if !slices.Contains(s.part.e.low, s) {
		s.part.e.low = append(s.part.e.low, s)
	}
}

// Refill is how much may be left to send when it is low.
func (s *Sender) Refill(roundTrip time.Duration) core.Size {
	return plan.Batch(s.Flow.Rate, roundTrip) / 2
}

const (
	// pauseAfter is how long a sender pauses after a flow that ended early, times how many did in a row.
	pauseAfter, maxPause = 250 * time.Millisecond, 5 * time.Second
	// brokenPause is how long after a run that the target could not keep, and brokenPatience how long it may fail to
	// keep any.
	brokenPause, brokenPatience = time.Second, 10 * time.Second
)

// Ended says that the flow closed; another may be opened after a pause.
func (s *Sender) Ended(now time.Duration) {
	s.Flow = nil
	s.fails++
	s.after = now + min(time.Duration(s.fails)*pauseAfter, maxPause)
}

// Broke says that the target could not keep a run. Who keeps none for a while is given up.
func (s *Sender) Broke(now time.Duration, reason core.Reason) {
	s.after = now + brokenPause
	if s.broken == 0 {
		s.broken = now
	}
	if now-s.broken >= brokenPatience {
		s.part.e.pending = append(s.part.e.pending, Action{Kind: GiveUp, Sender: s, Reason: reason})
	}
}

// stands reports whether what was decided some events ago still makes sense.
func (a Action) stands() bool {
	return a.Kind != Lower || a.Sender.holds() && a.Sender.Flow.State == task.Leased && a.Rate < a.Sender.Flow.Rate
}
