// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/keep/lost"
	"github.com/bkp-tool/bkp/core/storage"
)

// Records is what a look at them found: the ledger's receipts must be among the holdings, the holdings in the packs,
// their segments under licences of the ledger, and the ledger no shorter than the holdings remember it.
type Records struct {
	Damage []core.Damage
	Lost   []LostRuns
	Refs   []LostRef
	Rotten []core.Chunk // of what is lost, those that are in the packs and known to be damaged there
}

// keyRotten is the damage that lies in the bytes of chunks alone. It keeps a node neither from taking those chunks anew
// nor from collecting, which spares a damaged record for which no other stands.
const keyRotten = "chunks"

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
	r.Damage = append(r.Damage, core.Damage{Key: key, Text: fmt.Sprintf(format, args...)})
}

// Err is nil where the records agree, whatever the chunks are like.
func (r Records) Err() error {
	var texts []string
	for _, d := range r.Damage {
		if d.Key != keyRotten {
			texts = append(texts, d.Text)
		}
	}
	if len(texts) == 0 {
		return nil
	}
	return core.WithHint(core.Fail(core.CodeWrong, "the records of what this node keeps for others disagree: %s",
		strings.Join(texts, "; ")),
		"put back what was taken away, or stop the node and: bkp node repair")
}

// CheckRecords holds the records against each other, by the index of the packs alone. Whoever calls it sees to it that
// nothing is collected meanwhile; all else may go on.
func CheckRecords(ctx context.Context, holdings Holdings, keeping Packs, ledger Log) (Records, error) {
	c := &recordsCheck{ctx: ctx, holdings: holdings, keeping: keeping, ledger: ledger}
	l, gone := holdings.(*lost.Holdings)
	if gone {
		c.found.add("holdings.db", "%v", l.Why)
	}
	if l, is := ledger.(*lost.Ledger); is {
		c.found.add("ledger", "%v", l.Why)
		c.ledger = nil
	}
	if gone {
		return c.found, nil
	}
	err := c.run()
	return c.found, err
}

// Packs is what a look at the records asks of a Store.
type Packs interface {
	Has(ctx context.Context, hash core.Hash) (bool, error)
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
	var runs, rottenRuns int
	var bytes, rottenBytes core.Size
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
			if there {
				continue
			}
			size := sizeOf(h.Needed())
			l.Runs, l.Bytes = append(l.Runs, h.Number), l.Bytes+size
			switch rotten, gone, err := c.rotten(h.Needed()); {
			case err != nil:
				return err
			case gone:
				runs, bytes = runs+1, bytes+size
			default:
				rottenRuns, rottenBytes = rottenRuns+1, rottenBytes+size
				c.found.Rotten = append(c.found.Rotten, rotten...)
			}
		}
		if len(l.Runs) > 0 {
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
	if rottenRuns > 0 {
		c.found.add(keyRotten, "%d runs (%s) that are kept here have damaged chunks", rottenRuns, rottenBytes)
	}
	if n := len(c.found.Refs); n > 0 {
		c.found.add("refs", "%d refs are kept here without all of their records", n)
	}
	return nil
}

// rotten is those of a run's chunks that are here and known to be damaged; gone: others are not here.
func (c *recordsCheck) rotten(chunks []core.Chunk) (rotten []core.Chunk, gone bool, err error) {
	doubter, _ := c.keeping.(storage.Doubter)
	for _, x := range chunks {
		there, err := c.keeping.Has(c.ctx, x.Hash)
		damaged := false
		if err == nil && !there && doubter != nil {
			damaged, err = doubter.Damaged(c.ctx, x.Hash)
		}
		switch {
		case err != nil:
			return nil, false, err
		case damaged:
			rotten = append(rotten, x)
		case !there:
			return nil, true, nil
		}
	}
	return rotten, false, nil
}

func hasAll(ctx context.Context, s Packs, chunks []core.Chunk) (bool, error) {
	for _, c := range chunks {
		if there, err := s.Has(ctx, c.Hash); !there || err != nil {
			return false, err
		}
	}
	return true, nil
}
