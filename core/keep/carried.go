// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"context"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/flow"
	"github.com/bkp-tool/bkp/core/task"
	"github.com/bkp-tool/bkp/core/wire"
)

// Carry judges a segment that came on a disk as one that its source offers, and answers nobody.
func (t *Target) Carry(source core.ID, member bool, m wire.StorageTask) (seg *Segment, err error) {
	turn := uint64(0)
	t.loop.Ask(func(s *State) { s.turns++; turn = s.turns })
	seg, known, err := t.consider(m, source, member, turn)
	if err == nil {
		t.loop.Ask(func(s *State) { s.found(seg, known) })
		t.arrivals.add(known...)
	}
	return seg, err
}

// carrier is the end of a flow that no peer has: its number, 0, is no flow's. A run comes by it.
type carrier struct{ failed error }

func (*carrier) Received(int)              {}
func (c *carrier) Failed(_ int, why error) { c.failed = why }

// Bring keeps a run of an accepted segment, as if a peer had sent it; next gives its chunks, one behind the other. It
// is false where the run is here already, or on its way.
func (t *Target) Bring(seg *Segment, run int, chunks []core.Chunk,
	next func(core.Chunk) ([]byte, error)) (bool, error) {
	var c carrier
	var in flow.Incoming
	err, here := errStopped, false
	t.loop.Ask(func(s *State) {
		r, f := s.Receive(&c), &task.Flow{}
		r.from, r.last = seg.Source, wire.StorageApply{Task: seg.Task, Segment: seg.Number}
		if s.segments[seg.ID()] != seg {
			err = core.Fail(core.CodeFailed, "its task was released meanwhile")
		} else if _, coming := seg.arriving[run]; coming || !seg.Lacks(run) {
			here, err = true, nil
		} else if err = s.promise(seg, seg.Missing()); err == nil {
			r.Agree(f, task.Action{Runs: []task.Run{{Number: run}}}, 0)
			in, _, err = r.Begin(f, wire.TransmissionBegin{Task: seg.Task, Segment: seg.Number, Run: run,
				Hash: chunk.RunHash(chunks), Chunks: chunks})
		}
		if err != nil {
			delete(seg.arriving, run)
		}
	})
	if here || err != nil {
		return false, err
	}
	for i := 0; i < len(chunks) && err == nil; i++ {
		var data []byte
		if data, err = next(chunks[i]); err == nil && chunk.Hash(data) != chunks[i].Hash {
			err = core.Fail(core.CodeWrong, "chunk %d has other bytes than its hash says", i)
		}
		if err == nil {
			err = in.Keep(i, chunks[i], data)
		}
	}
	in.Done(err)
	return err == nil && c.failed == nil, c.failed
}

// Durable returns once no run of a segment that is here lacks its receipt, and says which have one.
func (t *Target) Durable(ctx context.Context, seg *Segment) (runs core.Bitmap, err error) {
	for waits := true; waits && err == nil; {
		t.arrivals.flush()
		err = errStopped
		t.loop.Ask(func(*State) {
			runs, waits, err = core.NewBitmap(seg.Runs()), false, nil
			seg.have.Each(func(run int) {
				if seg.durable.Has(run) {
					runs.Set(run)
				} else {
					waits = true
				}
			})
		})
		if !waits || err != nil {
			break
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	return runs, err
}
