// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/storage"
	"github.com/bkp-tool/bkp/core/wire"
)

const (
	maxRecord  = 32 * core.MiB // a segment's 4096 runs take about 5 MiB at the smallest chunks
	maxRecords = maxSegments   // of a peer that may wait for their ref
)

// putter is who puts records here, and for whom.
type putter struct{ from, owner core.ID }

// recordsOf is the segment records that one peer puts here before the ref that names them. Its owner's account has all of
// them, from their first piece on.
type recordsOf struct {
	by      core.ID   // the neighbour that brings the peer's words
	size    core.Size // of the one of which pieces have arrived
	data    []byte
	pinned  []core.Chunk // until their ref comes
	charged core.Size
	touched time.Time
}

const (
	// piecesOf is how many bytes of unfinished records one neighbour's words may take in memory, whoever it says that they
	// are of; piecesOfAll all neighbours'.
	piecesOf    = 2 * maxRecord
	piecesOfAll = 8 * maxRecord
	// recordsLife is how long records wait for their ref.
	recordsLife = 10 * time.Minute
)

// PutRef keeps a piece of a record, or a ref once its records are here, and answers. by is the neighbour that brought
// the words of from.
func (s *State) PutRef(from, by core.ID, m wire.RefPut) {
	t := s.target
	refuse := func(err error) {
		code, why := reasonOf(err)
		s.answerRef(from, m.Query, code, why)
	}
	if !s.keepsTask(m.Owner, from, m.Task) {
		refuse(&refusal{core.ReasonUnknown, fmt.Sprintf("task %s of that source was not accepted here", m.Task)})
		return
	}
	if m.Record.IsZero() {
		words := refWords(len(m.Ref))
		if err := s.mayWrite(m.Owner, words); err != nil {
			refuse(err)
			return
		}
		s.account(m.Owner).refs += words // until the holdings say how many there are
		s.peers.Act(func() {
			err := t.write(func() error { return t.keepRef(m, from) })
			t.loop.Post(func(s *State) {
				s.LostFor(putter{from, m.Owner})
				code, why := reasonOf(err)
				s.answerRef(from, m.Query, code, why)
			})
			t.balance(m.Owner, 0)
		})
		return
	}
	key := putter{from, m.Owner}
	r := s.records[key]
	if r == nil {
		r = &recordsOf{}
		s.records[key] = r
	}
	r.by, r.touched = by, time.Now()
	if err := s.takesPiece(r, m); err != nil {
		refuse(err)
		s.forgetEmpty(key)
		return
	}
	whole, err := r.add(m)
	switch {
	case err != nil:
		refuse(&refusal{core.ReasonProtocol, err.Error()})
		s.forgetEmpty(key)
	case whole == nil:
		s.answerRef(from, m.Query, core.ReasonNone, "")
	default:
		s.putRecord(key, m, whole)
	}
}

// takesPiece charges a record with its first piece, where there is room for all of it.
func (s *State) takesPiece(r *recordsOf, m wire.RefPut) error {
	if m.Offset > 0 || m.Size <= 0 || m.Size > maxRecord {
		return nil // it goes on, or is refused for what it is
	}
	var neighbour, all core.Size
	for _, other := range s.records {
		if other == r {
			continue
		}
		all += other.size
		if other.by == r.by {
			neighbour += other.size
		}
	}
	if neighbour+m.Size > piecesOf || all+m.Size > piecesOfAll {
		return &refusal{core.ReasonBusy, "too many records have begun here and are not whole"}
	}
	s.unchargeRecord(m.Owner, r, r.size) // of the one that is begun anew
	r.size, r.data = 0, nil
	if m.Size > s.remaining() {
		signal(s.target.released.need)
		return refuse(core.ReasonSpace, "%s are needed here, %s are free", m.Size, s.remaining())
	}
	if err := s.may(m.Owner, m.Size); err != nil {
		return err
	}
	r.charged += m.Size
	s.account(m.Owner).records += m.Size
	s.reserved += m.Size
	return nil
}

func (s *State) unchargeRecord(owner core.ID, r *recordsOf, size core.Size) {
	size = min(size, r.charged)
	r.charged -= size
	s.account(owner).records -= size
	s.reserved -= size
}

// pinnedRecords is what an owner's account has of records whose ref has not come.
func (s *State) pinnedRecords(owner core.ID) (sum core.Size) {
	for key, r := range s.records {
		if key.owner == owner {
			sum += r.charged
		}
	}
	return sum
}

// putRecord keeps a whole record, pinned until its ref names it.
func (s *State) putRecord(key putter, m wire.RefPut, whole []byte) {
	t, from := s.target, key.from
	t.loop.Act(func() {
		c := core.Chunk{Hash: m.Record, Size: m.Size}
		err := t.pins.While(c, func() error { return t.put(t.ctx, c, core.Hash{}, whole) })
		t.loop.Post(func(s *State) {
			r := s.records[key]
			if r == nil { // the peer has gone meanwhile, and may come back
				t.pins.Release([]core.Chunk{c})
				s.answerRef(from, m.Query, core.ReasonStopped, "the session ended before it was whole")
				return
			}
			r.pinned, r.touched = append(r.pinned, c), time.Now()
			if len(r.pinned) > maxRecords {
				s.LostFor(key)
			}
			code, why := reasonOf(err)
			s.answerRef(from, m.Query, code, why)
		})
	})
}

func (s *State) answerRef(to core.ID, query uint64, code core.Reason, why string) {
	s.peers.Send(to, wire.RefOK{Query: query, Code: code, Reason: why})
}

// Lost releases the records of a peer that is gone, and of those whose words it brought.
func (s *State) Lost(peer core.ID) {
	for key, r := range s.records {
		if key.from == peer || r.by == peer {
			r.size, r.data = 0, nil
			s.LostFor(key)
		}
	}
}

// LostFor releases records: a ref names them, or none will.
func (s *State) LostFor(key putter) {
	r := s.records[key]
	if r == nil {
		return
	}
	s.target.pins.Release(r.pinned)
	r.pinned = nil
	s.unchargeRecord(key.owner, r, r.charged-r.size)
	s.forgetEmpty(key)
}

// forgetEmpty forgets who has nothing here.
func (s *State) forgetEmpty(key putter) {
	if r := s.records[key]; r != nil && len(r.data) == 0 && len(r.pinned) == 0 {
		s.unchargeRecord(key.owner, r, r.charged)
		delete(s.records, key)
	}
}

// dropOldRecords releases records that no ref came for.
func (s *State) dropOldRecords() {
	for key, r := range s.records {
		if time.Since(r.touched) > recordsLife {
			r.size, r.data = 0, nil
			s.LostFor(key)
		}
	}
}

// keepsTask reports whether a segment of the owner's task was accepted here from that source.
func (s *State) keepsTask(owner, source core.ID, task core.TaskID) bool {
	for id, seg := range s.segments {
		if id.Task == task && seg.Owner == owner && seg.Source == source {
			return true
		}
	}
	return false
}

// isForeign reports whether a task that is kept here has another source.
func (s *State) isForeign(task core.TaskID, source core.ID) bool {
	for id, seg := range s.segments {
		if id.Task == task && seg.Source != source {
			return true
		}
	}
	return false
}

// reasonOf is an answer's code and words for an error of this node's own.
func reasonOf(err error) (core.Reason, string) {
	switch {
	case err == nil:
		return core.ReasonNone, ""
	case errors.Is(err, errOtherContent):
		return core.ReasonContent, err.Error()
	}
	if r, ok := errors.AsType[*refusal](err); ok {
		return r.code, r.reason
	}
	return core.ReasonInternal, err.Error()
}

// errOtherContent is core.ReasonContent on the wire.
var errOtherContent = errors.New("that version stands for other content here")

// add appends a piece in order; it returns the record when it is whole and matches its hash.
func (r *recordsOf) add(m wire.RefPut) ([]byte, error) {
	if m.Size <= 0 || m.Size > maxRecord || core.Size(len(m.Data)) > wire.RecordPiece {
		return nil, fmt.Errorf("record of %d bytes in pieces of %d: out of bounds", m.Size, len(m.Data))
	}
	if m.Offset == 0 {
		r.size, r.data = m.Size, nil
	}
	if m.Size != r.size || m.Offset != core.Size(len(r.data)) || m.Offset+core.Size(len(m.Data)) > r.size {
		return nil, fmt.Errorf("record piece at %d out of order", m.Offset)
	}
	r.data = append(r.data, m.Data...)
	if core.Size(len(r.data)) < r.size {
		return nil, nil
	}
	whole := r.data
	r.size, r.data = 0, nil
	if chunk.Hash(whole) != m.Record {
		return nil, fmt.Errorf("record does not match its hash %s", m.Record)
	}
	return whole, nil
}

// keepRef makes a ref durable after its records. A version that another node placed stays: of two machines that split
// the same name neither may take the other's version away.
func (t *Target) keepRef(m wire.RefPut, from core.ID) error {
	ref, err := key.OpenRef(m.Ref)
	if err != nil {
		return fmt.Errorf("open ref: %w", err)
	}
	if err := ref.Allowed(time.Now()); err != nil {
		return fmt.Errorf("ref: %w", err)
	}
	if err := t.stillMay(ref.Owner, key.IDOf(ref.Key), from); err != nil {
		return err
	}
	if ref.Owner != m.Owner || ref.Alias != m.Alias || ref.Version != m.Version {
		return fmt.Errorf("the ref is of %s.%d, not %s.%d", ref.Alias, ref.Version, m.Alias, m.Version)
	}
	held := core.HeldRef{Owner: m.Owner, Alias: m.Alias, Version: m.Version, Task: m.Task, Content: ref.Content,
		Envelope: m.Ref, Records: m.Records}
	old, err := t.besideOthers(&held, ref.V, from)
	if err == nil {
		err = t.buried(held)
	}
	if err != nil {
		return err
	}
	if err := t.brought(m, from); err != nil {
		return err
	}
	there, err := t.pins.If(t.ctx, m.Records, storage.Lean(t.Keeping))
	if err != nil {
		return err
	}
	if !there {
		return fmt.Errorf("a record of ref %s.%d is missing", m.Alias, m.Version)
	}
	defer t.pins.Release(m.Records)
	if err := t.located(&held, m, from, old); err != nil {
		return err
	}
	return t.putRefDescribed(held)
}

// brought is an error where a ref names a record that neither its sender put here nor another ref of its owner names: who
// knows a chunk's hash must not read it as a record of its own.
func (t *Target) brought(m wire.RefPut, from core.ID) error {
	known := map[core.Chunk]bool{}
	t.loop.Ask(func(s *State) {
		if r := s.records[putter{from, m.Owner}]; r != nil {
			for _, c := range r.pinned {
				known[c] = true
			}
		}
	})
	refs, err := t.Holdings.Refs(m.Owner)
	if err != nil {
		return err
	}
	for _, r := range refs {
		for _, c := range r.Records {
			known[c] = true
		}
	}
	for _, c := range m.Records {
		if !known[c] {
			return fmt.Errorf("a record of ref %s.%d is missing", m.Alias, m.Version)
		}
	}
	return nil
}

// besideOthers is an error where a ref may not take the place of what is kept for its version; else it takes on what
// that says, where it is in form v itself. kept is what it takes the place of.
func (t *Target) besideOthers(r *core.HeldRef, v int, from core.ID) (kept core.HeldRef, err error) {
	refs, err := t.Holdings.Refs(r.Owner)
	if err != nil {
		return kept, err
	}
	for _, old := range refs {
		if old.Alias != r.Alias || old.Version != r.Version {
			continue
		}
		kept = old
		foreign := false
		if old.Task != r.Task {
			t.loop.Ask(func(s *State) { foreign = s.isForeign(old.Task, from) && !s.succeeds(r.Task, old.Task) })
		}
		switch {
		case foreign:
			return kept, fmt.Errorf("version %d of that name is kept here for another node", r.Version)
		case v == 1:
			r.Content = old.Content
			if !old.Content.IsZero() { // which this one does not say: it stands beside the one that does
				r.Former, r.Envelope = r.Envelope, old.Envelope
				for _, c := range old.Records {
					if !slices.Contains(r.Records, c) {
						r.Records = append(r.Records, c)
					}
				}
			}
		case !old.Content.IsZero() && old.Content != r.Content:
			return kept, fmt.Errorf("ref %s.%d: %w", r.Alias, r.Version, errOtherContent)
		case old.Task == r.Task:
			r.Former = former(old)
		}
	}
	return kept, nil
}

// former is the ref in version 1, where it came so.
func former(r core.HeldRef) []byte {
	if ref, err := key.OpenRef(r.Envelope); err == nil && ref.V == 1 {
		return r.Envelope
	}
	return r.Former
}

// envelope is the envelope of a ref that a peer reads; refs2: it reads version 2.
func envelope(r core.HeldRef, refs2 bool) []byte {
	if !refs2 && r.Former != nil {
		return r.Former
	}
	return r.Envelope
}

// ListRefs answers with an owner's refs that belong to a part, a page at a time. refs2: who asks reads refs of version 2.
func (s *State) ListRefs(to core.ID, part Part, refs2 bool, m wire.RefList) {
	t := s.target
	s.peers.Act(func() {
		report := wire.RefReport{Query: m.Query}
		refs, err := t.Holdings.Refs(m.Owner)
		report.Code, report.Reason = reasonOf(err)
		refs = slices.DeleteFunc(refs, func(r core.HeldRef) bool { return !part.ref(r) })
		graves, err := t.tombstones(m.Owner, part, "", 0)
		if err != nil {
			report.Code, report.Reason = reasonOf(err)
		}
		limit := wire.RefsPerReport
		if m.Limit > 0 {
			limit = min(limit, m.Limit)
		}
		after := max(m.After, 0)
		report.More = len(refs)+len(graves) > after+limit
		for _, r := range page(refs, after, limit) {
			report.Refs = append(report.Refs, envelope(r, refs2))
		}
		report.Tombstones = page(graves, max(0, after-len(refs)), limit-len(report.Refs))
		t.loop.Post(func(s *State) { s.peers.Send(to, report) })
	})
}

// page is what of a list is behind the first after entries, at most limit of them.
func page[T any](list []T, after, limit int) []T {
	list = list[min(after, len(list)):]
	return list[:min(limit, len(list))]
}

// GetRef answers with one ref, the newest where no version is named, or with a piece of a record.
func (s *State) GetRef(to core.ID, part Part, refs2 bool, m wire.RefGet) {
	t := s.target
	s.peers.Act(func() {
		report := wire.RefReport{Query: m.Query}
		if err := t.fill(&report, m, part, refs2); err != nil {
			report.Code, report.Reason = core.ReasonUnknown, err.Error()
		}
		t.loop.Post(func(s *State) { s.peers.Send(to, report) })
	})
}

func (t *Target) fill(report *wire.RefReport, m wire.RefGet, part Part, refs2 bool) error {
	refs, err := t.Holdings.Refs(m.Owner)
	if err != nil {
		return err
	}
	refs = slices.DeleteFunc(refs, func(r core.HeldRef) bool {
		return r.Alias != m.Alias || m.Version != 0 && r.Version != m.Version || !part.ref(r)
	})
	if m.Record.IsZero() {
		if report.Tombstones, err = t.tombstones(m.Owner, part, m.Alias, m.Version); err != nil {
			return err
		}
		report.Tombstones = page(report.Tombstones, max(0, len(report.Tombstones)-wire.RefsPerReport), wire.RefsPerReport)
		if len(refs) == 0 && len(report.Tombstones) > 0 {
			return nil
		}
	}
	if len(refs) == 0 {
		return fmt.Errorf("no ref %s.%d here", m.Alias, m.Version)
	}
	newest := slices.MaxFunc(refs, func(a, b core.HeldRef) int { return a.Version - b.Version })
	if m.Record.IsZero() {
		report.Refs = [][]byte{envelope(newest, refs2)}
		if at := slices.IndexFunc(newest.Records, func(c core.Chunk) bool { return c.Hash == newest.Location }); at >= 0 {
			report.Location = newest.Records[at]
		}
		return nil
	}
	if !slices.ContainsFunc(newest.Records, func(c core.Chunk) bool { return c.Hash == m.Record }) {
		return fmt.Errorf("ref %s.%d has no record %s", m.Alias, newest.Version, m.Record)
	}
	whole, err := t.Keeping.Get(t.ctx, m.Record, nil)
	if err != nil {
		return err
	}
	report.Size = core.Size(len(whole))
	from := min(max(m.Offset, 0), report.Size)
	report.Data = whole[from:min(from+wire.RecordPiece, report.Size)]
	return nil
}
