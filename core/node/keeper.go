package node

import (
	"cmp"
	"errors"
	"fmt"
	"sync"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/link"
	"github.com/bkp-tool/bkp/core/storage/live"
	"github.com/bkp-tool/bkp/core/task"
	"github.com/bkp-tool/bkp/core/wire"
)

// keeper is the receiving end of a placement's flow: it grants leases and keeps what arrives. Owned by the loop.
type keeper struct {
	n      *Node
	last   wire.StorageApply // the application being answered
	have   []core.Range      // of its runs, those kept here already
	reason string
}

// onApply answers an application at once.
func (n *Node) onApply(p *peer, m wire.StorageApply) {
	f := n.flows[flowKey{p.id, m.Flow}]
	if code, reason := n.closedTo(p, f); reason != "" {
		n.send(p.id, wire.StorageRefuse{Flow: m.Flow, Code: code, Reason: reason})
		return
	}
	if f == nil {
		f = n.open(p.id, m.Flow, task.Grantor, false, &keeper{n: n})
	}
	k, ok := sideOf[*keeper](f)
	if !ok {
		n.send(p.id, wire.StorageRefuse{Flow: m.Flow, Code: core.ReasonProtocol,
			Reason: "that flow is of another kind"})
		return
	}
	if f.State != task.Idle && k.last.Task != m.Task {
		n.send(p.id, wire.StorageRefuse{Flow: m.Flow, Code: core.ReasonProtocol,
			Reason: "that flow is for another task"})
		return
	}
	k.last, k.have, k.reason = m, nil, ""
	seg := n.segments[segmentKey{m.Task, m.Segment}]
	e := task.Event{Kind: task.Applied, Rate: m.Rate, Lease: n.nextID(),
		Free: n.book.Free(f.accounts...), Nominal: n.book.Nominal(f.accounts...)}
	if seg == nil {
		e.Reason, k.reason = core.ReasonUnknown, fmt.Sprintf("segment %d of task %s was not accepted here", m.Segment,
			m.Task)
	} else {
		e.Runs, e.Reason = k.wanted(f, seg, m.Runs)
		n.receiptAgain(p, seg, k.have)
	}
	if len(e.Runs) > 0 {
		if err := n.promise(seg, seg.missing()); err != nil {
			e.Reason, k.reason = core.ReasonSpace, err.Error()
		}
	}
	n.step(f, e)
	if f.State == task.Idle {
		n.closeFlow(f) // nothing was granted
	}
}

// wanted is the runs of an application that this node is to keep and has not.
func (k *keeper) wanted(f *flow, seg *segment, ranges []core.Range) (runs []task.Run, reason core.Reason) {
	var have []int
	inFlight := false
	for _, r := range ranges {
		for run := r.Start; run < r.Start+r.Length; run++ {
			by, arriving := seg.arriving[run]
			switch {
			case run < seg.Runs() && (seg.have.Has(run) || seg.moved.Has(run) && !arriving):
				have = append(have, run) // or who offers it has not heard yet that it goes to another node
			case run >= seg.Runs() || !seg.mine.Has(run):
				k.reason = fmt.Sprintf("run %d is not for this node", run)
				return nil, core.ReasonLicense
			case arriving && by != f.ID:
				inFlight = true
			default:
				runs = append(runs, task.Run{Number: seg.Number*core.SegmentRuns + run, Size: seg.File(run).Size})
			}
		}
	}
	k.have = core.Ranges(have)
	if len(runs) == 0 && inFlight {
		k.reason = "those runs are on their way from another sender"
		return nil, core.ReasonInFlight
	}
	return runs, core.ReasonNone
}

func (k *keeper) purpose() string { return purposeStore }

func (k *keeper) agree(f *flow, a task.Action) wire.Message {
	numbers := make([]int, len(a.Runs))
	seg := k.n.segments[segmentKey{k.last.Task, k.last.Segment}]
	for i, r := range a.Runs {
		numbers[i] = r.Number % core.SegmentRuns
		seg.arriving[numbers[i]] = f.ID
	}
	if s := k.n.swarms[seg.Task]; s != nil {
		s.tell()
	}
	return wire.StorageAgree{Flow: f.ID, Lease: a.Lease, Rate: a.Rate, Runs: core.Ranges(numbers), Have: k.have,
		ExpiresS: (a.At - k.n.now()).Seconds()}
}

func (k *keeper) refuse(f *flow, a task.Action) wire.Message {
	reason := k.reason
	switch {
	case reason != "":
	case a.Reason == core.ReasonHave:
		reason = "those runs are kept here already"
	case a.Reason == core.ReasonBusy:
		reason = "not enough bandwidth is free now"
	default:
		reason = "that flow has ended here"
	}
	return wire.StorageRefuse{Flow: f.ID, Code: a.Reason, Reason: reason, RetryS: a.Retry.Seconds(), Have: k.have}
}

// segmentOf finds the segment and the run in it by the number in the flow.
func (k *keeper) segmentOf(number int) (*segment, int) {
	return k.n.segments[segmentKey{k.last.Task, number / core.SegmentRuns}], number % core.SegmentRuns
}

func (k *keeper) requeue(f *flow, runs []task.Run, _ core.Reason) {
	for _, r := range runs {
		if seg, run := k.segmentOf(r.Number); seg != nil && seg.arriving[run] == f.ID {
			delete(seg.arriving, run)
			if seg.moved.Has(run) && !seg.have.Has(run) {
				seg.mine.Clear(run) // it was awaited only because it was on its way
			}
		}
	}
}

func (k *keeper) more(f *flow) {
	if f.State == task.Idle {
		k.n.closeFlow(f) // drained: a further application opens it again
	}
	if s := k.n.swarms[k.last.Task]; f.State == task.Closed || f.State == task.Idle && (s == nil || !s.lacking()) {
		k.n.barriers.flush() // nothing more is on its way
	}
}

// onBegin prepares for a run's data.
func (n *Node) onBegin(p *peer, s *link.Session, m wire.TransmissionBegin) {
	f := n.flows[flowKey{p.id, m.Flow}]
	var in *inflow
	var number int
	var err error
	switch {
	case f == nil || f.Sends:
		err = fmt.Errorf("no flow %d is open to receive", m.Flow)
	case chunk.RunHash(m.Chunks) != m.Hash && f.side.purpose() == purposeStore:
		err = fmt.Errorf("the chunk list does not match the run's hash")
	default:
		if side, ok := f.side.(arrivals); ok {
			in, number, err = side.begin(f, m)
		}
	}
	if err == nil {
		in.transfer = m.Transfer
		if _, again := f.byRun[number]; again {
			err = fmt.Errorf("run %d began twice", m.Run)
		} else {
			err = n.inflows.begin(s, in)
		}
	}
	if err != nil {
		n.inflows.refuse(s, m.Transfer)
		n.send(p.id, wire.TransmissionAbort{Flow: m.Flow, Transfer: m.Transfer, Code: core.ReasonProtocol,
			Reason: err.Error()})
		return
	}
	f.bind(m.Transfer, number)
	f.inflow[number] = in
	n.step(f, task.Event{Kind: task.Begun, Run: number})
}

// begin makes the inflow of a granted run.
func (k *keeper) begin(f *flow, m wire.TransmissionBegin) (*inflow, int, error) {
	n := k.n
	seg := n.segments[segmentKey{m.Task, m.Segment}]
	if seg == nil || m.Task != k.last.Task || m.Run >= seg.Runs() || seg.arriving[m.Run] != f.ID {
		return nil, 0, fmt.Errorf("run %d of segment %d was not granted", m.Run, m.Segment)
	}
	file := seg.File(m.Run)
	if file.Hash != m.Hash {
		return nil, 0, fmt.Errorf("run %d has another hash than in its task", m.Run)
	}
	if size := sizeOf(m.Chunks); size != file.Size {
		return nil, 0, fmt.Errorf("run %d has %d bytes, its task says %d", m.Run, size, file.Size)
	}
	number := m.Segment*core.SegmentRuns + m.Run
	kept := &youngRun{young: &n.keptPins}
	return &inflow{
		chunks: m.Chunks,
		keep: func(_ int, c core.Chunk, data []byte) error {
			return kept.add(c, func() error { _, err := n.Keeping.Put(n.ctx, c, core.Hash{}, data); return err })
		},
		dropped: kept.drop,
		done: func(err error) {
			claimed, err := kept.finish(err)
			n.ask(func() { n.runArrived(f, seg, m, number, claimed, err) })
		},
	}, number, nil
}

// runArrived settles a run that is wholly here, its chunks claimed, or that cannot be.
func (n *Node) runArrived(f *flow, seg *segment, m wire.TransmissionBegin, number int, claimed []core.Chunk,
	err error) {
	if seg.arriving[m.Run] == f.ID {
		delete(seg.arriving, m.Run)
	}
	if err == nil && n.segments[seg.key()] != seg {
		n.keptPins.Release(claimed)
		err = core.Fail(core.CodeFailed, "its task was released meanwhile")
	}
	if err != nil {
		n.Log.Warn("run refused", "from", f.peer.Short(), "run", seg.File(m.Run).Name, "error", err)
		n.step(f, task.Event{Kind: task.RunFailed, Run: number, Reason: reasonFor(err)})
		return
	}
	if seg.have.Has(m.Run) {
		n.keptPins.Release(claimed)
	} else {
		seg.have.Set(m.Run)
		n.dropPromise(seg, m.Run)
		n.barriers.add(arrival{key: seg.key(), claimed: claimed, holding: core.Holding{
			Task: seg.Task, Segment: seg.Number, Number: m.Run, File: seg.File(m.Run), Chunks: m.Chunks,
			Kept: used(seg, m.Run, len(m.Chunks)),
		}})
		n.arrived(seg, m.Run, m.Chunks)
		defer n.wakeWaiting() // it may go on to others at once
	}
	n.received(f, number)
}

// receiptAgain says once more that runs are durable here to a source that offers them again: the receipt was lost on
// its way, or with this node's memory. Loop only.
func (n *Node) receiptAgain(p *peer, seg *segment, ranges []core.Range) {
	if p.id != seg.Source {
		return
	}
	for _, r := range ranges {
		for run := r.Start; run < r.Start+r.Length; run++ {
			if seg.durable.Has(run) {
				n.barriers.add(arrival{key: seg.key(), again: true, holding: core.Holding{Number: run}})
			}
		}
	}
}

func sizeOf(chunks []core.Chunk) (sum core.Size) {
	for _, c := range chunks {
		sum += c.Size
	}
	return sum
}

// youngRun is the claims of one run that arrives.
type youngRun struct {
	young *live.Pins
	mu    sync.Mutex // never held while the disk works: the loop drops
	kept  []core.Chunk
	over  bool // dropped, or handed on by finish
}

func (r *youngRun) add(c core.Chunk, put func() error) error {
	err := r.young.While(c, put)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		r.young.Release([]core.Chunk{c})
		return cmp.Or(err, errGivenUp)
	}
	r.kept = append(r.kept, c)
	return err
}

var errGivenUp = errors.New("the run was given up")

// finish hands the claims of a run that is whole to the caller; where it is not, or was dropped before, there are none.
func (r *youngRun) finish(err error) ([]core.Chunk, error) {
	if err != nil {
		r.drop()
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return nil, errGivenUp
	}
	r.over = true
	return r.kept, nil
}

// drop ends the claims of a run that will not be completed.
func (r *youngRun) drop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.over {
		r.over = true
		r.young.Release(r.kept)
	}
}
