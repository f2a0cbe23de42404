// SPDX-License-Identifier: Apache-2.0

package holdings

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/bkp-tool/bkp/core"
)

// Run finds a kept run by its hash, whatever the task: Kept is every chunk that any task needs, the other fields are
// those of the first of them. core.ErrNotFound where nobody needs it.
func (h *Holdings) Run(hash core.Hash) (found core.Holding, err error) {
	err = h.view(func(t *tx) error {
		var run keptRun
		if err := t.get(bucketRuns, hash[:], &run); err != nil {
			return err
		}
		return t.needs(hash, func(key []byte, need keptFor) {
			if found.Kept == nil {
				found = holding(key, need, run)
			}
			found.Kept.Or(need.Kept)
		})
	})
	if err != nil {
		return core.Holding{}, fmt.Errorf("find run %s: %w", hash, err)
	}
	return found, nil
}

// holding puts a record of bucketKept and its run together.
func holding(key []byte, need keptFor, run keptRun) core.Holding {
	h := core.Holding{File: run.File, Chunks: run.Chunks, Kept: need.Kept}
	copy(h.Task[:], key)
	h.Segment = int(binary.BigEndian.Uint32(key[16:]))
	h.Number = int(binary.BigEndian.Uint32(key[20:]))
	return h
}

// Kept is the runs kept for one segment of a task, by number.
func (h *Holdings) Kept(task core.TaskID, segment int) (kept []core.Holding, err error) {
	prefix := segmentKey(task, segment)
	err = h.view(func(t *tx) error {
		c := t.Bucket(bucketKept).Cursor()
		for key, raw := c.Seek(prefix); bytes.HasPrefix(key, prefix); key, raw = c.Next() {
			var need keptFor
			if err := decode(bucketKept, raw, &need); err != nil {
				return err
			}
			var run keptRun
			if err := t.get(bucketRuns, need.Run[:], &run); err != nil {
				return err
			}
			kept = append(kept, holding(key, need, run))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list runs of segment %d of task %s: %w", segment, task, err)
	}
	return kept, nil
}

// Files is the stored-file list, oldest first: at most limit runs (0: all) after the first after ones.
func (h *Holdings) Files(after, limit int) (files []core.File, err error) {
	if files, err = h.files(after, limit, func(*tx, core.Hash) (bool, error) { return true, nil }); err != nil {
		return nil, fmt.Errorf("list files: %w", err)
	}
	return files, nil
}

// files is Files of the runs that belong to the list.
func (h *Holdings) files(after, limit int, belongs func(t *tx, run core.Hash) (bool, error)) (files []core.File,
	err error) {
	err = h.view(func(t *tx) error {
		c := t.Bucket(bucketOrder).Cursor()
		skip := after
		for key, hash := c.First(); key != nil && (limit <= 0 || len(files) < limit); key, hash = c.Next() {
			switch its, err := belongs(t, core.Hash(hash)); {
			case err != nil:
				return err
			case !its:
				continue
			case skip > 0:
				skip--
				continue
			}
			var run keptRun
			if err := t.get(bucketRuns, hash, &run); err != nil {
				return err
			}
			files = append(files, run.File)
		}
		return nil
	})
	return files, err
}

// Count is how many runs are kept.
func (h *Holdings) Count() (n int, err error) {
	err = h.view(func(t *tx) error {
		n = int(t.number(bucketMeta, keyCount))
		return nil
	})
	return n, err
}

// OwnerBytes is the stored bytes that the owner's tasks need here, each chunk of a run once.
func (h *Holdings) OwnerBytes(owner core.ID) (n core.Size, err error) {
	err = h.view(func(t *tx) error {
		n = core.Size(t.number(bucketOwners, owner[:]))
		return nil
	})
	return n, err
}

// Live calls back every chunk that must stay: those that tasks need, descriptions, and the records of refs. A chunk of
// several runs is called back for each.
func (h *Holdings) Live(visit func(core.Chunk)) error {
	err := h.view(func(t *tx) error {
		err := t.Bucket(bucketRuns).ForEach(func(hash, raw []byte) error {
			var run keptRun
			if err := decode(bucketRuns, raw, &run); err != nil {
				return err
			}
			union := core.NewBitmap(len(run.Chunks))
			if err := t.needs(core.Hash(hash), func(_ []byte, need keptFor) { union.Or(need.Kept) }); err != nil {
				return err
			}
			for i, c := range run.Chunks {
				if union.Has(i) {
					visit(c)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		if err := t.eachDescribed(visit); err != nil {
			return err
		}
		return t.eachRef(nil, func(r core.HeldRef) {
			for _, c := range r.Records {
				visit(c)
			}
			if r.Described.Size > 0 {
				visit(r.Described)
			}
		})
	})
	if err != nil {
		return fmt.Errorf("list live chunks: %w", err)
	}
	return nil
}
