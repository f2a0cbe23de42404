// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"fmt"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/flow"
	"github.com/bkp-tool/bkp/core/keep/serve"
	"github.com/bkp-tool/bkp/core/storage/live"
	"github.com/bkp-tool/bkp/core/task"
	"github.com/bkp-tool/bkp/core/wire"
)

// Flow is the end of a flow that a Receiver stands behind, as the loop carries out its steps.
type Flow interface {
	// Received settles a run that is here.
	Received(number int)
	// Failed gives up a run that had begun.
	Failed(number int, why error)
}

// Receiver is the receiving end of a placement's flow: it grants leases and keeps what arrives. The loop owns it. Runs
// of the flow are numbered as task.Run says.
type Receiver struct {
	state  *State
	flow   Flow
	from   core.ID
	last   wire.StorageApply // the application being answered
	have   []core.Range      // of its runs, those kept here already
	reason string
}

// Receive makes the receiving end of a flow that is opened.
func (s *State) Receive(f Flow) *Receiver { return &Receiver{state: s, flow: f} }

// Task is the task that the flow is for.
func (r *Receiver) Task() core.TaskID { return r.last.Task }

// Apply is what an application comes to: the runs that are to be granted, or why there are none.
func (r *Receiver) Apply(f *task.Flow, from core.ID, m wire.StorageApply) (e task.Event) {
	s := r.state
	r.from, r.last, r.have, r.reason = from, m, nil, ""
	seg := s.Segment(m.Task, m.Segment)
	if seg == nil {
		r.reason = fmt.Sprintf("segment %d of task %s was not accepted here", m.Segment, m.Task)
		return task.Event{Kind: task.Applied, Reason: core.ReasonUnknown}
	}
	if err := s.target.stillMay(seg.Owner, seg.Source); err != nil {
		r.reason = err.Error()
		return task.Event{Kind: task.Applied, Reason: core.ReasonRights}
	}
	if err := s.target.stillLicensed(seg.Segment, s.account(seg.Owner).permit); err != nil {
		r.reason = err.Error()
		return task.Event{Kind: task.Applied, Reason: core.ReasonLicense}
	}
	e = task.Event{Kind: task.Applied}
	e.Runs, e.Reason = r.wanted(f, seg, m.Runs)
	s.ReceiptAgain(from, seg, r.have)
	if len(e.Runs) > 0 {
		if err := s.promise(seg, seg.Missing()); err != nil {
			e.Reason, r.reason = core.ReasonSpace, err.Error()
		}
	}
	return e
}

// wanted is the runs of an application that this node is to keep and has not.
func (r *Receiver) wanted(f *task.Flow, seg *Segment, ranges []core.Range) (runs []task.Run, reason core.Reason) {
	var have []int
	inFlight := false
	for _, x := range ranges {
		for run := x.Start; run < x.Start+x.Length; run++ {
			by, arriving := seg.arriving[run]
			switch {
			case run < seg.Runs() && (seg.have.Has(run) || seg.moved.Has(run) && !arriving):
				have = append(have, run) // or who offers it has not heard yet that it goes to another node
			case run >= seg.Runs() || !seg.mine.Has(run):
				r.reason = fmt.Sprintf("run %d is not for this node", run)
				return nil, core.ReasonLicense
			case arriving && by != f.ID:
				inFlight = true
			default:
				runs = append(runs, task.Run{Number: seg.Number*core.SegmentRuns + run, Size: seg.File(run).Size})
			}
		}
	}
	r.have = core.Ranges(have)
	if len(runs) == 0 && inFlight {
		r.reason = "those runs are on their way from another sender"
		return nil, core.ReasonInFlight
	}
	return runs, core.ReasonNone
}

// Agree is the answer to an application that is granted, at a moment on the clock of the flow.
func (r *Receiver) Agree(f *task.Flow, a task.Action, now time.Duration) wire.Message {
	numbers := make([]int, len(a.Runs))
	seg := r.state.Segment(r.last.Task, r.last.Segment)
	for i, run := range a.Runs {
		numbers[i] = run.Number % core.SegmentRuns
		seg.arriving[numbers[i]] = f.ID
	}
	r.state.transfers.Coming(seg.Task)
	return wire.StorageAgree{Flow: f.ID, Lease: a.Lease, Rate: a.Rate, Runs: core.Ranges(numbers), Have: r.have,
		ExpiresS: (a.At - now).Seconds()}
}

// Refuse is the answer to one that is not.
func (r *Receiver) Refuse(f *task.Flow, a task.Action) wire.Message {
	reason := r.reason
	switch {
	case reason != "":
	case a.Reason == core.ReasonHave:
		reason = "those runs are kept here already"
	default:
		reason = serve.NotGranted(a.Reason)
	}
	return wire.StorageRefuse{Flow: f.ID, Code: a.Reason, Reason: reason, RetryS: a.Retry.Seconds(), Have: r.have}
}

// Requeue is told of runs that will not come this way.
func (r *Receiver) Requeue(f *task.Flow, runs []task.Run, _ core.Reason) {
	for _, x := range runs {
		run := x.Number % core.SegmentRuns
		seg := r.state.Segment(r.last.Task, x.Number/core.SegmentRuns)
		if seg != nil && seg.arriving[run] == f.ID {
			delete(seg.arriving, run)
			if seg.moved.Has(run) && !seg.have.Has(run) {
				seg.mine.Clear(run) // it was awaited only because it was on its way
				r.state.trimPromise(seg)
			}
		}
	}
}

// Stepped is told after every step of the flow: once nothing more is on its way, what is here need not wait for it.
func (r *Receiver) Stepped(f *task.Flow) {
	if f.State == task.Closed || f.State == task.Idle && !r.state.transfers.Lacking(r.last.Task) {
		r.state.target.arrivals.flush()
	}
}

// Begin prepares for a granted run. number is its number in the flow.
func (r *Receiver) Begin(f *task.Flow, m wire.TransmissionBegin) (in flow.Incoming, number int, err error) {
	t := r.state.target
	seg := r.state.Segment(m.Task, m.Segment)
	if seg == nil || m.Task != r.last.Task || m.Run >= seg.Runs() || seg.arriving[m.Run] != f.ID {
		return in, 0, fmt.Errorf("run %d of segment %d was not granted", m.Run, m.Segment)
	}
	file := seg.File(m.Run)
	if file.Hash != m.Hash {
		return in, 0, fmt.Errorf("run %d has another hash than in its task", m.Run)
	}
	if size := sizeOf(m.Chunks); size != file.Size {
		return in, 0, fmt.Errorf("run %d has %d bytes, its task says %d", m.Run, size, file.Size)
	}
	number = m.Segment*core.SegmentRuns + m.Run
	p := live.NewRun(&t.pins)
	return flow.Incoming{
		Chunks: m.Chunks,
		Keep: func(_ int, c core.Chunk, data []byte) error {
			return p.Add(c, func() error { return t.put(t.ctx, c, core.Hash{}, data) })
		},
		Dropped: p.Drop,
		Done: func(err error) {
			pinned, err := p.Finish(err)
			t.loop.Ask(func(s *State) { r.arrived(s, f, seg, m, pinned, err) })
		},
	}, number, nil
}

// arrived settles a run that is wholly here, its chunks pinned, or that cannot be.
func (r *Receiver) arrived(s *State, f *task.Flow, seg *Segment, m wire.TransmissionBegin, pinned []core.Chunk,
	err error) {
	t, number := s.target, m.Segment*core.SegmentRuns+m.Run
	if seg.arriving[m.Run] == f.ID {
		delete(seg.arriving, m.Run)
	}
	if err == nil && s.segments[seg.ID()] != seg {
		t.pins.Release(pinned)
		err = core.Fail(core.CodeFailed, "its task was released meanwhile")
	}
	switch {
	case err != nil:
		t.Log.Warn("run refused", "from", r.from.Short(), "run", seg.File(m.Run).Name, "error", err)
		r.flow.Failed(number, err)
		return
	case seg.have.Has(m.Run):
		t.pins.Release(pinned)
	default:
		seg.have.Set(m.Run)
		s.dropPromise(seg, m.Run)
		size := seg.File(m.Run).Size
		s.account(seg.Owner).arrived += size
		t.arrivals.add(arrival{segment: seg.ID(), pinned: pinned, owner: seg.Owner, counted: size, holding: core.Holding{
			Task: seg.Task, Segment: seg.Number, Number: m.Run, File: seg.File(m.Run), Chunks: m.Chunks,
			Kept: seg.used(m.Run, len(m.Chunks)),
		}})
		s.transfers.Arrived(seg, m.Run, m.Chunks)
	}
	r.flow.Received(number)
}
