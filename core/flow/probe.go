// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"context"
	"fmt"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/measure"
	"github.com/bkp-tool/bkp/core/task"
	"github.com/bkp-tool/bkp/core/wire"
)

// ProbeTime is how long a probe sends at most. It sends bytes that mean nothing, within a lease like any other.
const ProbeTime = 2 * time.Second

const (
	probeRuns    = 64
	probeLeast   = 16 * core.KiB // of a run
	purposeProbe = "probe"
)

// Probe is the sending end of a probe. What stands below done belongs to the loop.
type Probe struct {
	done chan struct{} // closed when nothing more will come

	flows   *Flows
	flow    *Flow
	block   block
	chunk   core.Chunk
	left    int // runs that have not arrived
	seen    measure.Probe
	problem string // why the peer refused
	over    bool
}

// Probe applies for a lease over everything that a probe may send, which is repeats of bytes: core.MaxProbe at most.
func (fs *Flows) Probe(to core.ID, bytes []byte) (*Probe, error) {
	_, capacity := fs.node.Session(to)
	if capacity == 0 {
		return nil, fmt.Errorf("it is not connected")
	}
	p := &Probe{done: make(chan struct{}), flows: fs, seen: measure.Probe{Capacity: capacity}}
	p.flow = fs.Open(to, fs.node.Number(), task.Asker, true, p)
	free, nominal := fs.Free(p.flow)
	rate := task.Grant(nominal, free, nominal)
	if rate == 0 {
		fs.Close(p.flow)
		return nil, fmt.Errorf("too little of the link is free now: transfers have leased it")
	}
	all := min(core.Size(rate.Payload())*core.Size(ProbeTime/time.Second), core.MaxProbe)
	p.seen.Size = min(max(all/probeRuns, probeLeast), core.Size(len(bytes)))
	p.block = bytes[:p.seen.Size]
	p.chunk = core.Chunk{Hash: chunk.Hash(p.block), Size: p.seen.Size}
	p.left = max(2, int(all/p.seen.Size))
	fs.Step(p.flow, task.Event{Kind: task.Ask, Runs: probe(p.left, p.seen.Size), Rate: rate})
	return p, nil
}

// probe is the runs of one.
func probe(count int, size core.Size) []task.Run {
	runs := make([]task.Run, count)
	for i := range runs {
		runs[i] = task.Run{Number: i, Size: size}
	}
	return runs
}

// Done is closed when nothing more will come.
func (p *Probe) Done() <-chan struct{} { return p.done }

// End ends the probe and says what it was leased and what it found, which the estimate of the link hears as well. It is
// called in an event.
func (p *Probe) End() (lease core.Rate, found measure.Probed, err error) {
	fs := p.flows
	fs.Step(p.flow, task.Event{Kind: task.Stop, Reason: core.ReasonStopped})
	if lease = p.seen.Lease; p.problem != "" {
		return lease, found, fmt.Errorf("it refused: %s", p.problem)
	}
	if found, err = p.seen.Figures(); err != nil {
		return lease, found, fmt.Errorf("nearly nothing arrived within %s", ProbeTime)
	}
	fs.Measures.Probed(p.flow.Peer, unixNow(), found)
	return lease, found, nil
}

// Purpose makes it a Side.
func (p *Probe) Purpose() string { return purposeProbe }

// Apply makes it Asking.
func (p *Probe) Apply(f *task.Flow, runs []task.Run, rate core.Rate) wire.Message {
	return wire.ProbeApply{Flow: f.ID, Rate: rate, Size: p.chunk.Size, Runs: len(runs)}
}

// Outgoing makes it Sending.
func (p *Probe) Outgoing(int) (Run, bool) {
	chunks := []core.Chunk{p.chunk}
	if p.seen.Began == 0 {
		p.seen.Began = p.flows.Now()
		p.flows.after(ProbeTime, func(*Flows) { p.finish() })
	}
	return Run{Begin: wire.TransmissionBegin{Hash: chunk.RunHash(chunks), Chunks: chunks}, Store: p.block}, !p.over
}

// Settled makes it Settling.
func (p *Probe) Settled(int) {
	p.seen.Arrived = append(p.seen.Arrived, p.flows.Now())
	if p.left--; p.left == 0 {
		p.finish()
	}
}

// Timed makes it Timing.
func (p *Probe) Timed(_, _ time.Duration, _ core.Size, _ float64, held time.Duration) {
	p.seen.Held += held
}

func (p *Probe) finish() {
	if !p.over {
		p.over = true
		close(p.done)
	}
}

// More makes it a Side.
func (p *Probe) More(f *Flow) {
	if f.State == task.Closed || f.State == task.Idle || f.State == task.Waiting {
		p.finish()
		return
	}
	p.flows.BeginMore(f)
}

// Agreed makes it Applying.
func (p *Probe) Agreed(f *Flow, m wire.StorageAgree) {
	p.seen.Lease = m.Rate
	e := task.Event{Kind: task.Agreed, Lease: m.Lease, Rate: m.Rate, Term: Seconds(m.ExpiresS)}
	for _, r := range m.Runs {
		for number := r.Start; number < r.Start+r.Length; number++ {
			e.Runs = append(e.Runs, task.Run{Number: number, Size: p.chunk.Size})
		}
	}
	p.flows.Step(f, e)
}

// Refused makes it Applying.
func (p *Probe) Refused(f *Flow, m wire.StorageRefuse) {
	p.problem = m.Reason
	p.flows.Step(f, task.Event{Kind: task.Refused, Reason: m.Code})
}

// block has one chunk, and it is always the one that is asked for.
type block []byte

func (b block) Get(_ context.Context, _ core.Hash, dst []byte) ([]byte, error) {
	return append(dst, b...), nil
}

// probed is the receiving end of a probe: what arrives is dropped.
type probed struct {
	flows *Flows
	size  core.Size
	flow  *Flow
}

// Probed answers the application of a probe.
func (fs *Flows) Probed(peer core.ID, m wire.ProbeApply) {
	f := fs.open[flowKey{peer, m.Flow}]
	code, reason := fs.closedTo(peer, f)
	if f != nil && reason == "" {
		code, reason = core.ReasonProtocol, "that flow is open already"
	}
	if reason != "" {
		fs.node.Send(peer, wire.StorageRefuse{Flow: m.Flow, Code: code, Reason: reason})
		return
	}
	p := &probed{flows: fs, size: m.Size}
	p.flow = fs.Open(peer, m.Flow, task.Grantor, false, p)
	fs.Grant(p.flow, m.Rate, task.Event{Kind: task.Applied, Runs: probe(m.Runs, m.Size)})
}

func (p *probed) Purpose() string { return purposeProbe }

func (p *probed) Agree(f *task.Flow, a task.Action, now time.Duration) wire.Message {
	return wire.StorageAgree{Flow: f.ID, Lease: a.Lease, Rate: a.Rate,
		Runs: []core.Range{{Start: 0, Length: len(a.Runs)}}, ExpiresS: (a.At - now).Seconds()}
}

func (p *probed) Refuse(f *task.Flow, a task.Action) wire.Message {
	return wire.StorageRefuse{Flow: f.ID, Code: a.Reason, Reason: "not enough bandwidth is free now",
		RetryS: a.Retry.Seconds()}
}

func (p *probed) Begin(_ *task.Flow, m wire.TransmissionBegin) (in Incoming, number int, err error) {
	if len(m.Chunks) != 1 || m.Chunks[0].Size != p.size {
		return in, 0, fmt.Errorf("run %d of a probe has other bytes than were applied for", m.Run)
	}
	loop, f := p.flows.loop, p.flow
	return Incoming{
		Chunks: m.Chunks,
		Keep:   func(int, core.Chunk, []byte) error { return nil },
		Done:   func(err error) { loop.Ask(func(fs *Flows) { fs.Ended(f, m.Run, err) }) },
	}, m.Run, nil
}

func (p *probed) More(f *Flow) {
	if f.State == task.Idle {
		p.flows.Close(f)
	}
}
