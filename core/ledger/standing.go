// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/license"
)

// Standing reads the whole log, as far as it is durable, and returns what stands of it.
func (r *Reader) Standing() (core.Standing, error) {
	newest, err := r.newest()
	if err != nil {
		return core.Standing{}, err
	}
	f := NewFold(newest.Node())
	return f.Standing, r.Each(f.Add)
}

// Each calls visit with every durable entry in order. What it refuses is core.CodeWrong.
func (r *Reader) Each(visit func(Entry) error) error {
	for after := int64(0); ; {
		page, err := r.Entries(after, 1000)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, e := range page {
			if err := visit(e); err != nil {
				return core.Fail(core.CodeWrong, "ledger %s: entry %d: %s: %w", r.dir, e.Index, e.Kind, err)
			}
		}
		after += int64(len(page))
	}
}

// Fold finds out what stands, entry by entry.
type Fold struct {
	core.Standing
	node   core.ID                      // whose receipts they are
	owners map[core.LicenseID]core.ID   // of tasks: a receipt does not say
	tasks  map[core.TaskID]map[int]bool // segments that have receipts standing
}

// NewFold begins with nothing.
func NewFold(node core.ID) *Fold {
	return &Fold{
		Standing: core.Standing{Licenses: map[core.LicenseID]bool{},
			Segments: map[core.SegmentID]core.StandingSegment{}},
		node: node, owners: map[core.LicenseID]core.ID{}, tasks: map[core.TaskID]map[int]bool{},
	}
}

// Add takes in the next entry.
func (f *Fold) Add(e Entry) error {
	switch e.Kind {
	case KindLicense:
		l, _, _, err := license.Open(e.Envelope)
		f.Licenses[l.ID], f.owners[l.ID] = true, l.TaskSource.Owner
		return err
	case KindReceipt:
		r, err := license.OpenReceipt(e.Envelope)
		if err == nil && r.Target == f.node {
			f.receipt(r)
		}
		return err
	case KindRelease:
		r, err := key.OpenRelease(e.Envelope)
		f.discharge(r.Owner, r.Task)
		return err
	case KindAudit, KindCountersigned: // of what others keep, and of what is standing already
		return nil
	case KindExpired, KindLost:
	}
	d, err := license.OpenDischarge(e.Envelope)
	if len(d.Runs) == 0 {
		f.discharge(d.Owner, d.Task)
		return err
	}
	if s, ok := f.Segments[core.SegmentID{Task: d.Task, Number: d.Segment}]; ok && s.Owner == d.Owner {
		each(d.Runs, s.Runs.Clear)
	}
	return err
}

func (f *Fold) receipt(r core.Receipt) {
	id := core.SegmentID{Task: r.Task, Number: r.Segment}
	s, ok := f.Segments[id]
	if !ok {
		s = core.StandingSegment{Owner: f.owners[r.License], Runs: core.NewBitmap(core.SegmentRuns)}
		f.Segments[id] = s
	}
	if f.tasks[r.Task] == nil {
		f.tasks[r.Task] = map[int]bool{}
	}
	f.tasks[r.Task][r.Segment] = true
	each(r.Runs, s.Runs.Set)
}

// discharge ends what stands of an owner's task.
func (f *Fold) discharge(owner core.ID, task core.TaskID) {
	for number := range f.tasks[task] {
		id := core.SegmentID{Task: task, Number: number}
		if f.Segments[id].Owner == owner {
			delete(f.Segments, id)
			delete(f.tasks[task], number)
		}
	}
}

func each(ranges []core.Range, do func(run int)) {
	for _, r := range ranges {
		for run := r.Start; run < r.Start+r.Length; run++ {
			do(run)
		}
	}
}

// Holds is an error of core.CodeWrong where the log is shorter than it was at head, or another.
func (r *Reader) Holds(head core.LedgerHead) error {
	newest, err := r.newest()
	if err != nil {
		return err
	}
	if newest.Size < head.Size {
		return core.Fail(core.CodeWrong, "the ledger was cut: it had %d entries, here are %d", head.Size, newest.Size)
	}
	root, err := tlog.TreeHash(head.Size, tlog.HashReaderFunc(r.readHashes))
	if err != nil {
		return fmt.Errorf("ledger %s: read hashes: %w", r.dir, err)
	}
	if head.Size > 0 && core.Hash(root) != head.Root {
		return core.Fail(core.CodeWrong, "the ledger was rewritten: its first %d entries are not those that it had",
			head.Size)
	}
	return nil
}

func (r *Reader) readHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		if _, err := r.hashes.ReadAt(out[i][:], index*tlog.HashSize); err != nil {
			return nil, err
		}
	}
	return out, nil
}
