// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/flow"
	"github.com/bkp-tool/bkp/core/spread"
	"github.com/bkp-tool/bkp/core/task"
	"github.com/bkp-tool/bkp/core/wire"
)

// sender is the way to one target of a transfer, as the side of its flows: at most one at a time, opened anew where one
// ended early.
type sender struct {
	*spread.Sender
	of     *Transfer
	target core.ID
	flow   *flow.Flow
	asked  *segment // of the application under way
	gaveUp bool     // said so
}

// Drive does what is decided about what to send. The loop calls it after every event.
func (ts *Transfers) Drive() {
	for {
		a, ok := ts.engine.Next(ts.Flows.Now())
		if !ok {
			return
		}
		for _, t := range ts.open {
			if t.part == a.Sender.Part() {
				t.do(a)
				break
			}
		}
	}
}

// do carries out what was decided.
func (t *Transfer) do(a spread.Action) {
	id, flows := t.ids[a.Sender.To()], t.all.Flows
	s := t.senders[id]
	if s == nil || s.Sender != a.Sender {
		s = &sender{Sender: a.Sender, of: t, target: id}
		t.senders[id] = s
	}
	switch a.Kind {
	case spread.Ask:
		if s.flow == nil {
			s.flow = flows.Open(id, t.all.node.Number(), task.Asker, true, s)
			s.Flow = s.flow.Flow
		}
		s.asked = t.segments[a.Segment.Number]
		runs := make([]task.Run, len(a.Runs))
		for i, run := range a.Runs {
			runs[i] = task.Run{Number: number(s.asked.Segment, run), Size: s.asked.file(run).Size}
		}
		flows.Step(s.flow, task.Event{Kind: task.Ask, Runs: runs, Rate: a.Rate})
	case spread.Raise:
		flows.Step(s.flow, task.Event{Kind: task.Ask, Rate: a.Rate})
	case spread.Lower:
		flows.Lower(s.flow, a.Rate)
	case spread.GiveUp:
		s.giveUp(a.Reason)
	}
}

// giveUp ends with a target that fails to keep whatever it is sent.
func (s *sender) giveUp(reason core.Reason) {
	t := s.of
	if !s.gaveUp {
		t.all.Log.Warn("gave up sending", "to", s.target.Short(), "task", t.task, "reason", reason)
	}
	s.gaveUp = true
	if t.all.node.Coordinates(t.task) {
		t.all.node.Fails(t.task, s.target)
		return
	}
	t.Forget(s.target)
}

// number is a run of a segment, as flows call it.
func number(s *spread.Segment, run int) int { return s.Number*core.SegmentRuns + run }

// run is what the flow calls so.
func (s *sender) run(number int) (*segment, int) {
	return s.of.segments[number/core.SegmentRuns], number % core.SegmentRuns
}

// Purpose makes it a flow.Side.
func (s *sender) Purpose() string { return flow.PurposeStore }

// Apply makes it flow.Asking.
func (s *sender) Apply(f *task.Flow, runs []task.Run, rate core.Rate) wire.Message {
	m := wire.StorageApply{Flow: f.ID, Task: s.of.task, Segment: s.asked.Number, Filename: s.asked.file(0).Name,
		Rate: rate}
	if len(runs) > 0 {
		m.Filename = s.asked.file(runs[0].Number % core.SegmentRuns).Name
	}
	numbers := make([]int, len(runs))
	for i, r := range runs {
		numbers[i] = r.Number % core.SegmentRuns
		m.Size += r.Size
	}
	m.Runs = core.Ranges(numbers)
	return m
}

// Requeue leaves runs to be chosen again, a little later if the flow ended for a reason.
func (s *sender) Requeue(_ *task.Flow, runs []task.Run, reason core.Reason) {
	for _, r := range runs {
		seg, run := s.run(r.Number)
		s.Drop(seg.Segment, run)
	}
	if reason == core.ReasonInternal || reason == core.ReasonCorrupt {
		s.Broke(s.of.all.Flows.Now(), reason)
	}
}

// Outgoing makes it flow.Sending.
func (s *sender) Outgoing(number int) (flow.Run, bool) {
	seg, run := s.run(number)
	if !s.Sends(seg.Segment, run) {
		return flow.Run{}, false
	}
	return s.of.toSend(seg, run)
}

// Settled makes it flow.Settling.
func (s *sender) Settled(number int) {
	seg, run := s.run(number)
	if s.Sends(seg.Segment, run) {
		s.Arrived(s.of.all.Flows.Now(), seg.Segment, run)
		s.of.spare(seg, run)
	}
	s.of.touched, s.gaveUp = s.of.all.Flows.Now(), false
}

// has drops runs that the target keeps already.
func (s *sender) has(ranges []core.Range) {
	each(ranges, s.asked.Runs(), func(run int) {
		s.Drop(s.asked.Segment, run)
		s.of.had(s.asked, s.of.known.Peer(s.To()), run)
	})
}

// More makes it a flow.Side.
func (s *sender) More(f *flow.Flow) {
	switch {
	case f != s.flow:
		return
	case f.State == task.Closed:
		s.flow = nil
		s.Ended(s.of.all.Flows.Now())
		return // expireLeases wakes it when its time has come
	}
	s.of.all.Flows.BeginMore(f)
	if f.State == task.Leased && !f.Unsent(s.Refill(s.roundTrip())) {
		s.Low()
	}
	if f.State == task.Idle || f.State == task.Leased {
		s.of.all.node.Freed()
	}
}

// roundTrip is how long the target's answer takes on its way.
func (s *sender) roundTrip() time.Duration {
	if session, _ := s.of.all.node.Session(s.target); session != nil {
		return 2 * session.Delay()
	}
	return 0
}

// Timed makes it flow.Timing.
func (s *sender) Timed(now, took time.Duration, size core.Size, allowed float64, _ time.Duration) {
	if took > 0 {
		s.Used(now, took, size, allowed)
	}
}

// end closes the flow and takes the sender out of its transfer.
func (s *sender) end() {
	delete(s.of.senders, s.target)
	if f := s.flow; f != nil {
		s.flow = nil
		s.of.all.Flows.Step(f, task.Event{Kind: task.Stop, Reason: core.ReasonStopped})
		s.Ended(s.of.all.Flows.Now())
	}
}

// Agreed is the target's grant.
func (s *sender) Agreed(f *flow.Flow, m wire.StorageAgree) {
	if s.flow != f {
		return
	}
	s.has(m.Have)
	s.Elsewhere(s.of.all.Flows.Now(), s.asked.Segment, s.granted(m.Runs))
	s.Sender.Agreed(m.Rate)
	s.of.all.Flows.Step(f, task.Event{Kind: task.Agreed, Runs: s.sized(m.Runs), Have: s.numbers(m.Have), Lease: m.Lease,
		Rate: m.Rate, Term: flow.Seconds(m.ExpiresS)})
}

// Refused is the target's no.
func (s *sender) Refused(f *flow.Flow, m wire.StorageRefuse) {
	if s.flow != f {
		return
	}
	if m.Code != core.ReasonBusy && m.Code != core.ReasonHave && m.Code != core.ReasonInFlight {
		s.of.all.Log.Warn("target refused runs", "peer", s.target.Short(), "reason", m.Reason)
	}
	if t := s.of; m.Code == core.ReasonUnknown && t.all.node.Coordinates(t.task) {
		t.all.node.Unknown(t.task, s.target)
	}
	s.has(m.Have)
	s.Sender.Refused()
	if m.Code == core.ReasonInFlight {
		s.Elsewhere(s.of.all.Flows.Now(), s.asked.Segment, s.granted(nil))
	}
	s.of.all.Flows.Step(f, task.Event{Kind: task.Refused, Have: s.numbers(m.Have), Reason: m.Code, Retry: flow.Seconds(m.RetryS)})
}

// granted are the runs of the segment that was asked for that the target takes from here: those, and what is open.
func (s *sender) granted(ranges []core.Range) (runs []int) {
	each(ranges, s.asked.Runs(), func(run int) { runs = append(runs, run) })
	for _, r := range s.flow.Open() {
		if seg, run := s.run(r.Number); seg == s.asked {
			runs = append(runs, run)
		}
	}
	return runs
}

// numbers and sized name runs of the segment that was asked for by their numbers in the flow.
func (s *sender) numbers(ranges []core.Range) (out []int) {
	for _, r := range ranges {
		for run := r.Start; run < r.Start+r.Length; run++ {
			out = append(out, number(s.asked.Segment, run))
		}
	}
	return out
}

func (s *sender) sized(ranges []core.Range) (out []task.Run) {
	for _, number := range s.numbers(ranges) {
		r := task.Run{Number: number}
		if seg, run := s.run(number); seg != nil && run < seg.Runs() && s.Sends(seg.Segment, run) {
			r.Size = seg.file(run).Size
		}
		out = append(out, r)
	}
	return out
}
