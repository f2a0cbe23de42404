// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/keep"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/task"
	"github.com/bkp-tool/bkp/core/wire"
)

// openKept reads back what this node keeps for others.
func (n *state) openKept() (err error) {
	c := keep.Config{Signer: n.Signer, Capacity: n.Capacity, Room: n.Room, Freeing: n.Freeing,
		Anyone: n.Plaintext && len(n.Token) == 0, Keeping: n.Keeping, Holdings: n.Holdings, Ledger: n.Ledger,
		Verifiers: n.Verifiers, Damaged: n.Damaged, Health: n.Health, Log: n.Log}
	n.target, n.kept, err = keep.Open(n.ctx, c, keptLoop{n.Node}, (*keptPeers)(n), (*keptTransfers)(n))
	return err
}

// keptLoop is the loop as the target sees it.
type keptLoop struct{ n *Node }

func (l keptLoop) Post(e func(*keep.State)) { l.n.post(do(func(n *state) { e(n.kept) })) }

func (l keptLoop) Ask(e func(*keep.State)) bool { return l.n.ask(do(func(n *state) { e(n.kept) })) }

func (l keptLoop) Act(f func()) { l.n.act(f) }

// keptPeers is the peers as the target sees them.
type keptPeers state

func (p *keptPeers) Send(to core.ID, m wire.Message) bool { return (*state)(p).send(to, m) }
func (p *keptPeers) Reachable(id core.ID) bool            { return p.peers[id].reachable() }

// keptTransfers is the tasks under way as the target sees them.
type keptTransfers state

func (t *keptTransfers) Coordinates(task core.TaskID) bool { return (*state)(t).coordinates(task) }
func (t *keptTransfers) Accepted(seg *keep.Segment)        { (*state)(t).take(seg) }

func (t *keptTransfers) Arrived(seg *keep.Segment, run int, chunks []core.Chunk) {
	(*state)(t).arrived(seg, run, chunks)
}

func (t *keptTransfers) Narrowed(seg *keep.Segment) {
	if moving := t.transfers[seg.Task]; moving != nil && moving.segments[seg.Number] != nil {
		moving.narrow(moving.segments[seg.Number], seg.Locations)
	}
}

func (t *keptTransfers) Coming(task core.TaskID) {
	if moving := t.transfers[task]; moving != nil {
		moving.tell()
	}
}

func (t *keptTransfers) Lacking(task core.TaskID) bool {
	moving := t.transfers[task]
	return moving != nil && moving.lacking()
}

func (t *keptTransfers) Released(task core.TaskID) {
	if moving := t.transfers[task]; moving != nil && !(*state)(t).coordinates(task) {
		moving.end()
	}
}

// receiving is the side of a flow by which runs of a placement come.
type receiving struct {
	*keep.Receiver
	n    *state
	flow *flow
}

// onApply answers an application at once.
func (n *state) onApply(p *peer, m wire.StorageApply) {
	refuse := func(code core.Reason, reason string) {
		n.send(p.id, wire.StorageRefuse{Flow: m.Flow, Code: code, Reason: reason})
	}
	f, r := grantor(n, p, m.Flow, false, refuse, func(f *flow) *receiving {
		r := &receiving{n: n, flow: f}
		r.Receiver = n.kept.Receive(r)
		return r
	})
	if f == nil {
		return
	}
	if f.State != task.Idle && r.Task() != m.Task {
		refuse(core.ReasonProtocol, "that flow is for another task")
		return
	}
	n.grant(f, m.Rate, r.Apply(f.Flow, p.id, m))
}

func (r *receiving) purpose() string { return purposeStore }

func (r *receiving) agree(f *flow, a task.Action) wire.Message  { return r.Agree(f.Flow, a, r.n.now()) }
func (r *receiving) refuse(f *flow, a task.Action) wire.Message { return r.Refuse(f.Flow, a) }

func (r *receiving) requeue(f *flow, runs []task.Run, _ core.Reason) { r.Requeue(f.Flow, runs) }

func (r *receiving) begin(f *flow, m wire.TransmissionBegin) (*incoming, int, error) {
	in, number, err := r.Begin(f.Flow, m)
	return &incoming{chunks: in.Chunks, keep: in.Keep, done: in.Done, dropped: in.Dropped}, number, err
}

// Received makes it a keep.Flow. What is here may go on to others at once.
func (r *receiving) Received(number int) {
	r.n.received(r.flow, number)
	r.n.wakeWaiting()
}

func (r *receiving) Failed(number int, why error) {
	r.n.step(r.flow, task.Event{Kind: task.RunFailed, Run: number, Reason: reasonFor(why)})
}

func (r *receiving) more(n *state, f *flow) {
	if f.State == task.Idle {
		n.closeFlow(f) // drained: a further application opens it again
	}
	r.Stepped(f.Flow)
}

// serving is the side of a flow by which runs that are kept here go to who fetches them.
type serving struct {
	*keep.Server
	n *Node
}

// onGainApply has the runs looked up, and answers.
func (n *state) onGainApply(p *peer, m wire.GainApply) {
	refuse := func(code core.Reason, reason string) {
		n.send(p.id, wire.GainRefuse{Flow: m.Flow, Code: code, Reason: reason})
	}
	if !n.mayRead(p, m.Owner) {
		refuse(core.ReasonRights, "no delegation to read for owner "+m.Owner.Short())
		return
	}
	n.kept.Find(m, func(_ *keep.State, found keep.Asked) {
		f, s := grantor(n, p, m.Flow, true, refuse, func(*flow) *serving { return &serving{keep.NewServer(), n.Node} })
		if f != nil {
			n.grant(f, m.Rate, s.Apply(f.Flow, found))
		}
	})
}

// mayRead reports whether a peer may read what is kept for an owner: by a delegation, or by a place in a task.
func (n *state) mayRead(p *peer, owner core.ID) bool {
	return p.may(owner, key.RightRead) || n.kept.Partakes(owner, p.id)
}

func (s *serving) purpose() string { return purposeGain }

func (s *serving) agree(f *flow, a task.Action) wire.Message  { return s.Agree(f.Flow, a, s.n.now()) }
func (s *serving) refuse(f *flow, a task.Action) wire.Message { return s.Refuse(f.Flow, a) }

func (s *serving) outgoing(_ *flow, number int) (runToSend, bool) {
	begin, ok := s.Outgoing(number)
	return runToSend{begin: begin, store: s.n.Keeping}, ok
}

func (s *serving) settled(_ *flow, number int) { s.Settled(number) }

func (s *serving) more(n *state, f *flow) {
	n.beginMore(f)
	if f.State == task.Idle {
		n.closeFlow(f)
	}
}

// grantor finds the flow of an application and what it is for, or opens it; nil where the application is not heard.
func grantor[S side](n *state, p *peer, id uint64, sends bool, refuse func(core.Reason, string),
	end func(*flow) S) (*flow, S) {
	var none S
	f := n.flows[flowKey{p.id, id}]
	if code, reason := n.closedTo(p, f); reason != "" {
		refuse(code, reason)
		return nil, none
	}
	if f == nil {
		if p.session == nil {
			return nil, none
		}
		f = n.open(p.id, id, task.Grantor, sends, nil)
		f.side = end(f)
	}
	s, ok := sideOf[S](f)
	if !ok {
		refuse(core.ReasonProtocol, "that flow is of another kind")
		return nil, none
	}
	return f, s
}

// grant answers an application, of which e says what it comes to.
func (n *state) grant(f *flow, rate core.Rate, e task.Event) {
	e.Rate, e.Lease = rate, n.nextID()
	e.Free, e.Nominal = n.book.Free(f.accounts...), n.book.Nominal(f.accounts...)
	n.step(f, e)
	if f.State == task.Idle {
		n.closeFlow(f) // nothing was granted
	}
}

// onRefList and onRefGet answer who may read.
func (n *state) onRefList(p *peer, m wire.RefList) {
	if n.mayReadRefs(p, m.Query, m.Owner) {
		n.kept.ListRefs(p.id, p.readsRefs2(), m)
	}
}

func (n *state) onRefGet(p *peer, m wire.RefGet) {
	if n.mayReadRefs(p, m.Query, m.Owner) {
		n.kept.GetRef(p.id, p.readsRefs2(), m)
	}
}

// onAudit has who acts for an owner told whether what it keeps is here.
func (n *state) onAudit(p *peer, m wire.Audit) {
	n.kept.Audit(p.id, p.may(m.Owner, key.RightRead) || p.may(m.Owner, key.RightWrite), m)
}

func (n *state) mayReadRefs(p *peer, query uint64, owner core.ID) bool {
	may := n.mayRead(p, owner)
	if !may {
		n.send(p.id, wire.RefReport{Query: query, Code: core.ReasonRights,
			Reason: "no delegation to read for that owner"})
	}
	return may
}

// LookAtRecords holds the records of what is kept against each other: damage that it finds is no error.
func (n *Node) LookAtRecords(ctx context.Context, _ control.None,
	_ func(control.Status)) (control.RecordsResult, error) {
	found, err := n.target.Check(ctx)
	return control.RecordsResult{Damage: found.Damage}, err
}
