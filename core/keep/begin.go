// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"context"
	"errors"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/keep/lost"
	"github.com/bkp-tool/bkp/core/license"
)

// begin makes today's holdings those that the records begin with, where the database comes from a release that did not
// hold them against each other: they are described in the packs, and receipts of what was let go of by then end.
func (t *Target) begin(ctx context.Context) error {
	if _, gone := t.Ledger.(*lost.Ledger); gone {
		return nil
	}
	if _, known, err := t.Holdings.Remembered(); known || err != nil {
		return err
	}
	segments, err := t.Holdings.Segments()
	if err != nil {
		return err
	}
	owners := map[core.ID]bool{}
	for _, s := range segments {
		owners[s.Owner] = true
		kept, err := t.Holdings.Kept(s.Task, s.Number)
		if err != nil {
			return err
		}
		described, err := t.describe(s, kept)
		if err == nil {
			err = t.Keeping.Barrier(ctx)
		}
		if err == nil {
			err = t.Holdings.PutRuns(nil, described...)
		}
		if err != nil {
			return err
		}
	}
	for owner := range owners {
		refs, err := t.Holdings.Refs(owner)
		if err != nil {
			return err
		}
		for _, r := range refs {
			if err := t.putRefDescribed(r); err != nil {
				return err
			}
		}
	}
	return errors.Join(t.endOldReceipts(ctx), t.rememberHead())
}

// endOldReceipts discharges receipts of runs that were let go of before releases stood in the ledger.
func (t *Target) endOldReceipts(ctx context.Context) error {
	standing, err := t.Ledger.Standing()
	if err != nil {
		return err
	}
	c := &recordsCheck{ctx: ctx, holdings: t.Holdings}
	lost, err := c.unheld(standing)
	for _, l := range lost {
		if err == nil && !l.Owner.IsZero() {
			err = t.discharge(core.Discharge{Why: core.WhyExpired, Owner: l.Owner, Task: l.Task, Segment: l.Number,
				Runs: core.Ranges(l.Runs), Note: "let go of before this log said so"})
		}
	}
	if err == nil && len(lost) > 0 {
		err = t.Ledger.Sync()
	}
	return err
}

// discharge enters this node's word that it keeps runs no longer. It counts once the ledger is synced.
func (t *Target) discharge(d core.Discharge) error {
	d.Time = time.Now().Unix()
	envelope, err := license.SignDischarge(d, t.Signer)
	if err == nil {
		err = t.Ledger.AppendDischarge(envelope)
	}
	return err
}

// rememberHead notes beside the holdings how far the ledger is, unless it is not what it was: that is to be found
// again.
func (t *Target) rememberHead() error {
	before, known, err := t.Holdings.Remembered()
	if _, gone := t.Ledger.(*lost.Ledger); gone || err != nil || known && t.Ledger.Holds(before) != nil {
		return err
	}
	head, err := t.Ledger.Durable()
	if err == nil && (!known || head != before) {
		err = t.Holdings.Remember(head)
	}
	return err
}
