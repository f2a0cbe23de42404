// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/ledger"
	"github.com/bkp-tool/bkp/core/license"
	"github.com/urfave/cli/v2"
)

func ledgerCommand() *cli.Command {
	return group("ledger", "read and verify this node's log of licences and receipts", ledgerLog(), ledgerVerify())
}

func ledgerLog() *cli.Command {
	return command(spec{
		name: "log", usage: "list the licences and receipts of this node, what ended them, and its audits, oldest first",
		examples: `bkp ledger log
			bkp ledger log --after 1000 --limit 50
			bkp ledger log --json | jq -c 'select(.kind == "license") | .envelope' | head -n 1 | bkp license show -`,
		flags: []cli.Flag{
			line.Int("after", 0, "leave out the first `N` entries"),
			line.Int("limit", 0, "list at most `N` entries; 0 is all"),
		},
		do: func(ctx context.Context, c *call) error {
			log, err := c.readLedger()
			if err != nil {
				return err
			}
			defer log.Close()
			rows, err := ledgerRows(ctx, log, int64(c.Int("after")), c.Int("limit"))
			if err != nil {
				return err
			}
			return render.List(c.Console, rows, ledgerSummary{len(rows)}, func(t *render.Table) {
				render.Ledger(t, rows)
			})
		},
	})
}

type ledgerSummary struct {
	Entries int `json:"entries"`
}

func ledgerRows(ctx context.Context, log *ledger.Reader, after int64, limit int) ([]render.LedgerEntry, error) {
	var rows []render.LedgerEntry
	for ctx.Err() == nil {
		page := 1000
		if limit > 0 {
			page = min(page, limit-len(rows))
		}
		entries, err := log.Entries(after, page)
		if err != nil {
			return nil, err
		}
		if len(entries) == 0 {
			return rows, nil
		}
		for _, e := range entries {
			row, err := readEntry(e)
			if err != nil {
				return nil, core.WithHint(core.Fail(core.CodeWrong, "entry %d: %w", e.Index, err),
					"bkp ledger verify tells more")
			}
			rows = append(rows, row)
		}
		after += int64(len(entries))
	}
	return nil, context.Cause(ctx)
}

func readEntry(e ledger.Entry) (render.LedgerEntry, error) {
	row := render.LedgerEntry{Index: e.Index, Kind: e.Kind, Envelope: e.Envelope}
	if e.Kind == ledger.KindLicense {
		l, _, _, err := license.Open(e.Envelope)
		row.License, row.Task, row.Segment, row.Owner = l.ID, l.Task, l.Segment, l.TaskSource.Owner
		row.Runs, row.Bytes, row.Until = l.MaxRuns, l.MaxBytes, l.RetainUntil
		return row, err
	}
	if e.Kind == ledger.KindAudit {
		a, err := license.OpenAudited(e.Envelope)
		row.Task, row.Owner, row.Target = a.Task, a.Owner, a.Target
		row.Audits = &render.Audits{Since: a.Since, Proved: a.Proved, Unanswered: a.Unanswered, Failed: a.Failed, Note: a.Note}
		return row, err
	}
	if e.Kind != ledger.KindReceipt {
		return readEnd(e, row)
	}
	r, err := license.OpenReceipt(e.Envelope)
	row.License, row.Task, row.Segment, row.Target = r.License, r.Task, r.Segment, r.Target
	row.Bytes, row.Until = r.Bytes, r.RetainUntil
	for _, runs := range r.Runs {
		row.Runs += runs.Length
	}
	return row, err
}

// readEnd reads an entry that ends what receipts say.
func readEnd(e ledger.Entry, row render.LedgerEntry) (render.LedgerEntry, error) {
	if e.Kind == ledger.KindRelease {
		r, err := key.OpenRelease(e.Envelope)
		row.Task, row.Owner = r.Task, r.Owner
		return row, err
	}
	d, err := license.OpenDischarge(e.Envelope)
	row.Task, row.Segment, row.Owner = d.Task, d.Segment, d.Owner
	for _, runs := range d.Runs {
		row.Runs += runs.Length
	}
	return row, err
}

func ledgerVerify() *cli.Command {
	return command(spec{
		name: "verify", usage: "check the whole log with public keys only",
		about: "Every entry, the tree over them, every signed head, every signature, and that receipts follow each " +
			"other. Ends with code 14 where something is wrong.",
		examples: "bkp ledger verify\nbkp ledger verify --data /srv/bkp --json",
		do: func(_ context.Context, c *call) error {
			log, err := c.readLedger()
			if err != nil {
				return err
			}
			defer log.Close()
			report, err := log.Verify()
			if err != nil {
				for _, p := range report.Problems {
					c.Say("%s", p)
				}
				return fmt.Errorf("the ledger does not hold: %w", err)
			}
			return c.Done(report, func(t *render.Table) {
				t.Line("the ledger of node %s holds: %d entries (%s, %s) under %s", report.Node.Short(), report.Size,
					render.Counted(report.Licenses, "licence"), render.Counted(report.Receipts,
						"receipt"), render.Counted(report.Heads, "signed head"))
				t.Line("root %s", report.Root)
			})
		},
	})
}

func (c *call) readLedger() (*ledger.Reader, error) {
	log, err := ledger.OpenRead(c.dir.Path("ledger"))
	if errors.Is(err, core.ErrNotFound) {
		return nil, core.WithHint(core.Fail(core.CodeNoName, "no ledger in %s yet", string(c.dir)),
			"a node that kept or placed something has one")
	}
	return log, err
}
