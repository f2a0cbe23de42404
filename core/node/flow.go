// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/account"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/task"
	"github.com/bkp-tool/bkp/core/wire"
)

// flow is one end of a flow: what core/task decides, and what its actions need.
type flow struct {
	*task.Flow
	peer     core.ID
	accounts []string // of this end
	side     side

	booked    uint64            // number of the lease in this node's book, 0 while it holds none
	transfers map[uint64]int    // numbers of open runs by transfer
	byRun     map[int]uint64    // the other way
	pump      *pump             // at the sending end
	stretch   stretch           // the same
	incoming  map[int]*incoming // by run, at the receiving end
	row       control.LeaseRow
	began     time.Duration // of the lease
}

type flowKey struct {
	peer core.ID
	id   uint64
}

// side is what a flow is for. Its methods are called in events.
type side interface {
	purpose() string
	// more is called after every step: ask for more, begin more.
	more(n *state, f *flow)
}

// What else a side does depends on its end of the flow, and on what it wants to know.
type (
	// asking is a side that applies for leases.
	asking interface {
		apply(f *flow, runs []task.Run, rate core.Rate) wire.Message
	}
	// applying is such a side that sends: the answers of the other end.
	applying interface {
		side
		agreed(n *state, f *flow, m wire.StorageAgree)
		refused(n *state, f *flow, m wire.StorageRefuse)
	}
	// granting is the other end's.
	granting interface {
		agree(f *flow, a task.Action) wire.Message
		refuse(f *flow, a task.Action) wire.Message
	}
	// sending is a side that sends runs: outgoing is the one to pump.
	sending interface {
		outgoing(f *flow, number int) (runToSend, bool)
	}
	// arrivals is a side to which runs come: begin makes the incoming run of one that was granted.
	arrivals interface {
		begin(*flow, wire.TransmissionBegin) (*incoming, int, error)
	}
	// requeueing takes back runs that will not come this way.
	requeueing interface {
		requeue(f *flow, runs []task.Run, reason core.Reason)
	}
	// settling is told when the other end (or this one, receiving) has a run.
	settling interface {
		settled(f *flow, number int)
	}
)

// sideOf is what a flow is for, where it is for that.
func sideOf[S side](f *flow) (S, bool) {
	var none S
	if f == nil {
		return none, false
	}
	s, ok := f.side.(S)
	return s, ok
}

// open makes a flow known under its number.
func (n *state) open(peer core.ID, id uint64, end task.End, sends bool, s side) *flow {
	f := &flow{Flow: task.NewFlow(id, end, sends), peer: peer, side: s, transfers: map[uint64]int{},
		byRun: map[int]uint64{}, incoming: map[int]*incoming{}}
	f.accounts = []string{accountDown, accountIn(peer)}
	if sends {
		f.accounts = []string{accountUp, accountOut(peer)}
	}
	n.flows[flowKey{peer, id}] = f
	return f
}

// step moves a flow and does what comes of it.
func (n *state) step(f *flow, e task.Event) {
	e.Now = n.now()
	before := f.Agreed()
	f.stretch.lapse(e.Now, before)
	actions, err := f.Step(e)
	if err != nil {
		n.Log.Warn("flow", "peer", f.peer.Short(), "error", err)
	}
	for _, a := range actions {
		n.do(f, e, a)
	}
	if f.Agreed() > before {
		f.stretch.on = false // what arrives next was sent before
	}
	f.pump.setRate(f.Agreed())
	if f.State == task.Closed {
		n.closeFlow(f)
	}
	f.side.more(n, f)
}

// do carries out one action of a flow.
func (n *state) do(f *flow, e task.Event, a task.Action) {
	switch a.Kind {
	case task.DoHold:
		n.hold(f, a)
	case task.DoAdjust:
		n.must(n.book.Adjust(f.booked, a.Rate))
		f.row.Rate = a.Rate
	case task.DoExtend:
		n.must(n.book.Renew(f.booked, a.At))
	case task.DoGiveBack:
		n.giveBack(f, e)
	case task.DoRequeue:
		n.forget(f, a.Runs)
		if s, ok := f.side.(requeueing); ok {
			s.requeue(f, a.Runs, e.Reason)
		}
	case task.DoRetry:
		n.after(a.At-n.now(), do(func(n *state) { n.step(f, task.Event{Kind: task.Due}) }))
	case task.SendApply:
		n.send(f.peer, f.side.(asking).apply(f, a.Runs, a.Rate))
	case task.SendAgree:
		n.send(f.peer, f.side.(granting).agree(f, a))
	case task.SendRefuse:
		n.send(f.peer, f.side.(granting).refuse(f, a))
	case task.SendBegin:
		n.beginRun(f, a)
	case task.SendComplete:
		n.send(f.peer, wire.TransmissionComplete{Transfer: f.byRun[a.Run], Run: f.wireRun(a.Run), Received: true,
			HeldS: f.incoming[a.Run].heldTime()})
	case task.SendRevise:
		n.send(f.peer, wire.LeaseRevise{Flow: f.ID, Lease: a.Lease, Rate: a.Rate})
	case task.SendAbort:
		m := wire.TransmissionAbort{Flow: f.ID, Code: a.Reason,
			Reason: fmt.Sprintf("%s flow ended here", f.side.purpose())}
		if a.Run != task.NoRun {
			m.Transfer, m.Reason = f.byRun[a.Run], fmt.Sprintf("run %d cannot go on", f.wireRun(a.Run))
		}
		n.send(f.peer, m)
	}
}

// wireRun is a run's number as messages carry it: within its segment in a placement, as asked in a fetch.
func (f *flow) wireRun(number int) int {
	if f.side.purpose() == purposeStore {
		return number % core.SegmentRuns
	}
	return number
}

func (n *state) hold(f *flow, a task.Action) {
	f.booked = n.nextID()
	n.must(n.book.Reserve(n.now(), account.Lease{ID: f.booked, Flow: f.ID, Accounts: f.accounts, Rate: a.Rate,
		Expires: a.At}))
	f.began = n.now()
	f.row = control.LeaseRow{Lease: f.booked, Peer: f.peer, Direction: "receive", Purpose: f.side.purpose(),
		Rate:  a.Rate,
		State: "live"}
	if f.Sends {
		f.row.Direction = "send"
		n.startPump(f, a.Rate)
	}
}

// must asserts what the loop knows to hold: I2 and I3 are worth a crash in tests and a loud log in the field.
func (n *Node) must(err error) {
	if err != nil {
		n.Log.Error("invariant broken", "error", err)
		if n.Strict {
			panic(err)
		}
	}
}

func (n *state) giveBack(f *flow, e task.Event) {
	if !n.book.GiveBack(f.booked) {
		n.must(fmt.Errorf("I3: lease %d of flow %d was given back twice", f.booked, f.ID))
	}
	f.booked = 0
	f.pump.stop()
	f.pump = nil
	f.row.TookS = (n.now() - f.began).Seconds()
	f.row.ExpectedS = finite(f.row.Rate.Payload().Seconds(f.row.Bytes))
	switch {
	case e.Kind == task.Expired:
		f.row.State = "expired"
	case e.Kind == task.Received || e.Kind == task.Agreed || e.Kind == task.Refused:
		f.row.State = "done"
	default:
		f.row.State = "aborted"
	}
	f.stretch.on = false
	n.leases.add(f.row)
	n.wakeWaiting()
}

func finite(s float64) float64 {
	if math.IsInf(s, 0) || math.IsNaN(s) {
		return 0
	}
	return s
}

// forget drops what arrived of runs that will not be completed, at the receiving end.
func (n *state) forget(f *flow, runs []task.Run) {
	p := n.peers[f.peer]
	for _, r := range runs {
		transfer, begun := f.byRun[r.Number]
		f.unbind(r.Number)
		if !f.Sends && begun && p != nil && p.session != nil {
			n.incoming.giveUp(p.session, transfer)
		}
	}
}

// bind gives a run of the flow its transfer number; unbind forgets it.
func (f *flow) bind(transfer uint64, number int) {
	f.transfers[transfer], f.byRun[number] = number, transfer
}

func (f *flow) unbind(number int) {
	delete(f.transfers, f.byRun[number])
	delete(f.byRun, number)
	delete(f.incoming, number)
}

// closeFlow forgets a flow; another that the peer opened meanwhile under the same number stays.
func (n *state) closeFlow(f *flow) {
	if key := (flowKey{f.peer, f.ID}); n.flows[key] == f {
		delete(n.flows, key)
	}
}

// beginRun sends TRANSMISSION_BEGIN and hands the run to the pump.
func (n *state) beginRun(f *flow, a task.Action) {
	toSend, ok := f.side.(sending).outgoing(f, a.Run)
	if !ok {
		n.must(fmt.Errorf("flow %d: run %d is to begin and nobody has it", f.ID, a.Run))
		return
	}
	transfer := n.nextID()
	f.bind(transfer, a.Run)
	m := toSend.begin
	m.Transfer, m.Flow, m.Lease, m.Run = transfer, f.ID, a.Lease, f.wireRun(a.Run)
	if !n.send(f.peer, m) {
		return // the session's end is on its way to the loop
	}
	f.pump.push(job{transfer: transfer, number: a.Run, toSend: toSend, size: f.runSize(a.Run)})
}

// beginMore begins granted runs while few enough are under way. Sending ends call it from more.
func (n *state) beginMore(f *flow) {
	if f.pump == nil || f.State != task.Leased && f.State != task.Renewing {
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
		if _, inHand := f.side.(sending).outgoing(f, r.Number); inHand {
			next, found = r, true
		}
	}
	if found && (under == 0 || f.pump.queued() < 2 && under+next.Size <= n.window(f, next.Size)) {
		n.step(f, task.Event{Kind: task.Begun, Run: next.Number})
	} else if !found && f.pump.queued() == 0 {
		n.slack(f, under)
	}
}

// unsent reports whether so much at least of what was granted is still to be written; where it is not so any more, more
// is called again.
func (f *flow) unsent(least core.Size) bool {
	unbegun := core.Size(0)
	for _, r := range f.Unbegun() {
		unbegun += r.Size
	}
	return unbegun+f.pump.unwritten(max(0, least-unbegun)) >= least
}

// window is how many bytes may be on their way: what the link holds in two round trips, and three runs.
func (n *state) window(f *flow, run core.Size) core.Size {
	p := n.peers[f.peer]
	if p == nil || p.session == nil {
		return run
	}
	return core.Size(float64(f.Rate)*2*p.session.Delay().Seconds()) + 3*max(run, 256*core.KiB)
}

// onComplete frees a run at its sender, or takes a receipt to the coordinator.
func (n *state) onComplete(p *peer, m wire.TransmissionComplete) {
	if len(m.Receipt) > 0 {
		n.onReceipt(p, m)
		return
	}
	for _, f := range n.flows {
		if f.peer != p.id || !f.Sends {
			continue
		}
		if number, ok := f.transfers[m.Transfer]; ok {
			n.measure(f, f.runSize(number), seconds(m.HeldS))
			n.received(f, number)
			p.settled.add(m.Transfer)
			return
		}
	}
	if p.settled.has(m.Transfer) {
		return // said twice
	}
	n.send(p.id, wire.TransmissionAbort{Flow: 1, Transfer: m.Transfer, Code: core.ReasonProtocol,
		Reason: fmt.Sprintf("TRANSMISSION_COMPLETE of transfer %d, which never began", m.Transfer)})
}

// received settles a run at either end.
func (n *state) received(f *flow, number int) {
	f.row.Bytes += f.runSize(number)
	n.step(f, task.Event{Kind: task.Received, Run: number})
	f.unbind(number)
	if s, ok := f.side.(settling); ok {
		s.settled(f, number)
	}
}

// recent remembers the last numbers it was given.
type recent struct {
	ring [256]uint64
	next int
}

func (r *recent) add(n uint64)      { r.ring[r.next%len(r.ring)], r.next = n, r.next+1 }
func (r *recent) has(n uint64) bool { return slices.Contains(r.ring[:], n) }

func (f *flow) runSize(number int) core.Size {
	for _, r := range f.Open() {
		if r.Number == number {
			return r.Size
		}
	}
	return 0
}

// onAbort ends a flow or one of its runs as the other end asks.
func (n *state) onAbort(p *peer, m wire.TransmissionAbort) {
	f := n.flows[flowKey{p.id, m.Flow}]
	if f == nil {
		return
	}
	level := slog.LevelInfo
	if m.Transfer != 0 {
		level = slog.LevelDebug // one run of many; who gives it up says why
	}
	n.Log.Log(n.ctx, level, "abort", "peer", p.id.Short(), "flow", m.Flow, "transfer", m.Transfer, "reason", m.Reason)
	if m.Transfer == 0 {
		n.step(f, task.Event{Kind: task.Aborted, Reason: m.Code})
		return
	}
	if number, ok := f.transfers[m.Transfer]; ok {
		f.pump.cancel(m.Transfer)
		n.step(f, task.Event{Kind: task.RunAborted, Run: number, Reason: m.Code})
	}
}

// How often the node looks whether something expired or may go on: seldom while nothing moves.
const (
	lookOften  = 250 * time.Millisecond
	lookSeldom = 2 * time.Second
)

// expireLeases ends flows whose lease has run out, and promises of room that nobody came for.
func (n *Node) expireLeases() {
	for wait := lookSeldom; n.pause(context.Background(), wait); {
		n.ask(do(func(n *state) { wait = n.look() }))
	}
}

// look does what is due, and says how long nothing will be.
func (n *state) look() time.Duration {
	wait := lookSeldom
	if len(n.flows)+len(n.transfers)+len(n.downloads) > 0 {
		wait = lookOften
	}
	n.follow()
	now := n.now()
	for _, f := range n.flows {
		if f.booked != 0 && f.Expires <= now {
			n.step(f, task.Event{Kind: task.Expired})
		}
	}
	n.kept.DropOutlived()
	n.must(n.book.Check())
	n.endTransfers()
	n.wakeWaiting()
	return wait
}

// maxFlows is how many flows a peer may have open here at a time.
const maxFlows = 64

// closedTo says why an application of a peer is not heard, for a flow that is open or, where f is nil, to be opened.
func (n *state) closedTo(p *peer, f *flow) (core.Reason, string) {
	switch {
	case p.capacity == 0:
		return core.ReasonProtocol, "BANDWIDTH_COORDINATION comes first"
	case f == nil && len(n.flowsOf(p.id)) >= maxFlows:
		return core.ReasonBusy, fmt.Sprintf("%d flows are open", maxFlows)
	}
	return core.ReasonNone, ""
}

// flowsOf lists the flows with a peer.
func (n *state) flowsOf(peer core.ID) (out []*flow) {
	for key, f := range n.flows {
		if key.peer == peer {
			out = append(out, f)
		}
	}
	return out
}

// loseFlows ends every flow with a peer whose session is gone.
func (n *state) loseFlows(peer core.ID) {
	for _, f := range n.flowsOf(peer) {
		n.step(f, task.Event{Kind: task.Lost})
	}
}

// setCapacity gives a link its capacity and scales the leases that no longer fit.
func (n *state) setCapacity(account string, r core.Rate) {
	n.wakeWaiting()
	for _, l := range n.book.SetCapacity(account, r) {
		for _, f := range n.flows {
			// what others did before may have changed it
			if now, stands := n.book.Lease(l.ID); stands && f.booked == l.ID {
				f.row.Rate = now.Rate
				n.step(f, task.Event{Kind: task.Scaled, Rate: now.Rate})
			}
		}
	}
}

// onAgree and onRefuse are the answers to applications to send.
func (n *state) onAgree(p *peer, m wire.StorageAgree) {
	f := n.flows[flowKey{p.id, m.Flow}]
	if s, ok := sideOf[applying](f); ok {
		s.agreed(n, f, m)
	} else {
		n.noSuchFlow(p, m.Flow)
	}
}

func (n *state) onRefuse(p *peer, m wire.StorageRefuse) {
	f := n.flows[flowKey{p.id, m.Flow}]
	if s, ok := sideOf[applying](f); ok {
		s.refused(n, f, m)
	}
}

// noSuchFlow gives a lease back that a peer granted to a flow which is gone.
func (n *state) noSuchFlow(p *peer, flow uint64) {
	n.send(p.id, wire.TransmissionAbort{Flow: flow, Code: core.ReasonStopped, Reason: "that flow has ended here"})
}

// onRevise lowers a lease to what the other end has left of it.
func (n *state) onRevise(p *peer, m wire.LeaseRevise) {
	if f := n.flows[flowKey{p.id, m.Flow}]; f != nil {
		n.step(f, task.Event{Kind: task.Revised, Lease: m.Lease, Rate: m.Rate})
	}
}
