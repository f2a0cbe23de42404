// SPDX-License-Identifier: Apache-2.0

package node

import (
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/wire"
)

// reactions is what messages do to the state, by type. A relay is not among them: what it carries is.
var reactions map[string]reaction

// init fills the table, which what it names looks into.
func init() {
	reactions = byType(
		on((*state).onBandwidth),
		on((*state).onDelegation),
		on(func(n *state, p *peer, m wire.Revoked) { n.gossip.HeardRevoked(p.id, m) }),
		on(func(n *state, p *peer, m wire.Heads) { n.gossip.HeardHeads(p.id, m) }),
		far((*state).onStateQuery),
		far(func(n *state, p *peer, m wire.StateReport) { n.answered(p, m.Query, m) }),

		far(func(n *state, p *peer, m wire.StorageTask) { n.kept.Offer(p.id, p.member(), m) }),
		far((*state).onTaskAgree),
		far((*state).onTaskRefuse),
		on(func(n *state, p *peer, m wire.Want) { n.transfers.Hint(p.id, m) }),

		on((*state).onApply),
		on(func(n *state, p *peer, m wire.ProbeApply) { n.flows.Probed(p.id, m) }),
		on(func(n *state, p *peer, m wire.StorageAgree) { n.flows.Agreed(p.id, m) }),
		on(func(n *state, p *peer, m wire.StorageRefuse) { n.flows.Refused(p.id, m) }),
		on((*state).onGainApply),
		on(func(n *state, p *peer, m wire.GainAgree) { n.downloads.Agreed(p.id, m) }),
		on(func(n *state, p *peer, m wire.GainRefuse) { n.downloads.Refused(p.id, m) }),
		on(func(n *state, p *peer, m wire.TransmissionBegin) { n.flows.Began(p.id, m) }),
		far((*state).onComplete),
		on(func(n *state, p *peer, m wire.TransmissionAbort) { n.flows.Aborted(p.id, m) }),
		on(func(n *state, p *peer, m wire.LeaseRevise) { n.flows.Revised(p.id, m) }),

		far(func(n *state, p *peer, m wire.RefPut) { n.kept.PutRef(p.id, p.neighbour(), m) }),
		far(func(n *state, p *peer, m wire.RefOK) { n.answered(p, m.Query, m) }),
		on((*state).onRefList),
		on((*state).onRefGet),
		on(func(n *state, p *peer, m wire.RefReport) { n.answered(p, m.Query, m) }),
		far(func(n *state, p *peer, m wire.Release) { n.kept.Release(p.id, m) }),
		far(func(n *state, p *peer, m wire.ReleaseDone) { n.answered(p, m.Query, m) }),

		on(func(n *state, p *peer, m wire.Countersigned) { n.kept.Countersigned(p.id, m) }),

		far((*state).onHandover),
		far(func(n *state, p *peer, m wire.HandoverDone) { n.answered(p, m.Query, m) }),

		far((*state).onAudit),
		far(func(n *state, p *peer, m wire.AuditProof) { n.answered(p, m.Query, m) }),
		far(func(n *state, p *peer, m wire.AuditRefuse) { n.answered(p, m.Query, m) }),
	)
}

// reaction is what messages of one type do, and whether they may be relayed.
type reaction struct {
	to      string
	do      func(*state, *peer, wire.Message)
	travels bool
}

// on is a reaction to what neighbours say: the peer has a session, and the message came by it.
func on[M wire.Message](do func(*state, *peer, M)) reaction {
	var m M
	return reaction{to: m.Type(), do: func(n *state, p *peer, m wire.Message) { do(n, p, m.(M)) }}
}

// far is a reaction to what may come through others: such messages are signed within, change nothing when repeated, or
// only ask.
func far[M wire.Message](do func(*state, *peer, M)) reaction {
	r := on(do)
	r.travels = true
	return r
}

func byType(all ...reaction) map[string]reaction {
	table := map[string]reaction{}
	for _, r := range all {
		table[r.to] = r
	}
	return table
}

// dispatch lets a message of a peer do what it does.
func (n *state) dispatch(p *peer, m wire.Message) {
	if r, known := reactions[m.Type()]; known {
		r.do(n, p, m)
	} else if p.session != nil {
		p.session.Close(core.ReasonProtocol, "unexpected "+m.Type())
	}
}
