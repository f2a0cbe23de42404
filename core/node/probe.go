// SPDX-License-Identifier: Apache-2.0

package node

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/account"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/task"
	"github.com/bkp-tool/bkp/core/wire"
)

// A probe sends a peer bytes that mean nothing, within a lease like any other, to see what the link carries.
const (
	probeTime  = 2 * time.Second
	probeRuns  = 64
	probeLeast = 16 * core.KiB // of a run
	// probeStart is the part of a probe that is left out: connections that rested begin slowly.
	probeStart   = 0.25
	purposeProbe = "probe"
)

// Probe measures links on purpose, one after another: up to core.MaxProbe bytes or probeTime each.
func (n *Node) Probe(ctx context.Context, args control.ProbeArgs,
	status func(control.Status)) (r control.ProbeResult, err error) {
	n.awaitPeers(ctx)
	n.ask(do(func(n *state) {
		var one *peer
		if one, err = n.peerNamed(args.Peer); err != nil {
			return
		}
		for _, p := range n.peers {
			if p == one || one == nil && (p.session != nil || p.declared > 0) {
				r.Probes = append(r.Probes, control.ProbeRow{ID: p.id, Address: p.address,
					Declared: cmp.Or(p.capacity, p.declared)})
			}
		}
	}))
	if err == nil && len(r.Probes) == 0 {
		err = core.WithHint(core.Fail(core.CodeFailed, "no peer is known%s", because(n.unreached())),
			"bkp peers shows what is wrong with them")
	}
	if err != nil {
		return r, err
	}
	slices.SortFunc(r.Probes, func(a, b control.ProbeRow) int {
		return cmp.Or(strings.Compare(a.Address, b.Address), a.ID.Compare(b.ID))
	})
	block := make([]byte, core.MiB)
	if _, err := rand.Read(block); err != nil {
		return r, fmt.Errorf("draw bytes to send: %w", err)
	}
	for i := range r.Probes {
		row := &r.Probes[i]
		status(control.Status{Phase: "probe", Text: row.Address, Done: core.Size(i), Total: core.Size(len(r.Probes))})
		if err := n.probe(ctx, row, block); err != nil {
			row.Problem = err.Error()
		}
		if ctx.Err() != nil {
			return r, context.Cause(ctx)
		}
	}
	return r, nil
}

// probe measures one link.
func (n *Node) probe(ctx context.Context, row *control.ProbeRow, block []byte) (err error) {
	pr := &prober{n: n, done: make(chan struct{})}
	n.ask(do(func(n *state) { err = pr.begin(n, row.ID, block) }))
	if err != nil {
		return err
	}
	select {
	case <-pr.done:
	case <-ctx.Done():
	case <-time.After(probeTime + task.Hold):
	}
	n.ask(do(func(n *state) {
		n.step(pr.flow, task.Event{Kind: task.Stop, Reason: core.ReasonStopped})
		err = pr.result(n, row)
	}))
	return err
}

// prober is the sending end of a probe.
type prober struct {
	n       *Node
	flow    *flow
	peer    *peer
	block   blockStore
	chunk   core.Chunk
	left    int // runs that have not arrived
	arrived []time.Duration
	began   time.Duration // the first run; 0 before
	lease   core.Rate
	held    time.Duration
	problem string        // why the peer refused
	done    chan struct{} // closed when nothing more will come
	over    bool
}

// begin applies for a lease over everything that a probe may send.
func (pr *prober) begin(n *state, to core.ID, block []byte) error {
	if pr.peer = n.peers[to]; pr.peer == nil || pr.peer.session == nil || pr.peer.capacity == 0 {
		return fmt.Errorf("it is not connected")
	}
	pr.flow = n.open(to, n.nextID(), task.Asker, true, pr)
	nominal := n.book.Nominal(pr.flow.accounts...)
	rate := task.Grant(nominal, n.book.Free(pr.flow.accounts...), nominal)
	if rate == 0 {
		n.closeFlow(pr.flow)
		return fmt.Errorf("too little of the link is free now: transfers have leased it")
	}
	all := min(core.Size(rate.Payload())*core.Size(probeTime/time.Second), core.MaxProbe)
	size := min(max(all/probeRuns, probeLeast), core.Size(len(block)))
	pr.block = block[:size]
	pr.chunk = core.Chunk{Hash: chunk.Hash(pr.block), Size: size}
	pr.left = max(2, int(all/size))
	var runs []task.Run
	for i := range pr.left {
		runs = append(runs, task.Run{Number: i, Size: size})
	}
	n.step(pr.flow, task.Event{Kind: task.Ask, Runs: runs, Rate: rate})
	return nil
}

// result fills the row, and lets the estimate know.
func (pr *prober) result(n *state, row *control.ProbeRow) error {
	count := len(pr.arrived)
	row.Lease = pr.lease
	if pr.problem != "" {
		return fmt.Errorf("it refused: %s", pr.problem)
	}
	skip := int(probeStart * float64(count))
	if count-skip < 2 {
		return fmt.Errorf("nearly nothing arrived within %s", probeTime)
	}
	took := (pr.arrived[count-1] - pr.arrived[skip]).Seconds()
	row.Bytes = core.Size(count) * pr.chunk.Size
	row.Seconds = (pr.arrived[count-1] - pr.began).Seconds()
	row.Carried = core.Rate(core.WireOverhead * float64(count-1-skip) * float64(pr.chunk.Size) / max(took, 1e-6))
	row.Carried = min(row.Carried, pr.lease)
	short := float64(row.Carried) < fellShort*float64(pr.lease)
	row.AtLeast = short && pr.held.Seconds() > atWork*row.Seconds || !short && pr.lease < pr.peer.capacity/20*19
	e, s := n.measures.link(pr.peer.id), account.Sample{At: time.Now().Unix(), Rate: row.Carried}
	for range account.Enough {
		if row.AtLeast {
			e.AtLeast(s)
		} else {
			e.Carried(s)
		}
	}
	n.measures.dirty = true
	return nil
}

func (pr *prober) purpose() string { return purposeProbe }

func (pr *prober) apply(f *flow, runs []task.Run, rate core.Rate) wire.Message {
	return wire.ProbeApply{Flow: f.ID, Rate: rate, Size: pr.chunk.Size, Runs: len(runs)}
}

func (pr *prober) outgoing(*flow, int) (runToSend, bool) {
	chunks := []core.Chunk{pr.chunk}
	if pr.began == 0 {
		pr.began = pr.n.now()
		pr.n.after(probeTime, do(func(*state) { pr.finish() }))
	}
	return runToSend{begin: wire.TransmissionBegin{Hash: chunk.RunHash(chunks), Chunks: chunks}, store: pr.block}, !pr.over
}

func (pr *prober) settled(f *flow, _ int) {
	pr.arrived = append(pr.arrived, pr.n.now())
	if pr.left--; pr.left == 0 {
		pr.finish()
	}
}

func (pr *prober) finish() {
	if !pr.over {
		pr.over = true
		close(pr.done)
	}
}

func (pr *prober) more(n *state, f *flow) {
	if f.State == task.Closed || f.State == task.Idle || f.State == task.Waiting {
		pr.finish()
		return
	}
	n.beginMore(f)
}

// blockStore has one chunk, and it is always the one that is asked for.
type blockStore []byte

func (b blockStore) Get(_ context.Context, _ core.Hash, dst []byte) ([]byte, error) {
	return append(dst, b...), nil
}

// agreed and refused are the peer's answer.
func (pr *prober) agreed(n *state, f *flow, m wire.StorageAgree) {
	pr.lease = m.Rate
	e := task.Event{Kind: task.Agreed, Lease: m.Lease, Rate: m.Rate, Term: seconds(m.ExpiresS)}
	for _, r := range m.Runs {
		for number := r.Start; number < r.Start+r.Length; number++ {
			e.Runs = append(e.Runs, task.Run{Number: number, Size: pr.chunk.Size})
		}
	}
	n.step(f, e)
}

func (pr *prober) refused(n *state, f *flow, m wire.StorageRefuse) {
	pr.problem = m.Reason
	n.step(f, task.Event{Kind: task.Refused, Reason: m.Code})
}

// probed is the receiving end of a probe: what arrives is dropped.
type probed struct {
	n    *Node
	size core.Size
}

// onProbe answers a probe's application.
func (n *state) onProbe(p *peer, m wire.ProbeApply) {
	f := n.flows[flowKey{p.id, m.Flow}]
	code, reason := n.closedTo(p, f)
	if f != nil && reason == "" {
		code, reason = core.ReasonProtocol, "that flow is open already"
	}
	if reason != "" {
		n.send(p.id, wire.StorageRefuse{Flow: m.Flow, Code: code, Reason: reason})
		return
	}
	f = n.open(p.id, m.Flow, task.Grantor, false, &probed{n: n.Node, size: m.Size})
	e := task.Event{Kind: task.Applied}
	for i := range m.Runs {
		e.Runs = append(e.Runs, task.Run{Number: i, Size: m.Size})
	}
	n.grant(f, m.Rate, e)
}

func (pd *probed) purpose() string { return purposeProbe }

func (pd *probed) agree(f *flow, a task.Action) wire.Message {
	return wire.StorageAgree{Flow: f.ID, Lease: a.Lease, Rate: a.Rate,
		Runs: []core.Range{{Start: 0, Length: len(a.Runs)}}, ExpiresS: (a.At - pd.n.now()).Seconds()}
}

func (pd *probed) refuse(f *flow, a task.Action) wire.Message {
	return wire.StorageRefuse{Flow: f.ID, Code: a.Reason, Reason: "not enough bandwidth is free now",
		RetryS: a.Retry.Seconds()}
}

func (pd *probed) begin(f *flow, m wire.TransmissionBegin) (*incoming, int, error) {
	if len(m.Chunks) != 1 || m.Chunks[0].Size != pd.size {
		return nil, 0, fmt.Errorf("run %d of a probe has other bytes than were applied for", m.Run)
	}
	return &incoming{
		chunks: m.Chunks,
		keep:   func(int, core.Chunk, []byte) error { return nil },
		done:   func(err error) { pd.n.ask(runEnded{f, m.Run, err}) },
	}, m.Run, nil
}

func (pd *probed) more(n *state, f *flow) {
	if f.State == task.Idle {
		n.closeFlow(f)
	}
}
