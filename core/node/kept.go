// SPDX-License-Identifier: Apache-2.0

package node

import (
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/fetch"
	"github.com/bkp-tool/bkp/core/flow"
	"github.com/bkp-tool/bkp/core/keep"
	"github.com/bkp-tool/bkp/core/keep/serve"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/task"
	"github.com/bkp-tool/bkp/core/wire"
)

// openKept reads back what this node keeps for others.
func (n *state) openKept() (err error) {
	node := n.Node
	c := keep.Config{Signer: n.Signer, Capacity: n.Capacity, Quotas: n.Issuers, KeepAtMost: n.KeepAtMost, Room: n.Room, Freeing: n.Freeing,
		Anyone: n.Plaintext && len(n.Token()) == 0, Keeping: n.Keeping, Holdings: n.Holdings, Ledger: n.Ledger,
		Invited: node.invitedBy, Revoked: node.revoked, Verifiers: n.Verifiers, Damaged: n.Damaged, Health: n.Health, Log: n.Log}
	n.target, n.kept, err = keep.Open(n.ctx, c,
		loopOf[*keep.State]{n.Node, func(n *state) *keep.State { return n.kept }}, (*others)(n), (*others)(n))
	return err
}

// receiving is the side of a flow by which runs of a placement come.
type receiving struct {
	*keep.Receiver
	n    *state
	flow *flow.Flow
}

// onApply answers an application at once.
func (n *state) onApply(p *peer, m wire.StorageApply) {
	refuse := func(code core.Reason, reason string) {
		n.send(p.id, wire.StorageRefuse{Flow: m.Flow, Code: code, Reason: reason})
	}
	f, r := flow.Asked(n.flows, p.id, m.Flow, false, refuse, func(f *flow.Flow) *receiving {
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
	e := r.Apply(f.Flow, p.id, m)
	free, _ := n.flows.Free(f)
	rate, nothing := n.transfers.Grants(m.Task, p.id, m.Rate, free+f.Rate)
	if nothing && e.Reason == core.ReasonNone {
		e.Reason, e.Retry = core.ReasonBusy, task.MinRetry
	}
	n.flows.Grant(f, rate, e)
	if e.Reason == core.ReasonNone && (len(e.Runs) > 0 || f.Holds()) {
		n.transfers.Granted(m.Task, p.id, m.Rate, f.Rate)
	}
}

// Purpose makes it a flow.Side.
func (r *receiving) Purpose() string { return flow.PurposeStore }

// Received makes it a keep.Flow. What is here may go on to others at once.
func (r *receiving) Received(number int) {
	r.n.flows.Received(r.flow, number)
	r.n.wakeWaiting()
}

// Failed makes it a keep.Flow.
func (r *receiving) Failed(number int, why error) { r.n.flows.Failed(r.flow, number, why) }

// More makes it a flow.Side.
func (r *receiving) More(f *flow.Flow) {
	if f.State == task.Idle {
		r.n.flows.Close(f) // drained: a further application opens it again
	}
	r.Stepped(f.Flow)
}

// serving is the side of a flow by which runs that are kept here go to who fetches them.
type serving struct {
	*serve.Server
	n *state
}

// onGainApply has the runs looked up, and answers.
func (n *state) onGainApply(p *peer, m wire.GainApply) {
	refuse := func(code core.Reason, reason string) {
		n.send(p.id, wire.GainRefuse{Flow: m.Flow, Code: code, Reason: reason})
	}
	part := n.partOf(p, m.Owner, m.Runs...)
	if part.Empty() {
		refuse(core.ReasonRights, "no delegation to read for owner "+m.Owner.Short())
		return
	}
	n.kept.Find(m, part, func(_ *keep.State, found serve.Asked) {
		f, s := flow.Asked(n.flows, p.id, m.Flow, true, refuse,
			func(*flow.Flow) *serving { return &serving{serve.NewServer(), n} })
		if f != nil {
			n.flows.Grant(f, m.Rate, s.Apply(f.Flow, found))
		}
	})
}

// partOf is what a peer may read of what is kept for an owner: all by a delegation, else what belongs to tasks whose
// licences name it.
func (n *state) partOf(p *peer, owner core.ID, wanted ...wire.GainRun) keep.Part {
	switch {
	case n.isRevoked(owner, p.id):
		return keep.Part{}
	case p.may(owner, key.RightRead):
		return keep.WholeOf
	}
	return n.kept.PartOf(owner, p.id, p.sharing(owner), wanted...)
}

// Purpose makes it a flow.Side.
func (s *serving) Purpose() string { return fetch.PurposeGain }

// Outgoing makes it flow.Sending.
func (s *serving) Outgoing(number int) (flow.Run, bool) {
	begin, ok := s.Server.Outgoing(number)
	return flow.Run{Begin: begin, Store: s.n.Keeping}, ok
}

// More makes it a flow.Side.
func (s *serving) More(f *flow.Flow) {
	s.n.flows.BeginMore(f)
	if f.State == task.Idle {
		s.n.flows.Close(f)
	}
}

// onRefList and onRefGet answer who may read.
func (n *state) onRefList(p *peer, m wire.RefList) {
	if part := n.partOf(p, m.Owner); !part.Empty() {
		n.kept.ListRefs(p.id, part, p.readsRefs2(), m)
	} else {
		n.refuseRefs(p, m.Query)
	}
}

func (n *state) onRefGet(p *peer, m wire.RefGet) {
	if part := n.partOf(p, m.Owner); !part.Empty() {
		n.kept.GetRef(p.id, part, p.readsRefs2(), m)
	} else {
		n.refuseRefs(p, m.Query)
	}
}

func (n *state) refuseRefs(p *peer, query uint64) {
	n.send(p.id, wire.RefReport{Query: query, Code: core.ReasonRights, Reason: "no delegation to read for that owner"})
}

// onAudit has who acts for an owner told whether what it keeps is here.
func (n *state) onAudit(p *peer, m wire.Audit) {
	n.kept.Audit(p.id, p.may(m.Owner, key.RightRead) || p.may(m.Owner, key.RightWrite), m)
}

// Kept is what this node keeps for others, beside the loop.
func (n *Node) Kept() *keep.Target { return n.target }

// onHandover has a version taken that is handed over to this node to coordinate, and answers.
func (n *state) onHandover(p *peer, m wire.Handover) {
	take, node, to := n.Handed, n.Node, p.id
	n.Act(func() {
		done := wire.HandoverDone{Query: m.Query, Code: core.ReasonRights,
			Reason: "this node coordinates nothing for others"}
		if take != nil {
			var err error
			done.Receipt, done.Copies, err = take(m.Envelope)
			done.Code, done.Reason = keep.ReasonOf(err)
		}
		node.post(do(func(n *state) { n.send(to, done) }))
	})
}
