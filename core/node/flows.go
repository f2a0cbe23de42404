// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/flow"
	"github.com/bkp-tool/bkp/core/wire"
)

// openFlows begins without any flow.
func (n *state) openFlows() {
	n.flows = flow.New(flow.Config{Book: n.book, Measures: n.measures, Arrivals: n.arrivals, Life: n.ctx,
		Started: n.started, Log: n.Log},
		loopOf[*flow.Flows]{n.Node, func(n *state) *flow.Flows { return n.flows }}, (*others)(n))
}

// loopOf is the loop as a room sees it whose part of the state is S.
type loopOf[S any] struct {
	n  *Node
	of func(*state) S
}

func (l loopOf[S]) Post(e func(S)) { l.n.post(do(func(n *state) { e(l.of(n)) })) }

func (l loopOf[S]) Ask(e func(S)) bool { return l.n.ask(do(func(n *state) { e(l.of(n)) })) }

func (l loopOf[S]) Act(f func()) { l.n.Act(f) }

// others is the peers as rooms see them.
type others state

func (o *others) Send(to core.ID, m wire.Message) bool { return (*state)(o).send(to, m) }
func (o *others) Reachable(id core.ID) bool            { return o.peers[id].reachable() }
func (o *others) Far(id core.ID) bool                  { return o.peers[id] != nil && o.peers[id].session == nil }

func (o *others) Session(id core.ID) (flow.Session, core.Rate) {
	if p := o.peers[id]; p != nil && p.session != nil {
		return p.session, p.capacity
	}
	return nil, 0
}

// Act runs f beside the loop. What a peer's message asks for counts as a turn of its session until f has returned.
func (o *others) Act(f func()) {
	if o.hearing == nil {
		o.Node.Act(f)
		return
	}
	release := o.hearing.Hold()
	o.Node.Act(func() { defer release(); f() })
}

func (o *others) Number() uint64 { return (*state)(o).nextID() }
func (o *others) Freed()         { (*state)(o).wakeWaiting() }

// Broken hears of what should hold and does not: I2 and I3 are worth a crash in tests and a loud log in the field.
func (o *others) Broken(err error) {
	o.Log.Error("invariant broken", "error", err)
	if o.Strict {
		panic(err)
	}
}

// onComplete frees a run at its sender, or takes a receipt to the coordinator.
func (n *state) onComplete(p *peer, m wire.TransmissionComplete) {
	if len(m.Receipt) > 0 {
		n.onReceipt(p, m)
		return
	}
	if p.session != nil { // what moves runs is between neighbours
		n.flows.Completed(p.id, m)
	}
}

// How often the node looks whether something expired or may go on: seldom while nothing moves.
const (
	lookOften  = 250 * time.Millisecond
	lookSeldom = 2 * time.Second
)

// expireLeases ends flows whose lease has run out, and promises of room that nobody came for.
func (n *Node) expireLeases() {
	for wait := lookSeldom; n.Pause(context.Background(), wait); {
		n.ask(do(func(n *state) { wait = n.look() }))
	}
}

// look does what is due, and says how long nothing will be.
func (n *state) look() time.Duration {
	wait := lookSeldom
	if n.flows.Active() || n.transfers.Active() || n.downloads.Active() {
		wait = lookOften
	}
	n.follow()
	n.flows.Expire()
	n.kept.DropOutlived()
	n.transfers.EndDone()
	n.gossip.Look()
	n.forgetGone()
	n.wakeWaiting()
	return wait
}
