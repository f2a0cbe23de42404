// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/task"
	"github.com/bkp-tool/bkp/core/wire"
)

// maxFlows is how many flows a peer may have open here at a time.
const maxFlows = 64

// closedTo says why an application of a peer is not heard, for a flow that is open or, where f is nil, to be opened.
func (fs *Flows) closedTo(peer core.ID, f *Flow) (core.Reason, string) {
	switch _, capacity := fs.node.Session(peer); {
	case capacity == 0:
		return core.ReasonProtocol, "BANDWIDTH_COORDINATION comes first"
	case f == nil && len(fs.with(peer)) >= maxFlows:
		return core.ReasonBusy, fmt.Sprintf("%d flows are open", maxFlows)
	}
	return core.ReasonNone, ""
}

// Asked finds the flow of an application and what it is for, or opens it; nil where the application is not heard.
func Asked[S Side](fs *Flows, peer core.ID, id uint64, sends bool, refuse func(core.Reason, string),
	end func(*Flow) S) (*Flow, S) {
	f, s, ok := SideOf[S](fs, peer, id)
	if code, reason := fs.closedTo(peer, f); reason != "" {
		refuse(code, reason)
		return nil, s
	}
	if f == nil {
		f = fs.Open(peer, id, task.Grantor, sends, nil)
		s, ok = end(f), true
		f.side = s
	}
	if !ok {
		refuse(core.ReasonProtocol, "that flow is of another kind")
		return nil, s
	}
	return f, s
}

// Grant answers an application, of which e says what it comes to.
func (fs *Flows) Grant(f *Flow, rate core.Rate, e task.Event) {
	e.Rate, e.Lease = rate, fs.node.Number()
	e.Free, e.Nominal = fs.Free(f)
	fs.Step(f, e)
	if f.State == task.Idle {
		fs.Close(f) // nothing was granted
	}
}

// Free is how much of a flow's accounts is free at this end, and how much there is.
func (fs *Flows) Free(f *Flow) (free, nominal core.Rate) {
	return fs.Book.Free(f.accounts...), fs.Book.Nominal(f.accounts...)
}

// Agreed takes a peer's grant to send.
func (fs *Flows) Agreed(peer core.ID, m wire.StorageAgree) {
	if f, s, ok := SideOf[Applying](fs, peer, m.Flow); ok {
		s.Agreed(f, m)
	} else {
		fs.NoSuchFlow(peer, m.Flow)
	}
}

// Refused takes a peer's no.
func (fs *Flows) Refused(peer core.ID, m wire.StorageRefuse) {
	if f, s, ok := SideOf[Applying](fs, peer, m.Flow); ok {
		s.Refused(f, m)
	}
}

// NoSuchFlow gives a lease back that a peer granted to a flow which is gone.
func (fs *Flows) NoSuchFlow(peer core.ID, id uint64) {
	fs.node.Send(peer, wire.TransmissionAbort{Flow: id, Code: core.ReasonStopped, Reason: "that flow has ended here"})
}

// Revised lowers a lease to what the other end has left of it.
func (fs *Flows) Revised(peer core.ID, m wire.LeaseRevise) {
	if f := fs.open[flowKey{peer, m.Flow}]; f != nil {
		fs.Step(f, task.Event{Kind: task.Revised, Lease: m.Lease, Rate: m.Rate})
	}
}

// Completed frees a run that its receiver has.
func (fs *Flows) Completed(peer core.ID, m wire.TransmissionComplete) {
	done := fs.done[peer]
	if done == nil {
		done = &recent{}
		fs.done[peer] = done
	}
	for _, f := range fs.with(peer) {
		number, ok := f.transfers[m.Transfer]
		if !ok || !f.Sends {
			continue
		}
		fs.measure(f, f.runSize(number), m.HeldS)
		fs.Received(f, number)
		done.add(m.Transfer)
		return
	}
	if done.has(m.Transfer) {
		return // said twice
	}
	fs.node.Send(peer, wire.TransmissionAbort{Flow: 1, Transfer: m.Transfer, Code: core.ReasonProtocol,
		Reason: fmt.Sprintf("TRANSMISSION_COMPLETE of transfer %d, which never began", m.Transfer)})
}

// Aborted ends a flow or one of its runs as the other end asks.
func (fs *Flows) Aborted(peer core.ID, m wire.TransmissionAbort) {
	f := fs.open[flowKey{peer, m.Flow}]
	if f == nil {
		return
	}
	level := slog.LevelInfo
	if m.Transfer != 0 {
		level = slog.LevelDebug // one run of many; who gives it up says why
	}
	fs.Log.Log(context.Background(), level, "abort", "peer", peer.Short(), "flow", m.Flow, "transfer", m.Transfer,
		"reason", m.Reason)
	if m.Transfer == 0 {
		fs.Step(f, task.Event{Kind: task.Aborted, Reason: m.Code})
		return
	}
	if number, ok := f.transfers[m.Transfer]; ok {
		f.writer.cancel(m.Transfer)
		fs.Step(f, task.Event{Kind: task.RunAborted, Run: number, Reason: m.Code})
	}
}

// Began prepares for the data of a run.
func (fs *Flows) Began(peer core.ID, m wire.TransmissionBegin) {
	s, _ := fs.node.Session(peer)
	f := fs.open[flowKey{peer, m.Flow}]
	var in Incoming
	var number int
	err := fmt.Errorf("no flow %d is open to receive", m.Flow)
	if f != nil && !f.Sends {
		in, number, err = f.receive(m)
	}
	if err == nil {
		in.transfer = m.Transfer
		if f.Begun(number) {
			err = fmt.Errorf("run %d began twice", m.Run)
		} else {
			err = fs.Arrivals.begin(s, &in)
		}
	}
	if err != nil {
		fs.Arrivals.refuse(s, m.Transfer)
		fs.node.Send(peer, wire.TransmissionAbort{Flow: m.Flow, Transfer: m.Transfer, Code: core.ReasonProtocol,
			Reason: err.Error()})
		return
	}
	f.bind(m.Transfer, number)
	f.incoming[number] = &in
	fs.Step(f, task.Event{Kind: task.Begun, Run: number})
}

func (f *Flow) receive(m wire.TransmissionBegin) (in Incoming, number int, err error) {
	if chunk.RunHash(m.Chunks) != m.Hash && f.side.Purpose() == PurposeStore {
		return in, 0, fmt.Errorf("the chunk list does not match the run's hash")
	}
	return f.side.(Receiving).Begin(f.Flow, m)
}

// recent remembers the last numbers it was given.
type recent struct {
	ring [256]uint64
	next int
}

func (r *recent) add(n uint64)      { r.ring[r.next%len(r.ring)], r.next = n, r.next+1 }
func (r *recent) has(n uint64) bool { return slices.Contains(r.ring[:], n) }

// after posts an event when d has passed.
func (fs *Flows) after(d time.Duration, e func(*Flows)) {
	loop := fs.loop
	time.AfterFunc(d, func() { loop.Post(e) })
}

func unixNow() int64 { return time.Now().Unix() }

// Seconds is a span of time that travelled as finiteSeconds.
func Seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// finiteSeconds is a span of time as it travels.
func finiteSeconds(d time.Duration) float64 { return math.Round(d.Seconds()*1e6) / 1e6 }
