// SPDX-License-Identifier: Apache-2.0

// Package ledger is bkp ledger: the log of licences and receipts, read and checked.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/datadir"
	"github.com/bkp-tool/bkp/cmd/bkp/datadir/heard"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/ledger"
	"github.com/bkp-tool/bkp/core/license"
	"github.com/urfave/cli/v2"
)

// Command is bkp ledger.
func Command() *cli.Command {
	return command.Group("ledger", "read and verify this node's log of licences and receipts",
		logCommand(), verifyCommand(), exportCommand(), orderCommand())
}

func logCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "log", Usage: "list the licences and receipts of this node, what ended them, and its audits, oldest first",
		Examples: `bkp ledger log
			bkp ledger log --after 1000 --limit 50
			bkp ledger log --json | jq -c 'select(.kind == "license") | .envelope' | head -n 1 | bkp license show -`,
		Flags: []cli.Flag{
			line.Int("after", 0, "leave out the first `N` entries"),
			line.Int("limit", 0, "list at most `N` entries; 0 is all"),
		},
		Do: func(ctx context.Context, c *command.Call) error {
			log, err := open(c.Dir)
			if err != nil {
				return err
			}
			defer log.Close()
			found, err := rows(ctx, log, int64(c.Int("after")), c.Int("limit"))
			if err != nil {
				return err
			}
			return render.List(c.Console, found, summary{len(found)}, func(t *render.Table) {
				render.Ledger(t, found)
			})
		},
	})
}

type summary struct {
	Entries int `json:"entries"`
}

// rows reads entries; a limit of 0 is none.
func rows(ctx context.Context, log *ledger.Reader, after int64, limit int) (found []render.LedgerEntry, err error) {
	for ctx.Err() == nil {
		page := 1000
		if limit > 0 {
			page = min(page, limit-len(found))
		}
		entries, err := log.Entries(after, page)
		if err != nil {
			return nil, err
		}
		if len(entries) == 0 {
			return found, nil
		}
		for _, e := range entries {
			row, err := readEntry(e)
			if err != nil {
				return nil, core.WithHint(core.Fail(core.CodeWrong, "entry %d: %w", e.Index, err),
					"bkp ledger verify tells more")
			}
			found = append(found, row)
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
	if e.Kind == ledger.KindCountersigned {
		c, _, err := license.OpenCountersigned(e.Envelope)
		row.License, row.Owner = c.License, c.Owner
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

func verifyCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "verify", Usage: "check the whole log with public keys only",
		About: "Every entry, the tree over them, every signed head, every signature, and that receipts follow each " +
			"other. With --bundle the log of another node is checked, from the file that bkp ledger export wrote " +
			"there, and held against what this data directory heard of it before. Anybody may make a log of their " +
			"own: look at whose it is, or say so with --node. With --order it is held against the heads that this node's engine " +
			"has of it, too. Ends with code 14 where something is wrong.",
		Examples: `bkp ledger verify
			bkp ledger verify --data /srv/bkp --json
			bkp ledger verify --order
			bkp ledger verify --bundle ledger.bundle --node k4qh5d2mzrdx7gldx2mfwqvtfnhqirzqxyz2ox5ltrhd3xs4m2ya`,
		Flags: []cli.Flag{
			line.Text("bundle", "", "check the bundle in `FILE`, or from standard input for -"),
			line.Bool("order", "hold it against what the order of this node's engine has of it"),
			line.Text("node", "", "fail unless it is the log of the node `ID`"),
		},
		Do: doVerify,
	})
}

func doVerify(ctx context.Context, c *command.Call) error {
	var wanted core.ID
	if text := c.String("node"); text != "" {
		var err error
		if wanted, err = core.ParseID(text); err != nil {
			return line.UsageError("--node: %w", err)
		}
	}
	report, err := verify(ctx, c)
	if err == nil && !wanted.IsZero() && report.Node != wanted {
		err = core.Fail(core.CodeWrong, "it is the log of node %s", report.Node)
	}
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
		t.Line("%d of %s that the node itself gave are countersigned by the owner's side", report.Countersigned,
			render.Counted(report.Own, "receipt"))
		t.Line("root %s", report.Root)
	})
}

// verify checks the log that the command is about.
func verify(ctx context.Context, c *command.Call) (ledger.Report, error) {
	path := c.String("bundle")
	ordered := func(core.ID) ([]ledger.SignedHead, error) { return nil, nil }
	if c.Bool("order") {
		ordered = func(node core.ID) ([]ledger.SignedHead, error) { return orderedOf(ctx, c, node) }
	}
	if path == "" {
		log, err := open(c.Dir)
		if err != nil {
			return ledger.Report{}, err
		}
		defer log.Close()
		head, err := log.Head()
		if err != nil {
			return log.Verify() // which says what is wrong with it
		}
		known, err := ordered(head.Node())
		if err != nil {
			return ledger.Report{}, err
		}
		return log.Verify(known...)
	}
	in := c.Stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return ledger.Report{}, line.UsageError("%w", err)
		}
		defer f.Close()
		in = f
	}
	heads, err := heard.OpenHeads(c.Dir, c.Dir, nil)
	if err != nil {
		return ledger.Report{}, err
	}
	var failed error
	report, err := ledger.VerifyBundle(in, ledger.MaxBundle, func(node core.ID) (known []ledger.SignedHead) {
		known, failed = ordered(node)
		if head, is := heads.Kept()[node]; is {
			known = append(known, head)
		}
		return known
	})
	if failed != nil {
		return ledger.Report{}, failed
	}
	return report, err
}

func open(dir datadir.Dir) (*ledger.Reader, error) {
	log, err := ledger.OpenRead(dir.Path("ledger"))
	if errors.Is(err, core.ErrNotFound) {
		return nil, core.WithHint(core.Fail(core.CodeNoName, "no ledger in %s yet", string(dir)),
			"a node that kept or placed something has one")
	}
	return log, err
}

func exportCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "export", Usage: "write the log to a file that others can check without this node",
		About: "The bundle has every licence and receipt, what ended them, and every head that the node signed. Who has " +
			"it needs nothing else: bkp ledger verify --bundle FILE. Names and content are not in it, but IDs of " +
			"owners and nodes are. What the node writes meanwhile is left for the next.",
		Examples: `bkp ledger export -o ledger.bundle
			bkp ledger export | ssh auditor 'bkp ledger verify --bundle -'`,
		Flags: []cli.Flag{
			line.Text("output", "-", "write `FILE`, or standard output for -", "o"),
			line.Bool("force", "replace FILE"),
		},
		Reads: true,
		Do:    doExport,
	})
}

// exported is what a bundle holds.
type exported struct {
	Node core.ID   `json:"node"`
	Size int64     `json:"size"` // entries
	Root core.Hash `json:"root"`
}

func doExport(_ context.Context, c *command.Call) error {
	log, err := open(c.Dir)
	if err != nil {
		return err
	}
	defer log.Close()
	var head ledger.SignedHead
	write := func(w io.Writer) (err error) {
		head, err = log.Export(w)
		return err
	}
	switch path := c.String("output"); {
	case path != "-" && c.Bool("force"):
		err = durable.ReplaceWith(path, 0o600, write)
	case path != "-":
		err = durable.NewWith(path, 0o600, write)
	case render.IsTerminal(c.Stdout):
		err = core.WithHint(line.UsageError("standard output is a terminal"), "bkp ledger export -o ledger.bundle")
	default:
		c.DataOut = true
		err = write(c.Stdout)
	}
	if errors.Is(err, fs.ErrExist) {
		err = core.WithHint(err, "replace it with --force")
	}
	if err != nil {
		return err
	}
	return c.Done(exported{head.Node(), head.Size, head.Root}, func(t *render.Table) {
		t.Line("exported %d entries of node %s", head.Size, head.Node())
		t.Line("root %s", head.Root)
	})
}

// Tail is the last entries of a data directory's ledger, oldest first; none where there is no ledger yet.
func Tail(ctx context.Context, dir datadir.Dir, most int) ([]render.LedgerEntry, error) {
	log, err := open(dir)
	if core.CodeOf(err) == core.CodeNoName {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer log.Close()
	head, err := log.Head()
	if err != nil {
		return nil, err
	}
	return rows(ctx, log, max(0, head.Size-int64(most)), most)
}
