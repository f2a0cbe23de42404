// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/audit"
	"github.com/bkp-tool/bkp/core/wire"
)

const (
	// auditRate is how many stored bytes are read a second for audits, of everybody's together: each range costs its
	// holder a whole chunk, read and hashed. auditBurst of them are read at once.
	auditRate  = 32 * core.MiB
	auditBurst = 64 * core.MiB
	// auditsOpen is how many challenges of one peer are being answered at once; further ones are refused for now.
	auditsOpen = 8
	// auditRetry is after how many seconds they may come again.
	auditRetry = 1
)

// Audit answers a challenge. acts: the peer may act for the owner of what it asks about; else it must be the source of
// the task.
func (s *State) Audit(from core.ID, acts bool, m wire.Audit) {
	t, seg := s.target, s.Segment(m.Task, m.Segment)
	known := seg != nil && seg.Owner == m.Owner
	refuse := func(code core.Reason, retry float64, reason string) {
		s.peers.Send(from, wire.AuditRefuse{Query: m.Query, Code: code, Reason: reason, RetryS: retry})
	}
	switch {
	case !acts && (!known || seg.Source != from):
		refuse(core.ReasonRights, 0, "no delegation to act for owner "+m.Owner.Short())
		return
	case !known:
		refuse(core.ReasonUnknown, 0, fmt.Sprintf("segment %d of task %s was not accepted here", m.Segment, m.Task))
		return
	case s.audits[from] >= auditsOpen:
		refuse(core.ReasonBusy, auditRetry, fmt.Sprintf("%d challenges are being answered", auditsOpen))
		return
	}
	s.audits[from]++
	s.peers.Act(func() {
		answer, lost := t.answer(m)
		t.loop.Post(func(s *State) {
			if s.audits[from]--; s.audits[from] == 0 {
				delete(s.audits, from)
			}
			s.forgetRuns(core.SegmentID{Task: m.Task, Number: m.Segment}, lost)
			s.peers.Send(from, answer)
		})
	})
}

// answer is the proof that a challenge asks for, or why there is none, and the runs that were found to be lost.
func (t *Target) answer(m wire.Audit) (answer wire.Message, lost []int) {
	refuse := func(err error) wire.Message {
		return wire.AuditRefuse{Query: m.Query, Code: core.ReasonInternal, Reason: err.Error()}
	}
	kept, err := t.Holdings.Kept(m.Task, m.Segment)
	if err != nil {
		return refuse(fmt.Errorf("look up segment %d: %w", m.Segment, err)), nil
	}
	byNumber := make(map[int]core.Holding, len(kept))
	for _, h := range kept {
		byNumber[h.Number] = h
	}
	var slices [][]byte
	var why error
	var last readChunk
	for _, r := range m.Ranges {
		slice, err := t.slice(byNumber[r.Run], r, &last)
		switch {
		case errors.Is(err, core.ErrNotFound) || core.CodeOf(err) == core.CodeWrong:
			lost, why = append(lost, r.Run), cmp.Or(why, fmt.Errorf("run %d: %w", r.Run, err))
		case err != nil:
			return refuse(fmt.Errorf("run %d: %w", r.Run, err)), nil
		}
		slices = append(slices, slice)
	}
	if len(lost) > 0 {
		t.Log.Error("what was receipted is not here any more", "task", m.Task, "segment", m.Segment, "error", why)
		return wire.AuditRefuse{Query: m.Query, Code: core.ReasonUnknown, Reason: why.Error(),
			Lost: core.Ranges(lost)}, lost
	}
	return wire.AuditProof{Query: m.Query, Proof: audit.Prove(m.Challenge, slices, t.Signer)}, nil
}

// readChunk is a chunk that was read: ranges are in order, and many may be of one chunk.
type readChunk struct {
	hash   core.Hash
	stored []byte
}

// slice is what answers a range of a run that is kept here.
func (t *Target) slice(h core.Holding, r core.AuditedRange, last *readChunk) ([]byte, error) {
	if r.Chunk >= len(h.Chunks) || !h.Kept.Has(r.Chunk) {
		return nil, fmt.Errorf("chunk %d is not kept: %w", r.Chunk, core.ErrNotFound)
	}
	if c := h.Chunks[r.Chunk]; c.Hash != last.hash {
		if err := t.auditing.WaitN(t.ctx, int(c.Size)); err != nil {
			return nil, err
		}
		last.hash = core.Hash{} // its bytes are overwritten
		stored, err := t.Keeping.Get(t.ctx, c.Hash, last.stored[:0])
		if err != nil {
			return nil, err
		}
		*last = readChunk{c.Hash, stored}
	}
	return audit.Slice(last.stored, r.Offset)
}
