package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/license"
)

// Records is what a look at them found: the ledger's receipts must be among the holdings, the holdings in the packs,
// their segments under licences of the ledger, and the ledger no shorter than the holdings remember it.
type Records struct {
	Damage []control.Damage
	Lost   []LostRuns
	Refs   []LostRef
}

// LostRuns are runs of a segment that are recorded, and their bytes are gone or nobody knows which they are.
type LostRuns struct {
	core.SegmentID
	Owner core.ID
	Runs  []int
	Bytes core.Size
	Known bool // in the holdings
}

// LostRef is a ref of which a record is gone.
type LostRef struct {
	Owner   core.ID
	Alias   string
	Version int
}

func (r *Records) add(key, format string, args ...any) {
	r.Damage = append(r.Damage, control.Damage{Key: key, Text: fmt.Sprintf(format, args...)})
}

// Err is nil where the records agree.
func (r Records) Err() error {
	if len(r.Damage) == 0 {
		return nil
	}
	var texts []string
	for _, d := range r.Damage {
		texts = append(texts, d.Text)
	}
	return core.WithHint(core.Fail(core.CodeWrong, "the records of what this node keeps for others disagree: %s",
		strings.Join(texts, "; ")),
		"put back what was taken away, or stop the node and: bkp node repair")
}

// CheckRecords holds the records against each other, by the index of the packs alone. Whoever calls it sees to it that
// nothing is collected meanwhile; all else may go on.
func CheckRecords(ctx context.Context, holdings Holdings, keeping Packs, ledger Log) (Records, error) {
	c := &recordsCheck{ctx: ctx, holdings: holdings, keeping: keeping, ledger: ledger}
	l, lost := holdings.(*LostHoldings)
	if lost {
		c.found.add("holdings.db", "%v", l.Why)
	}
	if l, is := ledger.(*LostLedger); is {
		c.found.add("ledger", "%v", l.Why)
		c.ledger = nil
	}
	if lost {
		return c.found, nil
	}
	err := c.run()
	return c.found, err
}

// Packs is what a look at the records asks of a Store.
type Packs interface {
	Has(ctx context.Context, hash core.Hash) (bool, error)
}

// Log is what a look at the records reads of a Ledger.
type Log interface {
	// Standing is what of it stands, as far as it is durable.
	Standing() (core.Standing, error)
	// Holds is an error of core.CodeWrong where the log is not what it was at a head, or more.
	Holds(head core.LedgerHead) error
}

type recordsCheck struct {
	ctx      context.Context
	holdings Holdings
	keeping  Packs
	ledger   Log // nil: it is lost
	segments []core.Segment
	found    Records
}

func (c *recordsCheck) run() error {
	var err error
	if c.segments, err = c.holdings.Segments(); err != nil {
		return err
	}
	head, remembered, err := c.holdings.Remembered()
	if err != nil {
		return err
	}
	// a database of the first releases is made one of these at its first start: see begin
	if c.ledger != nil && remembered {
		switch err := c.ledger.Holds(head); {
		case core.CodeOf(err) == core.CodeWrong:
			c.found.add("ledger", "%v", err)
		case err != nil:
			return err
		default:
			if err := c.receipts(); err != nil {
				return err
			}
		}
	}
	return c.packs()
}

// receipts looks for licences of segments, and for holdings of what stands in the ledger.
func (c *recordsCheck) receipts() error {
	standing, err := c.ledger.Standing()
	if err != nil {
		return err
	}
	unlicensed := 0
	for _, s := range c.segments {
		if !standing.Licenses[s.LicenseID] {
			unlicensed++
		}
	}
	if unlicensed > 0 {
		c.found.add("licences", "%d segments are kept under licences that the ledger does not have", unlicensed)
	}
	lost, err := c.unheld(standing)
	if err != nil || len(lost) == 0 {
		return err
	}
	if standing, err = c.ledger.Standing(); err != nil { // a release may have come meanwhile: it is in the ledger first
		return err
	}
	if lost, err = c.unheld(standing); err != nil || len(lost) == 0 {
		return err
	}
	runs := 0
	for _, l := range lost {
		runs += len(l.Runs)
	}
	c.found.Lost = append(c.found.Lost, lost...)
	c.found.add("receipts", "%d runs of %d segments have receipts in the ledger and are not among the holdings", runs,
		len(lost))
	return nil
}

// unheld is what stands in the ledger and is in no holding.
func (c *recordsCheck) unheld(standing core.Standing) (lost []LostRuns, err error) {
	for id, s := range standing.Segments {
		if c.ctx.Err() != nil {
			return nil, context.Cause(c.ctx)
		}
		kept, err := c.holdings.Kept(id.Task, id.Number)
		if err != nil {
			return nil, err
		}
		left := slices.Clone(s.Runs)
		for _, h := range kept {
			if h.Number < core.SegmentRuns {
				left.Clear(h.Number)
			}
		}
		if left.Empty() {
			continue
		}
		l := LostRuns{SegmentID: id, Owner: s.Owner}
		left.Each(func(run int) { l.Runs = append(l.Runs, run) })
		lost = append(lost, l)
	}
	return lost, nil
}

// packs looks for the chunks of holdings, and for the records of refs.
func (c *recordsCheck) packs() error {
	owners := map[core.ID]bool{}
	var runs int
	var bytes core.Size
	for _, s := range c.segments {
		if c.ctx.Err() != nil {
			return context.Cause(c.ctx)
		}
		owners[s.Owner] = true
		kept, err := c.holdings.Kept(s.Task, s.Number)
		if err != nil {
			return err
		}
		l := LostRuns{SegmentID: core.SegmentID{Task: s.Task, Number: s.Number}, Owner: s.Owner, Known: true}
		for _, h := range kept {
			there, err := hasAll(c.ctx, c.keeping, h.Needed())
			if err != nil {
				return err
			}
			if !there {
				l.Runs = append(l.Runs, h.Number)
				l.Bytes += sizeOf(h.Needed())
			}
		}
		if len(l.Runs) > 0 {
			runs, bytes = runs+len(l.Runs), bytes+l.Bytes
			c.found.Lost = append(c.found.Lost, l)
		}
	}
	for owner := range owners {
		refs, err := c.holdings.Refs(owner)
		if err != nil {
			return err
		}
		for _, r := range refs {
			there, err := hasAll(c.ctx, c.keeping, r.Records)
			if err != nil {
				return err
			}
			if !there {
				c.found.Refs = append(c.found.Refs, LostRef{owner, r.Alias, r.Version})
			}
		}
	}
	if runs > 0 {
		c.found.add("packs", "%d runs (%s) are recorded as kept here, and their bytes are not in the packs", runs,
			bytes)
	}
	if n := len(c.found.Refs); n > 0 {
		c.found.add("refs", "%d refs are kept here without all of their records", n)
	}
	return nil
}

func hasAll(ctx context.Context, s Packs, chunks []core.Chunk) (bool, error) {
	for _, c := range chunks {
		if there, err := s.Has(ctx, c.Hash); !there || err != nil {
			return false, err
		}
	}
	return true, nil
}

// checkRecords looks at this node's records, and has its health say what was found. The caller holds collecting.
func (n *Node) checkRecords(ctx context.Context) (Records, error) {
	found, err := CheckRecords(ctx, n.Holdings, n.Keeping, n.Ledger)
	if err != nil {
		return found, fmt.Errorf("hold the records of what is kept against each other: %w", err)
	}
	found.Damage = append(found.Damage, n.Damaged...)
	for _, d := range found.Damage {
		n.Health.Degrade(d.Key, d.Text+": bkp node repair", true)
		n.Log.Error("records disagree", "about", d.Key, "problem", d.Text)
	}
	if len(found.Damage) > 0 {
		n.damaged.Store(true)
	}
	n.ask(func() {
		for _, l := range found.Lost {
			n.forgetRuns(segmentKey{l.Task, l.Number}, l.Runs)
		}
	})
	return found, nil
}

// forgetRuns has this node no longer claim runs whose bytes are gone. Loop only.
func (n *Node) forgetRuns(key segmentKey, runs []int) {
	seg := n.segments[key]
	if seg == nil {
		return
	}
	for _, run := range runs {
		if run < seg.Runs() {
			seg.have.Clear(run)
			seg.durable.Clear(run)
		}
	}
}

// forgetGone is that for the runs of one segment, by a look at the packs: what this node claims to have it has. Never
// on the loop.
func (n *Node) forgetGone(seg *segment) error {
	kept, err := n.Holdings.Kept(seg.Task, seg.Number)
	if err != nil {
		return err
	}
	var gone []int
	for _, h := range kept {
		there, err := hasAll(n.ctx, n.Keeping, h.Needed())
		if err != nil {
			return err
		}
		if !there {
			gone = append(gone, h.Number)
		}
	}
	if len(gone) > 0 {
		n.ask(func() { n.forgetRuns(seg.key(), gone) })
	}
	return nil
}

// LookAtRecords holds the records of what is kept against each other: damage that it finds is no error.
func (n *Node) LookAtRecords(ctx context.Context, _ control.None,
	_ func(control.Status)) (control.RecordsResult, error) {
	n.collecting.Lock()
	defer n.collecting.Unlock()
	found, err := n.checkRecords(ctx)
	return control.RecordsResult{Damage: found.Damage}, err
}

// checkAtStart is checkRecords once the node runs.
func (n *Node) checkAtStart() {
	n.collecting.Lock()
	defer n.collecting.Unlock()
	began := time.Now()
	switch found, err := n.checkRecords(n.ctx); {
	case n.ctx.Err() != nil:
	case err != nil:
		n.Log.Error("start-up check", "error", err)
		n.Health.Degrade("records", err.Error(), true)
	case len(found.Damage) == 0:
		n.Log.Debug("records agree", "seconds", time.Since(began).Seconds())
	}
}

// begin makes today's holdings those that the records begin with, where the database comes from a release that did not
// hold them against each other: they are described in the packs, and receipts of what was let go of by then end.
func (n *Node) begin(ctx context.Context) error {
	if _, lost := n.Ledger.(*LostLedger); lost {
		return nil
	}
	if _, known, err := n.Holdings.Remembered(); known || err != nil {
		return err
	}
	segments, err := n.Holdings.Segments()
	if err != nil {
		return err
	}
	owners := map[core.ID]bool{}
	for _, s := range segments {
		owners[s.Owner] = true
		kept, err := n.Holdings.Kept(s.Task, s.Number)
		if err != nil {
			return err
		}
		described, err := n.describe(s, kept)
		if err == nil {
			err = n.Keeping.Barrier(ctx)
		}
		if err == nil {
			err = n.Holdings.PutRuns(nil, described...)
		}
		if err != nil {
			return err
		}
	}
	for owner := range owners {
		refs, err := n.Holdings.Refs(owner)
		if err != nil {
			return err
		}
		for _, r := range refs {
			if err := n.putRefDescribed(r); err != nil {
				return err
			}
		}
	}
	return errors.Join(n.endOldReceipts(ctx), n.rememberHead())
}

// endOldReceipts discharges receipts of runs that were let go of before releases stood in the ledger.
func (n *Node) endOldReceipts(ctx context.Context) error {
	standing, err := n.Ledger.Standing()
	if err != nil {
		return err
	}
	c := &recordsCheck{ctx: ctx, holdings: n.Holdings}
	lost, err := c.unheld(standing)
	for _, l := range lost {
		if err == nil && !l.Owner.IsZero() {
			err = n.discharge(core.Discharge{Why: core.WhyExpired, Owner: l.Owner, Task: l.Task, Segment: l.Number,
				Runs: core.Ranges(l.Runs),
				Note: "let go of before this log said so"})
		}
	}
	if err == nil && len(lost) > 0 {
		err = n.Ledger.Sync()
	}
	return err
}

// discharge enters this node's word that it keeps runs no longer. It counts once the ledger is synced.
func (n *Node) discharge(d core.Discharge) error {
	d.Time = time.Now().Unix()
	envelope, err := license.SignDischarge(d, n.Signer)
	if err == nil {
		err = n.Ledger.AppendDischarge(envelope)
	}
	return err
}

// rememberHead notes beside the holdings how far the ledger is, unless it is not what it was: that is to be found
// again.
func (n *Node) rememberHead() error {
	before, known, err := n.Holdings.Remembered()
	if _, lost := n.Ledger.(*LostLedger); lost || err != nil || known && n.Ledger.Holds(before) != nil {
		return err
	}
	head, err := n.Ledger.Durable()
	if err == nil && (!known || head != before) {
		err = n.Holdings.Remember(head)
	}
	return err
}

// describe puts descriptions of a segment and of runs of it beside the chunks. They are durable after a barrier, and
// live once the holdings have them: until then they are claimed, or nothing can be collected yet.
func (n *Node) describe(s core.Segment, runs []core.Holding) (described []core.Described, err error) {
	id := core.SegmentID{Task: s.Task, Number: s.Number}
	parts := []core.Description{{Segment: &s, Root: segmentRoot(s.Files, s.Reused)}}
	chunks := 0
	for _, r := range runs {
		if len(parts) == 1 || chunks+len(r.Chunks) > describedChunks {
			parts, chunks = append(parts, core.Description{}), 0
		}
		last := &parts[len(parts)-1]
		last.Runs, chunks = append(last.Runs, r), chunks+len(r.Chunks)
	}
	for _, d := range parts {
		c, err := n.putDescription(d)
		if err != nil {
			n.keptPins.Release(chunksOf(described))
			return nil, err
		}
		described = append(described, core.Described{Segment: id, Chunk: c})
	}
	return described, nil
}

// describedChunks is how many chunks the runs of one description have together, unless one alone has more: about 3 MiB
// of description.
const describedChunks = 1 << 16

// putDescription puts a description, and claims it.
func (n *Node) putDescription(d core.Description) (core.Chunk, error) {
	c, id, data, err := n.Holdings.Describe(d)
	if err == nil {
		if err = n.keptPins.While(c, func() error {
			_, err := n.Keeping.Put(context.WithoutCancel(n.ctx), c, id,
				data)
			return err
		}); err != nil {
			n.keptPins.Release([]core.Chunk{c})
		}
	}
	if err != nil {
		return c, fmt.Errorf("describe what is kept: %w", err)
	}
	return c, nil
}

func chunksOf(described []core.Described) (chunks []core.Chunk) {
	for _, d := range described {
		chunks = append(chunks, d.Chunk)
	}
	return chunks
}

// putRefDescribed makes a ref durable, and before that all that the packs have to have of it.
func (n *Node) putRefDescribed(r core.HeldRef) error {
	r.Described = core.Chunk{}
	c, err := n.putDescription(core.Description{Ref: &r})
	if err != nil {
		return err
	}
	defer n.keptPins.Release([]core.Chunk{c})
	if err := n.Keeping.Barrier(context.WithoutCancel(n.ctx)); err != nil {
		return fmt.Errorf("make records durable: %w", err)
	}
	r.Described = c
	return n.Holdings.PutRef(r)
}
