package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/wire"
)

const (
	recordPiece   = 1 * core.MiB  // of a record that one message carries
	maxRecord     = 32 * core.MiB // a segment's 4096 runs take about 5 MiB at the smallest chunks
	refsPerReport = 64
)

// incomingRecord is a segment record of which pieces have arrived. Loop only.
type incomingRecord struct {
	size core.Size
	data []byte
}

// onRefPut keeps a piece of a record, or a ref once its records are here. Loop only; what takes time is an act.
func (n *Node) onRefPut(p *peer, m wire.RefPut) {
	answer := func(code core.Reason, format string, args ...any) {
		n.send(p.id, wire.RefOK{Query: m.Query, Code: code, Reason: fmt.Sprintf(format, args...)})
	}
	if !n.keepsTask(m.Owner, p.id, m.Task) {
		answer(core.ReasonUnknown, "task %s of that source was not accepted here", m.Task)
		return
	}
	if m.Record.IsZero() {
		n.act(func() {
			err := n.keepRef(m, p.id)
			n.post(func() {
				n.dropRecords(p)
				answer(reasonOf(err))
			})
		})
		return
	}
	record, err := p.addPiece(m)
	switch {
	case err != nil:
		answer(core.ReasonProtocol, "%v", err)
	case record == nil:
		answer(core.ReasonNone, "")
	default:
		n.act(func() {
			c := core.Chunk{Hash: m.Record, Size: m.Size}
			err := n.keptPins.While(c, func() error { _, err := n.Keeping.Put(n.ctx, c, core.Hash{}, record); return err })
			n.post(func() {
				p.records = append(p.records, c)
				if len(p.records) > maxRecords {
					n.dropRecords(p)
				}
				answer(reasonOf(err))
			})
		})
	}
}

// maxRecords is how many records of a peer may wait for their ref.
const maxRecords = maxSegments

// dropRecords ends the claims on a peer's records: a ref names them, or none will. Loop only.
func (n *Node) dropRecords(p *peer) {
	n.keptPins.Release(p.records)
	p.records = nil
}

// reasonOf is an answer's code and words for an error of this node's own.
func reasonOf(err error) (core.Reason, string) {
	switch {
	case err == nil:
		return core.ReasonNone, ""
	case errors.Is(err, errOtherContent):
		return core.ReasonContent, err.Error()
	}
	return core.ReasonInternal, err.Error()
}

// addPiece appends a piece in order; it returns the record when it is whole and matches its hash.
func (p *peer) addPiece(m wire.RefPut) ([]byte, error) {
	if m.Size <= 0 || m.Size > maxRecord || core.Size(len(m.Data)) > recordPiece {
		return nil, fmt.Errorf("record of %d bytes in pieces of %d: out of bounds", m.Size, len(m.Data))
	}
	if m.Offset == 0 {
		p.record = incomingRecord{size: m.Size}
	}
	r := &p.record
	if m.Size != r.size || m.Offset != core.Size(len(r.data)) || m.Offset+core.Size(len(m.Data)) > r.size {
		return nil, fmt.Errorf("record piece at %d out of order", m.Offset)
	}
	r.data = append(r.data, m.Data...)
	if core.Size(len(r.data)) < r.size {
		return nil, nil
	}
	whole := r.data
	p.record = incomingRecord{}
	if chunk.Hash(whole) != m.Record {
		return nil, fmt.Errorf("record does not match its hash %s", m.Record)
	}
	return whole, nil
}

// keepRef makes a ref durable after its records. A version that another node placed stays: of two machines that split
// the same name neither may take the other's version away.
func (n *Node) keepRef(m wire.RefPut, from core.ID) error {
	ref, err := key.OpenRef(m.Ref)
	if err != nil {
		return fmt.Errorf("open ref: %w", err)
	}
	if err := ref.Allowed(time.Now()); err != nil {
		return fmt.Errorf("ref: %w", err)
	}
	if ref.Owner != m.Owner || ref.Alias != m.Alias || ref.Version != m.Version {
		return fmt.Errorf("the ref is of %s.%d, not %s.%d", ref.Alias, ref.Version, m.Alias, m.Version)
	}
	refs, err := n.Holdings.Refs(m.Owner)
	if err != nil {
		return err
	}
	held := core.HeldRef{Owner: m.Owner, Alias: m.Alias, Version: m.Version, Task: m.Task, Content: ref.Content,
		Envelope: m.Ref, Records: m.Records}
	for _, old := range refs {
		switch {
		case old.Alias != m.Alias || old.Version != m.Version:
		case old.Task != m.Task && n.isForeign(old.Task, from):
			return fmt.Errorf("version %d of that name is kept here for another node", m.Version)
		case ref.V == 1:
			held.Content = old.Content
		case !old.Content.IsZero() && old.Content != ref.Content:
			return fmt.Errorf("ref %s.%d: %w", m.Alias, m.Version, errOtherContent)
		case old.Task == m.Task:
			held.Former = former(old)
		}
	}
	there, err := n.keptPins.If(n.ctx, m.Records, n.Keeping.Has)
	if err != nil {
		return err
	}
	if !there {
		return fmt.Errorf("a record of ref %s.%d is missing", m.Alias, m.Version)
	}
	defer n.keptPins.Release(m.Records)
	return n.putRefDescribed(held)
}

// former is the ref in version 1, where it came so.
func former(r core.HeldRef) []byte {
	if ref, err := key.OpenRef(r.Envelope); err == nil && ref.V == 1 {
		return r.Envelope
	}
	return r.Former
}

// errOtherContent is core.ReasonContent on the wire.
var errOtherContent = errors.New("that version stands for other content here")

// isForeign reports whether a task that is kept here has another source.
func (n *Node) isForeign(id core.TaskID, source core.ID) (foreign bool) {
	n.ask(func() {
		for key, seg := range n.segments {
			foreign = foreign || key.task == id && seg.Source != source
		}
	})
	return foreign
}

// onRefList answers with an owner's refs, a page at a time.
func (n *Node) onRefList(p *peer, m wire.RefList) {
	if !n.mayRead(p, m.Owner) {
		n.send(p.id, wire.RefReport{Query: m.Query, Code: core.ReasonRights,
			Reason: "no delegation to read for that owner"})
		return
	}
	refs2 := p.readsRefs2()
	n.act(func() {
		report := wire.RefReport{Query: m.Query}
		refs, err := n.Holdings.Refs(m.Owner)
		report.Code, report.Reason = reasonOf(err)
		refs = refs[min(max(m.After, 0), len(refs)):]
		limit := refsPerReport
		if m.Limit > 0 {
			limit = min(limit, m.Limit)
		}
		report.More = len(refs) > limit
		for _, r := range refs[:min(limit, len(refs))] {
			report.Refs = append(report.Refs, forPeer(r, refs2))
		}
		n.post(func() { n.send(p.id, report) })
	})
}

// onRefGet answers with one ref, the newest where no version is named, or with a piece of a record.
func (n *Node) onRefGet(p *peer, m wire.RefGet) {
	report := wire.RefReport{Query: m.Query}
	if !n.mayRead(p, m.Owner) {
		report.Code, report.Reason = core.ReasonRights, "no delegation to read for that owner"
		n.send(p.id, report)
		return
	}
	refs2 := p.readsRefs2()
	n.act(func() {
		if err := n.fillRefReport(m, refs2, &report); err != nil {
			report.Code, report.Reason = core.ReasonUnknown, err.Error()
		}
		n.post(func() { n.send(p.id, report) })
	})
}

func (n *Node) fillRefReport(m wire.RefGet, refs2 bool, report *wire.RefReport) error {
	refs, err := n.Holdings.Refs(m.Owner)
	if err != nil {
		return err
	}
	refs = slices.DeleteFunc(refs, func(r core.HeldRef) bool {
		return r.Alias != m.Alias || m.Version != 0 && r.Version != m.Version
	})
	if len(refs) == 0 {
		return fmt.Errorf("no ref %s.%d here", m.Alias, m.Version)
	}
	newest := slices.MaxFunc(refs, func(a, b core.HeldRef) int { return a.Version - b.Version })
	if m.Record.IsZero() {
		report.Refs = [][]byte{forPeer(newest, refs2)}
		return nil
	}
	if !slices.ContainsFunc(newest.Records, func(c core.Chunk) bool { return c.Hash == m.Record }) {
		return fmt.Errorf("ref %s.%d has no record %s", m.Alias, newest.Version, m.Record)
	}
	whole, err := n.Keeping.Get(n.ctx, m.Record, nil)
	if err != nil {
		return err
	}
	report.Size = core.Size(len(whole))
	from := min(max(m.Offset, 0), report.Size)
	report.Data = whole[from:min(from+recordPiece, report.Size)]
	return nil
}

// sendRef gives a peer a version's records and then its ref: former, of version 1, for whoever asks the peer and reads
// no other, and envelope where the peer reads it itself.
func (n *Node) sendRef(ctx context.Context, to core.ID, put wire.RefPut, records [][]byte, former,
	envelope []byte) error {
	for i, whole := range records {
		for from := core.Size(0); from < core.Size(len(whole)); from += recordPiece {
			piece := put
			piece.Ref, piece.Records = nil, nil
			piece.Record, piece.Size, piece.Offset = put.Records[i].Hash, core.Size(len(whole)), from
			piece.Data = whole[from:min(from+recordPiece, core.Size(len(whole)))]
			if err := n.putRef(ctx, to, piece); err != nil {
				return fmt.Errorf("record %d: %w", i, err)
			}
		}
	}
	put.Ref = former
	if err := n.putRef(ctx, to, put); err != nil {
		return err
	}
	reads := false
	n.ask(func() { reads = n.peers[to].readsRefs2() })
	if !reads {
		return nil
	}
	put.Ref = envelope
	return n.putRef(ctx, to, put)
}

// readsRefs2 reports whether a peer reads refs of version 2; one that is reached through others has not said. Loop
// only.
func (p *peer) readsRefs2() bool {
	return p != nil && p.session != nil && p.session.Has(wire.FeatureRefs2)
}

// forPeer is the envelope of a ref that a peer reads.
func forPeer(r core.HeldRef, refs2 bool) []byte {
	if !refs2 && r.Former != nil {
		return r.Former
	}
	return r.Envelope
}

func (n *Node) putRef(ctx context.Context, to core.ID, put wire.RefPut) error {
	ok, err := query[wire.RefOK](ctx, n, to, func(id uint64) wire.Message { put.Query = id; return put })
	if err == nil && ok.Code != core.ReasonNone {
		err = core.Fail(ok.Code.ExitCode(), "peer %s: %s", to.Short(), ok.Reason)
	}
	return err
}
