// SPDX-License-Identifier: Apache-2.0

package holdings

import (
	"encoding/binary"
	"fmt"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
)

// keptRun is the record of a run, whoever needs it.
type keptRun struct {
	File     core.File // as the first task named it
	Chunks   []core.Chunk
	Sequence uint64 // its key in bucketOrder
}

// keptFor is the record of a task's need of a run.
type keptFor struct {
	Owner core.ID
	Run   core.Hash
	Kept  core.Bitmap
}

// PutRuns makes runs durable, all or none: their chunks must be durable in the store already, and their segments
// accepted. An empty bitmap stands for all chunks. Putting a run again adds to its bitmap. What is described lives from
// then on.
func (h *Holdings) PutRuns(runs []core.Holding, described ...core.Described) error {
	err := h.update(func(t *tx) error {
		owners := map[string]core.ID{} // of segments: their records are long, and many runs are of one
		for _, r := range runs {
			if err := t.putRun(r, owners); err != nil {
				return fmt.Errorf("run %d of segment %d of task %s: %w", r.Number, r.Segment, r.Task, err)
			}
		}
		for _, d := range described {
			if err := t.putDescribed(d); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("put runs: %w", err)
	}
	return nil
}

func (t *tx) putRun(r core.Holding, owners map[string]core.ID) error {
	if err := checkRun(r); err != nil {
		return err
	}
	owner, known := owners[string(segmentKey(r.Task, r.Segment))]
	if !known {
		var segment acceptedSegment
		if err := t.get(bucketSegments, segmentKey(r.Task, r.Segment), &segment); err != nil {
			return fmt.Errorf("its segment: %w", err)
		}
		owner = segment.Segment.Owner
		owners[string(segmentKey(r.Task, r.Segment))] = owner
	}
	need := keptFor{Owner: owner, Run: r.File.Hash, Kept: core.FullBitmap(len(r.Chunks))}
	if len(r.Kept) > 0 {
		need.Kept = core.NewBitmap(len(r.Chunks))
		need.Kept.Or(r.Kept)
	}
	key := keptKey(r.Task, r.Segment, r.Number)
	var before keptFor
	switch err := t.get(bucketKept, key, &before); {
	case err == nil && before.Run != need.Run:
		return fmt.Errorf("another run has this number")
	case err == nil:
		need.Kept.Or(before.Kept)
	case err != core.ErrNotFound:
		return err
	}
	run, err := t.ensureRun(r)
	if err != nil {
		return err
	}
	had, err := t.ownerNeeds(need.Owner, run)
	if err != nil {
		return err
	}
	if err := t.put(bucketKept, key, need); err != nil {
		return err
	}
	if err := t.Bucket(bucketUsers).Put(append(need.Run[:], key...), nil); err != nil {
		return err
	}
	has, err := t.ownerNeeds(need.Owner, run)
	if err != nil {
		return err
	}
	return t.add(bucketOwners, need.Owner[:], int64(has-had))
}

// checkRun holds a run's name and size against its chunks.
func checkRun(r core.Holding) error {
	var size core.Size
	for _, c := range r.Chunks {
		size += c.Size
	}
	switch {
	case r.Number < 0 || r.Segment < 0:
		return fmt.Errorf("negative number")
	case size != r.File.Size:
		return fmt.Errorf("chunks of %d bytes, want %d", size, r.File.Size)
	case chunk.RunHash(r.Chunks) != r.File.Hash:
		return fmt.Errorf("its hash is not that of its chunks")
	}
	return nil
}

// ensureRun reads the record of a run, making it where there is none.
func (t *tx) ensureRun(r core.Holding) (keptRun, error) {
	var run keptRun
	if err := t.get(bucketRuns, r.File.Hash[:], &run); err != core.ErrNotFound {
		return run, err
	}
	order := t.Bucket(bucketOrder)
	sequence, err := order.NextSequence()
	if err != nil {
		return run, err
	}
	run = keptRun{File: r.File, Chunks: r.Chunks, Sequence: sequence}
	if err := order.Put(binary.BigEndian.AppendUint64(nil, sequence), r.File.Hash[:]); err != nil {
		return run, err
	}
	if err := t.add(bucketMeta, keyCount, 1); err != nil {
		return run, err
	}
	return run, t.put(bucketRuns, r.File.Hash[:], run)
}

// needs calls visit for every task's need of a run.
func (t *tx) needs(run core.Hash, visit func(key []byte, need keptFor)) error {
	keys := t.keys(bucketUsers, run[:])
	for _, key := range keys {
		var need keptFor
		if err := t.get(bucketKept, key[len(run):], &need); err != nil {
			return err
		}
		visit(key[len(run):], need)
	}
	return nil
}

// ownerNeeds is the bytes of the run's chunks that any task of the owner needs.
func (t *tx) ownerNeeds(owner core.ID, run keptRun) (bytes core.Size, err error) {
	union := core.NewBitmap(len(run.Chunks))
	err = t.needs(run.File.Hash, func(_ []byte, need keptFor) {
		if need.Owner == owner {
			union.Or(need.Kept)
		}
	})
	for i, c := range run.Chunks {
		if union.Has(i) {
			bytes += c.Size
		}
	}
	return bytes, err
}

// DropRuns forgets runs of a segment whose bytes are lost. Those that it does not know are no error.
func (h *Holdings) DropRuns(id core.SegmentID, numbers []int) error {
	err := h.update(func(t *tx) error {
		for _, number := range numbers {
			key := keptKey(id.Task, id.Number, number)
			var need keptFor
			if err := t.get(bucketKept, key, &need); err == core.ErrNotFound {
				continue
			} else if err != nil {
				return err
			}
			bytes, err := t.dropNeed(key, need)
			if err != nil {
				return err
			}
			if err := t.add(bucketOwners, need.Owner[:], -int64(bytes)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("drop %d runs of segment %d of task %s: %w", len(numbers), id.Number, id.Task, err)
	}
	return nil
}

// dropKept removes what a task needs, and the runs that nobody needs after it.
func (t *tx) dropKept(owner core.ID, task core.TaskID) (runs int, freed core.Size, err error) {
	keys := t.keys(bucketKept, task[:])
	for _, key := range keys {
		var need keptFor
		if err := t.get(bucketKept, key, &need); err != nil {
			return 0, 0, err
		}
		if need.Owner != owner {
			continue
		}
		bytes, err := t.dropNeed(key, need)
		if err != nil {
			return 0, 0, err
		}
		runs++
		freed += bytes
	}
	return runs, freed, t.add(bucketOwners, owner[:], -int64(freed))
}

// dropNeed removes one need of a run, and the run with its last one.
func (t *tx) dropNeed(key []byte, need keptFor) (freed core.Size, err error) {
	var run keptRun
	if err := t.get(bucketRuns, need.Run[:], &run); err != nil {
		return 0, err
	}
	had, err := t.ownerNeeds(need.Owner, run)
	if err != nil {
		return 0, err
	}
	if err := t.Bucket(bucketKept).Delete(key); err != nil {
		return 0, err
	}
	if err := t.Bucket(bucketUsers).Delete(append(need.Run[:], key...)); err != nil {
		return 0, err
	}
	has, err := t.ownerNeeds(need.Owner, run)
	if err != nil {
		return 0, err
	}
	if len(t.keys(bucketUsers, need.Run[:])) > 0 {
		return had - has, nil
	}
	if err := t.Bucket(bucketRuns).Delete(need.Run[:]); err != nil {
		return 0, err
	}
	if err := t.Bucket(bucketOrder).Delete(binary.BigEndian.AppendUint64(nil, run.Sequence)); err != nil {
		return 0, err
	}
	return had - has, t.add(bucketMeta, keyCount, -1)
}
