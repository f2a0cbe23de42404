// SPDX-License-Identifier: Apache-2.0

package mend

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/cmd/bkp/datadir"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/keep"
	"github.com/bkp-tool/bkp/core/ledger"
	"github.com/bkp-tool/bkp/core/license"
	"github.com/bkp-tool/bkp/core/storage/holdings"
)

// remakeHoldings makes holdings.db again from the descriptions in the packs: of what stands in the ledger, or of all
// where that is lost too.
func (r *repair) remakeHoldings(lostLog bool) error {
	const made = "holdings.db.new"
	if err := durable.RemoveAll(r.dir.Path(made)); err != nil {
		return err
	}
	db, err := holdings.Open(r.dir.Path(made), true)
	if err != nil {
		return err
	}
	keeping, err := r.dir.OpenKeeping(r.ctx, r.told())
	if err != nil {
		return errors.Join(err, db.Close())
	}
	m := &mending{repair: r, db: db, rec: &datadir.Records{Keeping: keeping}}
	var head core.LedgerHead
	if lostLog {
		err = m.restore(nil)
	} else {
		head, err = m.fromLedger()
	}
	if err == nil {
		err = db.Remember(head)
	}
	if err = errors.Join(err, keeping.Close(), db.Close()); err == nil {
		err = r.replace(made, "holdings.db")
	}
	if err == nil {
		r.step("holdings.db is made again: %d runs were found in the packs", r.sum.Restored)
	}
	return err
}

// mending brings holdings back.
type mending struct {
	*repair
	rec   *datadir.Records
	db    *holdings.Holdings
	book  *datadir.Logbook
	order map[core.LicenseID]int64 // where a licence stands in the ledger
}

// fromLedger binds every licence that the ledger has, and restores what stands in it.
func (m *mending) fromLedger() (head core.LedgerHead, err error) {
	log, err := ledger.OpenRead(m.dir.Path("ledger"))
	if err != nil {
		return head, err
	}
	defer log.Close()
	m.order = map[core.LicenseID]int64{}
	roots := map[core.LicenseID]core.Hash{}
	err = log.Each(func(e ledger.Entry) error {
		if e.Kind != ledger.KindLicense {
			return nil
		}
		l, _, _, err := license.Open(e.Envelope)
		if err == nil && slices.Contains(l.Targets, m.signer.ID()) {
			m.order[l.ID], roots[l.ID] = e.Index, l.Root
		}
		return err
	})
	if err == nil {
		err = m.db.Bind(roots)
	}
	if err != nil {
		return head, err
	}
	standing, err := log.Standing()
	if err == nil {
		err = m.restore(&standing)
	}
	if err != nil {
		return head, err
	}
	newest, err := log.Head()
	return core.LedgerHead{Size: newest.Size, Root: newest.Root}, err
}

// described is a description and the chunk that it stands in.
type described struct {
	core.Description
	chunk core.Chunk
}

// restore puts into the database what the packs describe, as far as its chunks are there and it stands; nil: all of it.
// Descriptions are read twice, since a run's may be found before that of its segment, and all of them together may be
// more than memory holds.
func (m *mending) restore(standing *core.Standing) error {
	segments := map[core.SegmentID]described{}
	var refs []described
	err := m.describedInPacks(func(d described) error {
		if d.Ref != nil {
			refs = append(refs, d)
		}
		if d.Segment == nil {
			return nil
		}
		id := core.SegmentID{Task: d.Segment.Task, Number: d.Segment.Number}
		before, twice := segments[id]
		if !twice || m.order[d.Segment.LicenseID] > m.order[before.Segment.LicenseID] {
			segments[id] = d
		}
		return nil
	})
	if err != nil {
		return err
	}
	tasks := map[core.TaskID]bool{}
	known, err := m.db.Segments()
	for _, s := range known {
		tasks[s.Task] = true
		delete(segments, core.SegmentID{Task: s.Task, Number: s.Number})
	}
	if err != nil {
		return err
	}
	for id, d := range segments {
		if standing != nil && standing.Segments[id].Owner != d.Segment.Owner {
			continue // released, expired, or never receipted
		}
		if _, err := m.db.PutSegment(*d.Segment, d.Root); err != nil {
			return err
		}
		if err := m.db.PutRuns(nil, core.Described{Segment: id, Chunk: d.chunk}); err != nil {
			return err
		}
		tasks[id.Task] = true
	}
	if err := m.describedInPacks(func(d described) error { return m.restoreRuns(d, tasks, standing) }); err != nil {
		return err
	}
	for _, d := range refs {
		ref := *d.Ref
		there, err := m.has(ref.Records)
		if err != nil {
			return err
		}
		if !tasks[ref.Task] || !there {
			continue
		}
		if ref.Described = d.chunk; m.newer(ref) {
			if err := m.db.PutRef(ref); err != nil {
				return err
			}
		}
	}
	return nil
}

// newer reports whether a ref says more than the one that the database has in its place.
func (m *mending) newer(ref core.HeldRef) bool {
	before, err := m.db.Ref(ref.Owner, ref.Alias, ref.Version)
	return err != nil || len(ref.Records) >= len(before.Records)
}

// restoreRuns puts the runs of a description that stand and are whole.
func (m *mending) restoreRuns(d described, tasks map[core.TaskID]bool, standing *core.Standing) error {
	byID := map[core.SegmentID][]core.Holding{}
	for _, h := range d.Runs {
		id := core.SegmentID{Task: h.Task, Number: h.Segment}
		stands := standing == nil || standing.Segments[id].Runs.Has(h.Number)
		if !tasks[h.Task] || !stands {
			continue
		}
		there, err := m.has(h.Needed())
		if err != nil {
			return err
		}
		if there {
			byID[id] = append(byID[id], h)
		}
	}
	for id, runs := range byID {
		before, err := m.db.Kept(id.Task, id.Number)
		if err != nil {
			return err
		}
		err = m.db.PutRuns(runs, core.Described{Segment: id, Chunk: d.chunk})
		if err != nil && !errors.Is(err, core.ErrNotFound) { // its segment is described nowhere
			return err
		}
		after, err := m.db.Kept(id.Task, id.Number)
		if err != nil {
			return err
		}
		m.sum.Restored += len(after) - len(before)
	}
	return nil
}

func (m *mending) describedInPacks(visit func(described) error) error {
	began := time.Now()
	packs, ok := m.rec.Keeping.(holdings.Packs)
	if !ok {
		return errors.New("the packs do not tell what stands in them")
	}
	return holdings.Described(m.ctx, packs, func(c core.Chunk, d core.Description) error {
		return visit(described{d, c})
	}, func(done, packs int) {
		m.status(control.Status{Phase: "repair", Text: fmt.Sprintf("pack %d of %d", done, packs),
			Seconds: time.Since(began).Seconds()})
	})
}

func (m *mending) has(chunks []core.Chunk) (bool, error) {
	for _, c := range chunks {
		if there, err := m.rec.Keeping.Has(m.ctx, c.Hash); !there || err != nil {
			return false, err
		}
	}
	return true, nil
}

// run restores what stands in the ledger and is not in the database, enters licences that the ledger lacks, and gives
// up what the packs do not have: in the ledger first.
func (m *mending) run() error {
	found, err := keep.CheckRecords(m.ctx, m.db, m.rec.Keeping, m.book)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(found.Lost, func(l keep.LostRuns) bool { return !l.Known }) {
		standing, err := m.book.Standing()
		if err == nil {
			err = m.restore(&standing)
		}
		if err != nil {
			return err
		}
	}
	if err := m.licences(); err != nil {
		return err
	}
	if found, err = keep.CheckRecords(m.ctx, m.db, m.rec.Keeping, m.book); err != nil {
		return err
	}
	if err := m.giveUp(found); err != nil {
		return err
	}
	head, err := m.book.Durable()
	if err == nil {
		err = m.db.Remember(head)
	}
	return err
}

// licences enters those of segments that the ledger does not have.
func (m *mending) licences() error {
	standing, err := m.book.Standing()
	if err != nil {
		return err
	}
	segments, err := m.db.Segments()
	if err != nil {
		return err
	}
	entered := 0
	for _, s := range segments {
		if standing.Licenses[s.LicenseID] {
			continue
		}
		if err := m.book.AppendLicense(s.License); err != nil {
			return err
		}
		entered++
	}
	if entered > 0 {
		m.step("%d licences that the ledger lacked are entered", entered)
	}
	return nil // giveUp syncs them
}

// giveUp writes runs down as lost, and only then forgets them.
func (m *mending) giveUp(found keep.Records) error {
	for _, l := range found.Lost {
		envelope, err := license.SignDischarge(core.Discharge{
			Why: core.WhyLost, Owner: l.Owner, Task: l.Task, Segment: l.Number, Runs: core.Ranges(l.Runs),
			Time: time.Now().Unix(),
		}, m.signer)
		if err == nil {
			err = m.book.AppendDischarge(envelope)
		}
		if err != nil {
			return err
		}
		m.sum.Lost += len(l.Runs)
		m.sum.LostBytes += l.Bytes
	}
	if err := m.book.Sync(); err != nil {
		return err
	}
	for _, l := range found.Lost {
		if m.ctx.Err() != nil {
			return context.Cause(m.ctx)
		}
		if err := m.db.DropRuns(l.SegmentID, l.Runs); err != nil {
			return err
		}
	}
	for _, ref := range found.Refs {
		if err := m.db.DropRef(ref.Owner, ref.Alias, ref.Version); err != nil {
			return err
		}
		m.sum.LostRefs++
	}
	if m.sum.Lost > 0 {
		m.step("%d runs are lost, and their receipts ended: their owners see it with bkp verify, and place them again",
			m.sum.Lost)
	}
	if m.sum.LostRefs > 0 {
		m.step("%d refs whose records are lost are forgotten here", m.sum.LostRefs)
	}
	return nil
}
