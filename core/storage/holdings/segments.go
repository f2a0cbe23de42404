// SPDX-License-Identifier: Apache-2.0

package holdings

import (
	"bytes"
	"fmt"

	"github.com/bkp-tool/bkp/core"
)

// acceptedSegment is the record of a segment.
type acceptedSegment struct {
	Segment core.Segment
	Root    core.Hash
}

// PutSegment makes an accepted segment durable and binds its licence id to root. bound is false, and nothing changes,
// where the id is bound to another root already. Under a further licence its locations may be others;
// another owner's segment, or one with another root, under the same task and number is an error.
func (h *Holdings) PutSegment(s core.Segment, root core.Hash) (bound bool, err error) {
	err = h.update(func(t *tx) error {
		key := segmentKey(s.Task, s.Number)
		var before acceptedSegment
		err := t.get(bucketSegments, key, &before)
		switch {
		case err == nil && (before.Segment.Owner != s.Owner || before.Root != root):
			return core.Fail(core.CodeRefused, "it is known with another owner or root")
		case err != nil && err != core.ErrNotFound:
			return err
		}
		fresh := err == core.ErrNotFound
		licenses := t.Bucket(bucketLicenses)
		if there := licenses.Get(s.LicenseID[:]); there != nil && !bytes.Equal(there, root[:]) {
			return nil
		}
		bound = true
		if err := licenses.Put(s.LicenseID[:], root[:]); err != nil || !fresh &&
			before.Segment.LicenseID == s.LicenseID {
			return err
		}
		s.LockedUntil = max(s.LockedUntil, before.Segment.LockedUntil) // no further licence takes a lock away
		return t.put(bucketSegments, key, acceptedSegment{Segment: s, Root: root})
	})
	if err != nil {
		return false, fmt.Errorf("put segment %d of task %s: %w", s.Number, s.Task, err)
	}
	return bound, nil
}

// Bound is the root that a licence id is bound to; zero where it is new.
func (h *Holdings) Bound(id core.LicenseID) (root core.Hash, err error) {
	err = h.view(func(t *tx) error {
		copy(root[:], t.Bucket(bucketLicenses).Get(id[:]))
		return nil
	})
	return root, err
}

// Bind binds licence ids to roots, those that are not bound yet.
func (h *Holdings) Bind(roots map[core.LicenseID]core.Hash) error {
	return h.update(func(t *tx) error {
		licenses := t.Bucket(bucketLicenses)
		for id, root := range roots {
			if licenses.Get(id[:]) != nil {
				continue
			}
			if err := licenses.Put(id[:], root[:]); err != nil {
				return err
			}
		}
		return nil
	})
}

// HasTask reports whether anything is kept for a task of the owner: a segment, or a ref.
func (h *Holdings) HasTask(owner core.ID, task core.TaskID) (has bool, err error) {
	err = h.view(func(t *tx) error {
		for _, key := range t.keys(bucketSegments, task[:]) {
			var s acceptedSegment
			if err := t.get(bucketSegments, key, &s); err != nil {
				return err
			}
			has = has || s.Segment.Owner == owner
		}
		return t.eachRef(owner[:], func(r core.HeldRef) { has = has || r.Task == task })
	})
	return has, err
}

// Segments is every accepted segment whose task was not released, by task and number.
func (h *Holdings) Segments() (all []core.Segment, err error) {
	err = h.view(func(t *tx) error {
		return t.Bucket(bucketSegments).ForEach(func(_, raw []byte) error {
			var s acceptedSegment
			if err := decode(bucketSegments, raw, &s); err != nil {
				return err
			}
			all = append(all, s.Segment)
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list segments: %w", err)
	}
	return all, nil
}

// ReleaseTask forgets what the owner's task held: its segments, runs and refs. runs is how many runs it kept, bytes
// what the owner keeps here less; where other tasks need the same runs that is less than their size. The ids of its
// licences stay bound. A task that is not known, or another owner's, is core.ErrNotFound.
func (h *Holdings) ReleaseTask(owner core.ID, task core.TaskID) (runs int, bytes core.Size, err error) {
	err = h.update(func(t *tx) error {
		known, err := t.dropSegments(owner, task)
		if err != nil {
			return err
		}
		if known {
			if runs, bytes, err = t.dropKept(owner, task); err != nil {
				return err
			}
		}
		refs, err := t.dropRefs(owner, task)
		if err == nil && !known && refs == 0 {
			return core.ErrNotFound
		}
		return err
	})
	if err != nil {
		return 0, 0, fmt.Errorf("release task %s: %w", task, err)
	}
	return runs, bytes, nil
}

// dropSegments removes the segments of a task; false where the owner has none.
func (t *tx) dropSegments(owner core.ID, task core.TaskID) (known bool, err error) {
	keys := t.keys(bucketSegments, task[:])
	for _, key := range keys {
		var s acceptedSegment
		if err := t.get(bucketSegments, key, &s); err != nil {
			return false, err
		}
		if s.Segment.Owner != owner {
			continue
		}
		known = true
		if err := t.Bucket(bucketSegments).Delete(key); err != nil {
			return false, err
		}
		for _, described := range t.keys(bucketDescribed, key) {
			if err := t.Bucket(bucketDescribed).Delete(described); err != nil {
				return false, err
			}
		}
	}
	return known, nil
}

// keys copies the keys of a bucket that begin with prefix.
func (t *tx) keys(bucket, prefix []byte) (keys [][]byte) {
	c := t.Bucket(bucket).Cursor()
	for key, _ := c.Seek(prefix); bytes.HasPrefix(key, prefix); key, _ = c.Next() {
		keys = append(keys, bytes.Clone(key))
	}
	return keys
}
