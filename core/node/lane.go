package node

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/task"
	"github.com/bkp-tool/bkp/core/wire"
)

const purposeStore, purposeGain = "store", "gain"

// A batch is what one application asks for: enough for a few seconds, so that bandwidth changes hands now and then.
const (
	batchTime = 4 * time.Second
	batchRuns = 256
)

// lane is everything that this node is to send to one target for one task, as its source or as a relay: at most one
// flow at a time, opened anew where one ended early. Owned by the loop.
type lane struct {
	n    *Node
	to   core.ID
	task core.TaskID
	rate core.Rate // planned; 0 where the table says nothing

	queue   []*laneRun       // not asked for, in order; what is promised waits here for what is in hand
	sending map[int]*laneRun // asked for or granted, by number
	known   map[int]*laneRun // both, by number
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

// laneRun is one run of a lane. A relay knows its runs before they arrive and asks for them together with those in hand,
// so that its lease does not end between one arrival and the next.
type laneRun struct {
	segment, run int
	name         string
	size         core.Size
	inHand       bool
	parcel       parcel // once in hand
}

func (r *laneRun) number() int { return r.segment*core.SegmentRuns + r.run }

// lane finds or makes the lane to a target. Loop only.
func (n *Node) lane(to core.ID, id core.TaskID, rate core.Rate) *lane {
	key := laneKey{to, id}
	l := n.lanes[key]
	if l == nil {
		l = &lane{n: n, to: to, task: id, sending: map[int]*laneRun{}, known: map[int]*laneRun{}}
		n.lanes[key] = l
	}
	l.rate = cmp.Or(rate, l.rate)
	return l
}

// enqueue adds runs at the end of the lane; one that it knows already is only filled in.
func (l *lane) enqueue(runs ...*laneRun) {
	for _, r := range runs {
		switch known := l.known[r.number()]; {
		case known == nil:
			l.known[r.number()] = r
			l.queue = append(l.queue, r)
		case r.inHand:
			known.inHand, known.parcel = true, r.parcel
		}
	}
	if l.flow != nil {
		l.n.beginMore(l.flow)
	}
	l.drive()
}

// expect opens the lanes for the runs of a segment that are to be sent on from here. Loop only.
func (n *Node) expect(seg *segment) {
	for _, span := range seg.Locations {
		if span.From != n.ID() || span.Node == n.ID() {
			continue
		}
		l := n.lane(span.Node, seg.Task, plannedRate(seg.bandwidth, n.ID(), span.Node))
		for run := span.Start; run < span.Start+span.Length; run++ {
			file := seg.File(run)
			l.enqueue(&laneRun{segment: seg.Number, run: run, name: file.Name, size: file.Size})
		}
	}
}

// forward sends a run that arrived on to whom the plan says. Loop only.
func (n *Node) forward(seg *segment, run int, chunks []core.Chunk) {
	for _, span := range seg.Locations {
		if span.From != n.ID() || span.Node == n.ID() || !span.Has(run) {
			continue
		}
		file := seg.File(run)
		l := n.lane(span.Node, seg.Task, plannedRate(seg.bandwidth, n.ID(), span.Node))
		l.enqueue(&laneRun{segment: seg.Number, run: run, name: file.Name, size: file.Size, inHand: true, parcel: parcel{
			begin: wire.TransmissionBegin{Task: seg.Task, Segment: seg.Number, Hash: file.Hash, Chunks: chunks}, store: n.Keeping,
		}})
	}
}

func plannedRate(table []wire.BandwidthRow, from, to core.ID) core.Rate {
	for _, row := range table {
		if row.From == from && row.To == to {
			return row.Rate
		}
	}
	return 0
}

// wakeWaiting lets every lane and taker look again: bandwidth came free, a peer came up, or time passed. Loop only.
func (n *Node) wakeWaiting() {
	if n.waking {
		return // the one that woke us will look at everybody
	}
	n.waking = true
	defer func() { n.waking = false }()
	for _, l := range n.lanes {
		l.drive()
	}
	for t := range n.takers {
		t.drive()
	}
}

// drive asks for a lease, or for more runs under the one there is.
func (l *lane) drive() {
	n := l.n
	p := n.peers[l.to]
	if !l.worthAsking() || p == nil || p.session == nil || p.capacity == 0 || n.now() < l.after {
		return
	}
	if l.flow == nil {
		l.flow = n.open(l.to, n.nextID(), task.Asker, true, l)
	}
	f := l.flow
	switch f.State {
	case task.Idle:
		nominal := n.book.Nominal(f.accounts...)
		asked := min(cmp.Or(l.rate, nominal), nominal)
		if rate := task.Grant(asked, n.book.Free(f.accounts...), nominal); rate > 0 {
			n.step(f, task.Event{Kind: task.Ask, Runs: l.batch(rate), Rate: rate})
		}
	case task.Leased:
		if f.OpenBytes() < batchBytes(f.Rate)/2 {
			rate := min(cmp.Or(l.rate, f.Rate), f.Rate+n.book.Free(f.accounts...))
			n.step(f, task.Event{Kind: task.Ask, Runs: l.batch(f.Rate), Rate: rate})
		}
	}
}

// worthAsking tells whether there is something to ask for: a run in hand, or more of what a live lease waits for.
func (l *lane) worthAsking() bool {
	if len(l.queue) == 0 {
		return false
	}
	return l.flow != nil && l.flow.State == task.Leased || slices.ContainsFunc(l.queue, func(r *laneRun) bool { return r.inHand })
}

func batchBytes(r core.Rate) core.Size { return core.Size(float64(r) * batchTime.Seconds()) }

// batch takes the next runs of one segment out of the queue, those in hand before those that are promised.
func (l *lane) batch(rate core.Rate) (runs []task.Run) {
	slices.SortStableFunc(l.queue, func(a, b *laneRun) int {
		switch {
		case a.inHand == b.inHand:
			return 0
		case a.inHand:
			return -1
		}
		return 1
	})
	l.asked = l.queue[0].segment
	var bytes core.Size
	l.queue = slices.DeleteFunc(l.queue, func(r *laneRun) bool {
		if len(runs) >= batchRuns || r.segment != l.asked || bytes >= batchBytes(rate) && len(runs) >= 2 {
			return false
		}
		l.sending[r.number()] = r
		bytes += r.size
		runs = append(runs, task.Run{Number: r.number(), Size: r.size})
		return true
	})
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
	if r == nil || !r.inHand {
		return parcel{}, false
	}
	return r.parcel, true
}

func (l *lane) settled(_ *flow, number int) {
	delete(l.sending, number)
	delete(l.known, number)
	l.fails, l.broken, l.gaveUp = 0, 0, false
}

// had drops runs that the target keeps already.
func (l *lane) had(segment int, runs []core.Range) {
	for _, r := range runs {
		for run := r.Start; run < r.Start+r.Length; run++ {
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
	l.drive()
	if len(l.queue) == 0 && len(l.sending) == 0 && f.State == task.Idle {
		l.n.closeFlow(f)
		l.flow = nil
		delete(l.n.lanes, laneKey{l.to, l.task})
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
