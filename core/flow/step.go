// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"fmt"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/account"
	"github.com/bkp-tool/bkp/core/measure"
	"github.com/bkp-tool/bkp/core/task"
	"github.com/bkp-tool/bkp/core/wire"
)

// Step moves a flow and does what comes of it.
func (fs *Flows) Step(f *Flow, e task.Event) {
	e.Now = fs.Now()
	before := f.Agreed()
	f.stretch.Lapse(e.Now, before)
	actions, err := f.Step(e)
	if err != nil {
		fs.Log.Warn("flow", "peer", f.Peer.Short(), "error", err)
	}
	for _, a := range actions {
		fs.do(f, e, a)
	}
	if f.Agreed() > before {
		f.stretch.End()
	}
	f.writer.setRate(f.Agreed())
	if f.State == task.Closed {
		fs.Close(f)
	}
	f.side.More(f)
}

// do carries out one action of a flow.
func (fs *Flows) do(f *Flow, e task.Event, a task.Action) {
	switch a.Kind {
	case task.DoHold:
		fs.hold(f, a)
	case task.DoAdjust:
		fs.adjust(f, a.Rate)
	case task.DoExtend:
		fs.must(fs.Book.Renew(f.booked, a.At))
	case task.DoGiveBack:
		fs.giveBack(f, e)
	case task.DoRequeue:
		fs.forget(f, a.Runs)
		if s, ok := f.side.(Requeueing); ok {
			s.Requeue(f.Flow, a.Runs, e.Reason)
		}
	case task.DoRetry:
		fs.after(a.At-fs.Now(), func(fs *Flows) { fs.Step(f, task.Event{Kind: task.Due}) })
	case task.SendApply:
		fs.node.Send(f.Peer, f.side.(Asking).Apply(f.Flow, a.Runs, a.Rate))
	case task.SendAgree:
		fs.node.Send(f.Peer, f.side.(Granting).Agree(f.Flow, a, fs.Now()))
	case task.SendRefuse:
		fs.node.Send(f.Peer, f.side.(Granting).Refuse(f.Flow, a))
	case task.SendBegin:
		fs.beginRun(f, a)
	case task.SendComplete:
		fs.node.Send(f.Peer, wire.TransmissionComplete{Transfer: f.byRun[a.Run], Run: f.wireRun(a.Run), Received: true,
			HeldS: f.incoming[a.Run].heldTime()})
	case task.SendRevise:
		fs.node.Send(f.Peer, wire.LeaseRevise{Flow: f.ID, Lease: a.Lease, Rate: a.Rate})
	case task.SendAbort:
		m := wire.TransmissionAbort{Flow: f.ID, Code: a.Reason,
			Reason: fmt.Sprintf("%s flow ended here", f.side.Purpose())}
		if a.Run != task.NoRun {
			m.Transfer, m.Reason = f.byRun[a.Run], fmt.Sprintf("run %d cannot go on", f.wireRun(a.Run))
		}
		fs.node.Send(f.Peer, m)
	}
}

// wireRun is a run's number as messages carry it: within its segment in a placement, as asked in a fetch.
func (f *Flow) wireRun(number int) int {
	if f.side.Purpose() == PurposeStore {
		return number % core.SegmentRuns
	}
	return number
}

// must asserts what is known to hold.
func (fs *Flows) must(err error) {
	if err != nil {
		fs.node.Broken(err)
	}
}

func (fs *Flows) hold(f *Flow, a task.Action) {
	f.booked, f.began = fs.node.Number(), fs.Now()
	fs.must(fs.Book.Reserve(f.began, account.Lease{ID: f.booked, Flow: f.ID, Accounts: f.accounts, Rate: a.Rate,
		Expires: a.At}))
	f.lease = Lease{Lease: f.booked, Peer: f.Peer, Direction: "receive", Purpose: f.side.Purpose(), Rate: a.Rate,
		State: "live"}
	if f.Sends {
		f.lease.Direction = "send"
		fs.startWriter(f, a.Rate)
	}
}

func (fs *Flows) adjust(f *Flow, r core.Rate) {
	fs.must(fs.Book.Adjust(f.booked, r))
	f.lease.Rate = r
}

func (fs *Flows) giveBack(f *Flow, e task.Event) {
	if !fs.Book.GiveBack(f.booked) {
		fs.must(fmt.Errorf("I3: lease %d of flow %d was given back twice", f.booked, f.ID))
	}
	f.booked = 0
	f.writer.stop()
	f.writer = nil
	f.stretch.End()
	l := f.sofar(fs.Now(), f.lease.Bytes)
	switch e.Kind {
	case task.Expired:
		l.State = "expired"
	case task.Received, task.Agreed, task.Refused:
		l.State = "done"
	default:
		l.State = "aborted"
	}
	fs.ended = append(fs.ended[max(0, len(fs.ended)+1-keptLeases):], l)
	fs.node.Freed()
}

// forget drops what arrived of runs that will not be completed, at the receiving end.
func (fs *Flows) forget(f *Flow, runs []task.Run) {
	s, _ := fs.node.Session(f.Peer)
	for _, r := range runs {
		transfer, begun := f.byRun[r.Number]
		f.unbind(r.Number)
		if !f.Sends && begun && s != nil {
			fs.Arrivals.giveUp(s, transfer)
		}
	}
}

// bind gives a run of the flow its transfer number; unbind forgets it.
func (f *Flow) bind(transfer uint64, number int) {
	f.transfers[transfer], f.byRun[number] = number, transfer
}

func (f *Flow) unbind(number int) {
	delete(f.transfers, f.byRun[number])
	delete(f.byRun, number)
	delete(f.incoming, number)
}

// beginRun sends TRANSMISSION_BEGIN and hands the run to the writer.
func (fs *Flows) beginRun(f *Flow, a task.Action) {
	run, ok := f.side.(Sending).Outgoing(a.Run)
	if !ok {
		fs.must(fmt.Errorf("flow %d: run %d is to begin and nobody has it", f.ID, a.Run))
		return
	}
	transfer := fs.node.Number()
	f.bind(transfer, a.Run)
	m := run.Begin
	m.Transfer, m.Flow, m.Lease, m.Run = transfer, f.ID, a.Lease, f.wireRun(a.Run)
	if !fs.node.Send(f.Peer, m) {
		return // the session's end is on its way to the loop
	}
	f.writer.push(job{transfer: transfer, number: a.Run, run: run, size: f.runSize(a.Run)})
}

// BeginMore begins granted runs while few enough are under way. Sending ends call it from More.
func (fs *Flows) BeginMore(f *Flow) {
	if f.writer == nil || f.State != task.Leased && f.State != task.Renewing {
		return
	}
	var under core.Size
	var next task.Run
	found := false
	unbegun := f.Unbegun()
	for _, r := range f.Open() {
		under += r.Size
	}
	for _, r := range unbegun {
		under -= r.Size
		if found {
			continue
		}
		if _, inHand := f.side.(Sending).Outgoing(r.Number); inHand {
			next, found = r, true
		}
	}
	if found && (under == 0 || f.writer.queued() < 2 && under+next.Size <= fs.window(f, next.Size)) {
		fs.Step(f, task.Event{Kind: task.Begun, Run: next.Number})
	} else if !found && f.writer.queued() == 0 {
		fs.slack(f, under)
	}
}

// Unsent reports whether so much at least of what was granted is still to be written; where it is not so any more, More
// is called again.
func (f *Flow) Unsent(least core.Size) bool {
	unbegun := core.Size(0)
	for _, r := range f.Unbegun() {
		unbegun += r.Size
	}
	return unbegun+f.writer.unwritten(max(0, least-unbegun)) >= least
}

// window is how many bytes may be on their way: what the link holds in two round trips, and three runs.
func (fs *Flows) window(f *Flow, run core.Size) core.Size {
	s, _ := fs.node.Session(f.Peer)
	if s == nil {
		return run
	}
	return core.Size(float64(f.Rate)*2*s.Delay().Seconds()) + 3*max(run, 256*core.KiB)
}

// slack ends a stretch: the flow has nothing more to send just now, and little on its way.
func (fs *Flows) slack(f *Flow, under core.Size) {
	s, _ := fs.node.Session(f.Peer)
	if s == nil || float64(under) <= float64(f.Agreed())*2*s.Delay().Seconds() {
		f.stretch.End()
	}
}

// Received settles a run at either end.
func (fs *Flows) Received(f *Flow, number int) {
	f.lease.Bytes += f.runSize(number)
	fs.Step(f, task.Event{Kind: task.Received, Run: number})
	f.unbind(number)
	if s, ok := f.side.(Settling); ok {
		s.Settled(number)
	}
}

// Failed gives up a run because of something that went wrong here.
func (fs *Flows) Failed(f *Flow, number int, why error) { fs.GiveUp(f, number, ReasonFor(why)) }

// GiveUp gives up a run. One that has not begun has no transfer by which the other end could be told of it alone: the
// flow ends, and what else it had is queued again.
func (fs *Flows) GiveUp(f *Flow, number int, why core.Reason) {
	e := task.Event{Kind: task.RunFailed, Run: number, Reason: why}
	if f.runSize(number) > 0 && !f.Begun(number) {
		e = task.Event{Kind: task.Stop, Reason: why}
	}
	fs.Step(f, e)
}

// Ended settles a run that came, or that cannot.
func (fs *Flows) Ended(f *Flow, number int, why error) {
	if why == nil {
		fs.Received(f, number)
	} else {
		fs.Failed(f, number, why)
	}
}

func (f *Flow) runSize(number int) core.Size {
	for _, r := range f.Open() {
		if r.Number == number {
			return r.Size
		}
	}
	return 0
}

// ReasonFor is what an error of this node's own is called on the wire.
func ReasonFor(err error) core.Reason {
	switch core.CodeOf(err) {
	case core.CodeWrong:
		return core.ReasonCorrupt
	case core.CodeOK:
		return core.ReasonNone
	default:
		return core.ReasonInternal
	}
}

// measure counts a run that its receiver has, and was at work with for so long.
func (fs *Flows) measure(f *Flow, size core.Size, heldS float64) {
	now, held := fs.Now(), Seconds(heldS)
	out := account.Out(f.Peer)
	took, allowed := fs.Measures.Arrived(&f.stretch, f.Peer, measure.Arrival{Now: now, At: unixNow(), Size: size,
		Lease: f.Agreed(), Held: held, Read: f.writer.readTime(),
		Whole: fs.Book.Free(out)+f.Rate-f.Agreed() <= fs.Book.Nominal(out)/20})
	if s, ok := f.side.(Timing); ok {
		s.Timed(now, took, size, allowed, held)
	}
}
