// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/bkp-tool/bkp/core"
)

// A barrier waits until so many bytes have arrived, or for so long after the first of them.
const (
	barrierBytes = 64 * core.MiB
	barrierPause = time.Second
)

// arrival is a run that is wholly here but not yet durable.
type arrival struct {
	segment core.SegmentID
	holding core.Holding
	pinned  []core.Chunk // until the holding names them
	owner   core.ID      // with counted
	counted core.Size    // of the owner's account, as arrived: it came, and was not known here
	again   bool         // durable before, only its receipt is wanted again; of the holding the number alone is set
}

// arrivals collects runs until they are worth a barrier: so many bytes, so long after the first, or nothing more on its
// way.
type arrivals struct {
	mu      sync.Mutex
	waiting []arrival
	bytes   core.Size
	first   chan struct{} // holds one word while something waits
	full    chan struct{} // holds one word once barrierBytes wait, or nothing more comes
}

func (a *arrivals) init() {
	a.first, a.full = make(chan struct{}, 1), make(chan struct{}, 1)
}

func (a *arrivals) add(runs ...arrival) {
	if len(runs) == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range runs {
		a.waiting = append(a.waiting, r)
		a.bytes += r.holding.File.Size
	}
	signal(a.first)
	if a.bytes >= barrierBytes {
		signal(a.full)
	}
}

// flush asks for a barrier now: nothing more is on its way. Where nothing waits there is nothing to ask for: the word
// would hurry what comes next.
func (a *arrivals) flush() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.waiting) > 0 {
		signal(a.full)
	}
}

// take is all that waits; a word that was said of it is taken back.
func (a *arrivals) take() []arrival {
	a.mu.Lock()
	defer a.mu.Unlock()
	taken := a.waiting
	a.waiting, a.bytes = nil, 0
	select {
	case <-a.full:
	default:
	}
	return taken
}

// keepDurable puts one barrier after another and sends the receipts that each allows.
func (t *Target) keepDurable() {
	for {
		select {
		case <-t.arrivals.first:
		case <-t.ctx.Done():
			return
		}
		pause := time.NewTimer(barrierPause)
		select {
		case <-pause.C:
		case <-t.arrivals.full:
		case <-t.ctx.Done():
		}
		pause.Stop()
		if err := t.barrier(t.arrivals.take()); err != nil {
			t.Log.Error("barrier", "error", err)
		} else if err := t.rememberHead(); err != nil {
			t.Log.Error("remember the ledger", "error", err)
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
func (t *Target) barrier(arrived []arrival) error {
	if len(arrived) == 0 {
		return nil
	}
	batches := map[core.SegmentID]*batch{}
	for _, a := range arrived {
		b := batches[a.segment]
		if b == nil {
			b = &batch{}
			batches[a.segment] = b
		}
		b.arrivals = append(b.arrivals, a)
		if !a.again {
			b.holdings = append(b.holdings, a.holding)
		}
	}
	err := t.describeBatches(batches)
	if err == nil {
		err = t.Keeping.Barrier(context.WithoutCancel(t.ctx))
	}
	if err != nil {
		t.unkeep(arrived)
		t.balanceBatch(arrived)
		for _, b := range batches {
			t.pins.Release(chunksOf(b.described))
		}
		return fmt.Errorf("make %d runs durable: %w", len(arrived), err)
	}
	var errs []error
	numbers := map[core.SegmentID][]int{}
	for id, b := range batches {
		err := t.Holdings.PutRuns(b.holdings, b.described...)
		t.balanceBatch(b.arrivals)
		t.pins.Release(chunksOf(b.described))
		if err != nil {
			t.unkeep(b.arrivals)
			errs = append(errs, fmt.Errorf("record %d runs: %w", len(b.holdings), err))
			continue
		}
		for _, a := range b.arrivals {
			t.pins.Release(a.pinned)
			numbers[id] = append(numbers[id], a.holding.Number)
		}
	}
	t.lookAtRotten()
	return errors.Join(append(errs, t.receipt(numbers))...)
}

// balanceBatch settles what arrived with the accounts of its owners: it is in the holdings now, or forgotten.
func (t *Target) balanceBatch(arrived []arrival) {
	counted := map[core.ID]core.Size{}
	for _, a := range arrived {
		if a.counted > 0 {
			counted[a.owner] += a.counted
		}
	}
	for owner, size := range counted {
		t.balance(owner, size)
	}
}

// describeBatches puts what the packs have to say of new runs beside them.
func (t *Target) describeBatches(batches map[core.SegmentID]*batch) error {
	segments := map[core.SegmentID]core.Segment{}
	t.loop.Ask(func(s *State) {
		for id := range batches {
			if seg := s.segments[id]; seg != nil {
				segments[id] = seg.Segment
			}
		}
	})
	for id, b := range batches {
		s, known := segments[id]
		if !known || len(b.holdings) == 0 {
			continue // released meanwhile, or nothing is new
		}
		var err error
		if b.described, err = t.describe(s, b.holdings); err != nil {
			return err
		}
	}
	return nil
}

// unkeep forgets runs that could not be made durable.
func (t *Target) unkeep(arrived []arrival) {
	t.loop.Post(func(s *State) {
		for _, a := range arrived {
			t.pins.Release(a.pinned)
			if seg := s.segments[a.segment]; seg != nil && !a.again {
				seg.have.Clear(a.holding.Number)
			}
		}
	})
}
