package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/license"
	"github.com/bkp-tool/bkp/core/wire"
)

const (
	barrierBytes = 64 * core.MiB
	barrierPause = time.Second
)

// arrival is a run that is wholly here but not yet durable.
type arrival struct {
	key     segmentKey
	holding core.Holding
	claimed []core.Chunk // pinned, until the holding covers them
	again   bool         // durable before, only its receipt is wanted again; of the holding the number alone is set
}

// barriers collects arrivals until they are worth a barrier: so many bytes, so long after the first, or nothing more
// on its way.
type barriers struct {
	mu      sync.Mutex
	waiting []arrival
	bytes   core.Size
	first   chan struct{} // holds one word while something waits
	full    chan struct{} // holds one word once barrierBytes wait, or nothing more comes
}

func (b *barriers) init() {
	b.first, b.full = make(chan struct{}, 1), make(chan struct{}, 1)
}

func (b *barriers) add(arrivals ...arrival) {
	if len(arrivals) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range arrivals {
		b.waiting = append(b.waiting, a)
		b.bytes += a.holding.File.Size
	}
	signal(b.first)
	if b.bytes >= barrierBytes {
		signal(b.full)
	}
}

// flush asks for a barrier now: nothing more is on its way.
func (b *barriers) flush() { signal(b.full) }

func (b *barriers) take() []arrival {
	b.mu.Lock()
	defer b.mu.Unlock()
	taken := b.waiting
	b.waiting, b.bytes = nil, 0
	return taken
}

// signal leaves one word in c unless one is there already.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// keepDurable puts one barrier after another and sends the receipts that each allows.
func (n *Node) keepDurable() {
	for {
		select {
		case <-n.barriers.first:
		case <-n.ctx.Done():
			return
		}
		pause := time.NewTimer(barrierPause)
		select {
		case <-pause.C:
		case <-n.barriers.full:
		case <-n.ctx.Done():
		}
		pause.Stop()
		if err := n.barrier(n.barriers.take()); err != nil {
			n.Log.Error("barrier", "error", err)
		} else if err := n.rememberHead(); err != nil {
			n.Log.Error("remember the ledger", "error", err)
		}
	}
}

// batch is the arrivals of one segment.
type batch struct {
	arrivals  []arrival
	holdings  []core.Holding // of those that are new
	described []core.Described
}

// barrier makes arrivals durable, bytes before records before receipts, and posts the receipts. What cannot be made
// durable is forgotten, so that it can be sent again; one segment's trouble is not another's.
func (n *Node) barrier(arrivals []arrival) error {
	if len(arrivals) == 0 {
		return nil
	}
	batches := map[segmentKey]*batch{}
	for _, a := range arrivals {
		b := batches[a.key]
		if b == nil {
			b = &batch{}
			batches[a.key] = b
		}
		b.arrivals = append(b.arrivals, a)
		if !a.again {
			b.holdings = append(b.holdings, a.holding)
		}
	}
	err := n.describeBatches(batches)
	if err == nil {
		err = n.Keeping.Barrier(context.WithoutCancel(n.ctx))
	}
	if err != nil {
		n.unkeep(arrivals)
		for _, b := range batches {
			n.keptPins.Release(chunksOf(b.described))
		}
		return fmt.Errorf("make %d runs durable: %w", len(arrivals), err)
	}
	var errs []error
	numbers := map[segmentKey][]int{}
	for key, b := range batches {
		err := n.Holdings.PutRuns(b.holdings, b.described...)
		n.keptPins.Release(chunksOf(b.described))
		if err != nil {
			n.unkeep(b.arrivals)
			errs = append(errs, fmt.Errorf("record %d runs: %w", len(b.holdings), err))
			continue
		}
		for _, a := range b.arrivals {
			n.keptPins.Release(a.claimed)
			numbers[key] = append(numbers[key], a.holding.Number)
		}
	}
	return errors.Join(append(errs, n.receipt(numbers))...)
}

// describeBatches puts what the packs have to say of new runs beside them.
func (n *Node) describeBatches(batches map[segmentKey]*batch) error {
	segments := map[segmentKey]core.Segment{}
	n.ask(func() {
		for key := range batches {
			if seg := n.segments[key]; seg != nil {
				segments[key] = seg.Segment
			}
		}
	})
	for key, b := range batches {
		s, known := segments[key]
		if !known || len(b.holdings) == 0 {
			continue // released meanwhile, or nothing is new
		}
		var err error
		if b.described, err = n.describe(s, b.holdings); err != nil {
			return err
		}
	}
	return nil
}

// unkeep forgets runs that could not be made durable.
func (n *Node) unkeep(arrivals []arrival) {
	n.post(func() {
		for _, a := range arrivals {
			n.keptPins.Release(a.claimed)
			if seg := n.segments[a.key]; seg != nil && !a.again {
				seg.have[a.holding.Number/8] &^= 1 << (a.holding.Number % 8)
			}
		}
	})
}

// receipt signs, logs and sends one receipt for each segment. Only the barrier loop calls it, so chains of receipts
// stay chains.
func (n *Node) receipt(numbers map[segmentKey][]int) error {
	type signed struct {
		seg      *segment
		license  core.LicenseID
		runs     []int
		envelope []byte
	}
	var all []signed
	n.entering.Lock()
	defer n.entering.Unlock()
	n.ask(func() {
		for key, runs := range numbers {
			if seg := n.segments[key]; seg != nil {
				all = append(all, signed{seg: seg, license: seg.LicenseID, runs: runs})
			}
		}
	})
	for i, s := range all {
		envelope, err := n.signReceipt(s.seg, s.license, s.runs)
		if err != nil {
			return err
		}
		all[i].envelope = envelope
	}
	if err := n.Ledger.Sync(); err != nil {
		return fmt.Errorf("make receipts durable: %w", err)
	}
	n.post(func() {
		for _, s := range all {
			for _, run := range s.runs {
				s.seg.durable.Set(run)
			}
			s.seg.receipts = append(s.seg.receipts, s.envelope)
			n.deliverReceipts(s.seg)
		}
	})
	return nil
}

// signReceipt reads only what never changes of the segment.
func (n *Node) signReceipt(seg *segment, under core.LicenseID, runs []int) ([]byte, error) {
	previous, err := n.Ledger.LastReceipt(under)
	if err != nil {
		return nil, fmt.Errorf("find the last receipt: %w", err)
	}
	r := core.Receipt{
		V: 1, License: under, Task: seg.Task, Segment: seg.Number, Target: n.ID(), Runs: core.Ranges(runs),
		RetainUntil: seg.RetainUntil, Previous: previous, Time: time.Now().Unix(), Key: n.Signer.Public(),
	}
	for _, run := range runs {
		r.Bytes += seg.File(run).Size
	}
	envelope, err := license.SignReceipt(r, n.Signer)
	if err != nil {
		return nil, fmt.Errorf("sign receipt: %w", err)
	}
	if err := n.Ledger.AppendReceipt(envelope); err != nil {
		return nil, fmt.Errorf("enter receipt in the ledger: %w", err)
	}
	return envelope, nil
}

// deliverReceipts sends a segment's receipts to the coordinator, or to whoever sent the runs where it is not
// connected; what can be sent to nobody waits for the next receipt or session. Loop only.
func (n *Node) deliverReceipts(seg *segment) {
	for len(seg.receipts) > 0 {
		if !n.towardsSource(seg, wire.TransmissionComplete{Task: seg.Task, Segment: seg.Number, To: seg.Source,
			Receipt: seg.receipts[0]}) {
			return
		}
		seg.receipts = seg.receipts[1:]
	}
}

// towardsSource sends a message about a segment to its source, or to one that is nearer to it. Loop only.
func (n *Node) towardsSource(seg *segment, m wire.Message) bool {
	if n.send(seg.Source, m) {
		return true
	}
	for _, span := range seg.Locations {
		if span.Node == n.ID() && span.From != n.ID() && n.send(span.From, m) {
			return true
		}
	}
	return false
}
