package node

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/account"
	"github.com/bkp-tool/bkp/core/task"
	"github.com/bkp-tool/bkp/core/wire"
)

const purposeStore, purposeGain = "store", "gain"

// A batch is what one application asks for: enough for a second and some round trips, so that bandwidth changes hands often
// and little of it is lost when it does.
const (
	batchTime = time.Second
	batchRuns = 256
)

// sideways is among how many lanes the uplink is shared while more wait: a run sent fast reaches those behind the next node
// early, and while one lane applies the other sends.
const sideways = 2

// lane is everything that this node is to send to one target for one task, as its source or as a relay: at most one
// flow at a time, opened anew where one ended early. Owned by the loop.
type lane struct {
	n    *Node
	to   core.ID
	task core.TaskID
	cap  core.Rate // its share of a trunk; 0 is none
	plan core.Size // what it is to carry for the whole task; 0 where the table says nothing

	queue   []*laneRun       // not asked for, in order
	sending map[int]*laneRun // asked for or granted, by number
	known   map[int]bool     // both, by number
	sent    core.Size        // arrived there
	flow    *flow
	asked   int           // segment of the application under way
	after   time.Duration // not before this moment, after a flow ended early
	fails   int           // flows in a row that ended early
	broken  time.Duration // since when the target has kept no run that it was sent; 0 where it does
	gaveUp  bool          // for that reason, and said so
}

type laneKey struct {
	to   core.ID
	task core.TaskID
}

// laneRun is one run of a lane.
type laneRun struct {
	segment, run int
	name         string
	size         core.Size
	parcel       parcel
}

func (r *laneRun) number() int { return r.segment*core.SegmentRuns + r.run }

// lane finds or makes the lane to a target. Loop only.
func (n *Node) lane(to core.ID, id core.TaskID, m *wire.StorageTask) *lane {
	key := laneKey{to, id}
	l := n.lanes[key]
	if l == nil {
		l = &lane{n: n, to: to, task: id, sending: map[int]*laneRun{}, known: map[int]bool{}}
		n.lanes[key] = l
	}
	if row := rowOf(m.Bandwidth, n.ID(), to); row != nil {
		l.plan = row.Bytes
	}
	if row := rowOf(m.TrunkShares, n.ID(), to); row != nil {
		l.cap = row.Rate
	}
	return l
}

// rowOf is the row of a table for one direction; nil where there is none.
func rowOf(table []wire.BandwidthRow, from, to core.ID) *wire.BandwidthRow {
	for i, row := range table {
		if row.From == from && row.To == to {
			return &table[i]
		}
	}
	return nil
}

// enqueue adds runs at the end of the lane, those that it has not yet.
func (l *lane) enqueue(runs ...*laneRun) {
	for _, r := range runs {
		if !l.known[r.number()] {
			l.known[r.number()] = true
			l.queue = append(l.queue, r)
		}
	}
	l.n.wakeWaiting()
}

// forward sends a run that arrived on to whom the plan says. Loop only.
func (n *Node) forward(seg *segment, run int, chunks []core.Chunk) {
	for _, span := range seg.Locations {
		if span.From != n.ID() || span.Node == n.ID() || !span.Has(run) {
			continue
		}
		file := seg.File(run)
		n.lane(span.Node, seg.Task, &seg.tables).enqueue(&laneRun{segment: seg.Number, run: run, name: file.Name, size: file.Size, parcel: parcel{
			begin: wire.TransmissionBegin{Task: seg.Task, Segment: seg.Number, Hash: file.Hash, Chunks: chunks}, store: n.Keeping,
		}})
	}
}

// wakeWaiting lets every lane and taker look again: bandwidth came free, a peer came up, or time passed. Loop only.
func (n *Node) wakeWaiting() {
	if n.waking {
		return // the one that woke us will look at everybody
	}
	n.waking = true
	defer func() { n.waking = false }()
	n.driveLanes()
	for t := range n.takers {
		t.drive()
	}
}

// driveLanes gives the uplink to the lanes that are furthest behind their plan: all progress alike, so no way through the
// network is left for last. None overtakes one that waits for more bandwidth than is free. Loop only.
func (n *Node) driveLanes() {
	var waiting []*lane
	for _, l := range n.lanes {
		if l.waits() {
			waiting = append(waiting, l)
		}
	}
	slices.SortFunc(waiting, func(a, b *lane) int {
		return cmp.Or(cmp.Compare(a.progress(), b.progress()), a.to.Compare(b.to), a.task.Compare(b.task))
	})
	busy := n.busyLanes()
	for i, l := range waiting {
		if !l.ask(busy + len(waiting) - i) {
			return
		}
	}
}

// busyLanes counts the lanes that hold a lease or ask for one.
func (n *Node) busyLanes() (busy int) {
	for _, l := range n.lanes {
		if l.flow != nil && l.flow.Holds() {
			busy++
		}
	}
	return busy
}

// waits tells whether a lane has something to send, somebody to send it to, and no lease.
func (l *lane) waits() bool {
	p := l.n.peers[l.to]
	return len(l.queue) > 0 && p != nil && p.session != nil && p.capacity > 0 && l.n.now() >= l.after &&
		(l.flow == nil || l.flow.State == task.Idle)
}

// progress is the part of its plan that a lane has behind it or under way.
func (l *lane) progress() float64 {
	done := l.sent
	if l.flow != nil {
		done += l.flow.OpenBytes()
	}
	return float64(done) / float64(max(l.plan, 1))
}

// ask applies for a lease; rivals is how many lanes want the uplink. It is false where this node has no bandwidth to give.
func (l *lane) ask(rivals int) bool {
	n := l.n
	if l.flow == nil {
		l.flow = n.open(l.to, n.nextID(), task.Asker, true, l)
	}
	f := l.flow
	nominal := n.book.Nominal(f.accounts...)
	asked := nominal
	if up := n.book.Nominal(accountUp); rivals > 1 && up < account.Unlimited {
		asked = min(asked, up/core.Rate(min(rivals, sideways)))
	}
	if l.cap > 0 {
		asked = min(asked, l.cap)
	}
	rate := task.Grant(asked, n.book.Free(f.accounts...), nominal)
	if rate == 0 {
		return task.Grant(asked, n.book.Free(accountUp), asked) > 0 // the link is taken, the uplink is not
	}
	n.step(f, task.Event{Kind: task.Ask, Runs: l.batch(rate), Rate: rate})
	return true
}

// renew asks for more under the lease that stands, unless another lane is further behind.
func (l *lane) renew() {
	n, f := l.n, l.flow
	if f.State != task.Leased || len(l.queue) == 0 || n.now() < l.after || f.OpenBytes() >= l.batchBytes(f.Rate)/2 {
		return
	}
	for _, other := range n.lanes {
		if other != l && other.waits() && other.progress() < l.progress() {
			return
		}
	}
	rate := f.Rate + n.book.Free(f.accounts...)
	if n.book.Nominal(accountUp) < account.Unlimited && n.rivals(l) > 0 {
		rate = f.Rate
	}
	if l.cap > 0 {
		rate = min(rate, l.cap)
	}
	n.step(f, task.Event{Kind: task.Ask, Runs: l.batch(f.Rate), Rate: min(rate, n.book.Nominal(f.accounts...))})
}

// rivals counts the other lanes that want the uplink or have a part of it.
func (n *Node) rivals(l *lane) (rivals int) {
	for _, other := range n.lanes {
		if other != l && (other.waits() || other.flow != nil && other.flow.Holds()) {
			rivals++
		}
	}
	return rivals
}

// batchBytes is how much one application asks for, at most a sixteenth of the plan, so that lanes take turns.
func (l *lane) batchBytes(r core.Rate) core.Size {
	seconds := batchTime.Seconds()
	if p := l.n.peers[l.to]; p != nil && p.session != nil {
		seconds += 20 * p.session.Delay().Seconds()
	}
	bytes := core.Size(float64(r) * seconds)
	if l.plan > 0 && l.n.rivals(l) > 0 {
		bytes = min(bytes, l.plan/16)
	}
	return bytes
}

// batch takes the next runs of one segment off the queue.
func (l *lane) batch(rate core.Rate) (runs []task.Run) {
	l.asked = l.queue[0].segment
	limit := l.batchBytes(rate)
	var bytes core.Size
	for len(l.queue) > 0 && len(runs) < batchRuns && l.queue[0].segment == l.asked && (bytes < limit || len(runs) == 0) {
		r := l.queue[0]
		l.queue = l.queue[1:]
		l.sending[r.number()] = r
		bytes += r.size
		runs = append(runs, task.Run{Number: r.number(), Size: r.size})
	}
	return runs
}

func (l *lane) purpose() string { return purposeStore }

func (l *lane) apply(f *flow, runs []task.Run, rate core.Rate) wire.Message {
	m := wire.StorageApply{Flow: f.ID, Task: l.task, Segment: l.asked, Filename: l.sending[runs[0].Number].name, Rate: rate}
	numbers := make([]int, len(runs))
	for i, r := range runs {
		numbers[i] = r.Number % core.SegmentRuns
		m.Size += r.Size
	}
	m.Runs = core.Ranges(numbers)
	return m
}

// requeue puts runs back at the head of the lane, to be asked for again a little later if the flow ended for a reason.
func (l *lane) requeue(f *flow, runs []task.Run, reason core.Reason) {
	var back []*laneRun
	for _, r := range runs {
		if run := l.sending[r.Number]; run != nil {
			back = append(back, run)
			delete(l.sending, r.Number)
		}
	}
	l.queue = append(back, l.queue...)
	if reason == core.ReasonInternal || reason == core.ReasonCorrupt {
		l.slowDown(reason)
	}
}

// brokenPatience is how long a target may fail to keep every run that it is sent.
const brokenPatience = 10 * time.Second

// slowDown waits with the next application to a target that could not keep a run, and gives up one that keeps none.
func (l *lane) slowDown(reason core.Reason) {
	now := l.n.now()
	l.after = now + time.Second
	if l.broken == 0 {
		l.broken = now
	}
	if len(l.queue) == 0 || now-l.broken < brokenPatience {
		return
	}
	if !l.gaveUp {
		l.n.Log.Warn("gave up sending", "to", l.to.Short(), "task", l.task, "runs", len(l.queue), "reason", reason)
	}
	l.gaveUp = true
	l.clear()
	if pl := l.n.places[l.task]; pl != nil {
		pl.giveUp(l.to, "it fails to keep what it is sent, its log says why")
	}
}

func (l *lane) outgoing(_ *flow, number int) (parcel, bool) {
	r := l.sending[number]
	if r == nil {
		return parcel{}, false
	}
	return r.parcel, true
}

func (l *lane) settled(_ *flow, number int) {
	if r := l.sending[number]; r != nil {
		l.sent += r.size
	}
	delete(l.sending, number)
	delete(l.known, number)
	l.fails, l.broken, l.gaveUp = 0, 0, false
}

// had drops runs that the target keeps already.
func (l *lane) had(segment int, runs []core.Range) {
	for _, r := range runs {
		for run := r.Start; run < r.Start+r.Length; run++ {
			if r := l.sending[segment*core.SegmentRuns+run]; r != nil {
				l.sent += r.size
			}
			delete(l.sending, segment*core.SegmentRuns+run)
			delete(l.known, segment*core.SegmentRuns+run)
		}
	}
}

// maxFails is how many flows in a row may end early before the lane gives up: the coordinator then finds another way.
const maxFails = 40

func (l *lane) more(f *flow) {
	if f != l.flow {
		return
	}
	if f.State == task.Closed {
		l.flow = nil
		l.fails++
		l.after = l.n.now() + min(time.Duration(l.fails)*250*time.Millisecond, 5*time.Second)
		if l.fails > maxFails {
			l.n.Log.Warn("gave up sending", "to", l.to.Short(), "task", l.task, "runs", len(l.queue))
			l.clear()
		}
		return // expireLeases wakes it when its time has come
	}
	l.n.beginMore(f)
	l.renew()
	if f.State == task.Idle || f.State == task.Leased {
		l.n.wakeWaiting()
	}
	if len(l.queue) == 0 && len(l.sending) == 0 && l.flow == f && f.State == task.Idle {
		l.n.closeFlow(f)
		l.flow = nil
		if l.sent >= l.plan {
			delete(l.n.lanes, laneKey{l.to, l.task})
		}
	}
}

// clear gives up what is not asked for.
func (l *lane) clear() {
	for _, r := range l.queue {
		delete(l.known, r.number())
	}
	l.queue = nil
	if l.flow == nil {
		delete(l.n.lanes, laneKey{l.to, l.task})
	}
}

func (l *lane) agree(*flow, task.Action) wire.Message  { return nil } // an asker is never asked
func (l *lane) refuse(*flow, task.Action) wire.Message { return nil }

// onAgree is the target's grant.
func (n *Node) onAgree(p *peer, m wire.StorageAgree) {
	f := n.flows[flowKey{p.id, m.Flow}]
	l, ok := sideOf[*lane](f)
	if !ok {
		n.send(p.id, wire.TransmissionAbort{Flow: m.Flow, Code: core.ReasonStopped, Reason: "that flow has ended here"})
		return
	}
	l.had(l.asked, m.Have)
	n.step(f, task.Event{Kind: task.Agreed, Runs: l.sized(m.Runs), Have: l.numbers(m.Have), Lease: m.Lease, Rate: m.Rate,
		Term: time.Duration(m.ExpiresS * float64(time.Second))})
}

// onRefuse is the target's no.
func (n *Node) onRefuse(p *peer, m wire.StorageRefuse) {
	f := n.flows[flowKey{p.id, m.Flow}]
	l, ok := sideOf[*lane](f)
	if !ok {
		return
	}
	if m.Code != core.ReasonBusy && m.Code != core.ReasonHave && m.Code != core.ReasonInFlight {
		n.Log.Warn("target refused runs", "peer", p.id.Short(), "reason", m.Reason)
	}
	have := l.numbers(m.Have)
	l.had(l.asked, m.Have)
	n.step(f, task.Event{Kind: task.Refused, Have: have, Reason: m.Code, Retry: time.Duration(m.RetryS * float64(time.Second))})
}

// sideOf is what a flow is for, where it is for that.
func sideOf[S side](f *flow) (S, bool) {
	var none S
	if f == nil {
		return none, false
	}
	s, ok := f.side.(S)
	return s, ok
}

// numbers and sized name runs of the segment that was asked for by their numbers in the flow.
func (l *lane) numbers(ranges []core.Range) (out []int) {
	for _, r := range ranges {
		for run := r.Start; run < r.Start+r.Length; run++ {
			out = append(out, l.asked*core.SegmentRuns+run)
		}
	}
	return out
}

func (l *lane) sized(ranges []core.Range) (out []task.Run) {
	for _, number := range l.numbers(ranges) {
		r := task.Run{Number: number}
		if known := l.sending[number]; known != nil {
			r.Size = known.size
		}
		out = append(out, r)
	}
	return out
}

func (l *lane) String() string { return fmt.Sprintf("lane to %s for task %s", l.to.Short(), l.task) }
