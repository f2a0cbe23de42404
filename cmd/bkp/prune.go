// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/datadir"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/cmd/bkp/retain"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/urfave/cli/v2"
)

func pruneCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "prune", Args: "[NAME]", Most: 1,
		Usage: "forget the versions that no rule keeps, here and at the peers",
		About: "Of each name, or of the one given, a version stays that any rule keeps. Days, weeks (from Monday) " +
			"and months are those of this machine's clock, by when a version was split, whatever was done with it " +
			"since; the newest version of each counts, which is the one of the highest number. With -v each " +
			"version that goes says why no rule keeps it. Versions go as with bkp rm, bytes with bkp gc.",
		Examples: `bkp prune --keep-last 3 --dry-run
			bkp prune big.iso --keep-last 1 --keep-daily 7 --keep-weekly 4 --keep-monthly 12`,
		Flags: command.NodeFlags(
			line.Int("keep-last", 0, "keep the `N` newest versions"),
			line.Int("keep-daily", 0, "keep the newest version of each of the last `N` days that have one"),
			line.Int("keep-weekly", 0, "keep the newest version of each of the last `N` weeks that have one"),
			line.Int("keep-monthly", 0, "keep the newest version of each of the last `N` months that have one"),
			line.Bool("dry-run", "show what would go, and let nothing go"),
			line.Bool("force", "as rm has it: what is locked too, and 0 where peers cannot be told yet"),
		),
		Do: doPrune, Frees: true,
	})
}

// keepRules is the rules that the flags give.
func keepRules(c *command.Call) (rules []retain.Rule, err error) {
	for _, r := range retain.Rules() {
		switch r.Count = c.Int("keep-" + r.Name); {
		case r.Count < 0:
			return nil, line.UsageError("--keep-%s %d: want 0 or more", r.Name, r.Count)
		case r.Count > 0:
			rules = append(rules, r)
		}
	}
	if len(rules) == 0 {
		return nil, core.WithHint(line.UsageError("no rule says what to keep"), "bkp prune --keep-last 3 "+
			"--keep-monthly 12 --dry-run")
	}
	return rules, nil
}

// pruneSummary is what a pruning came to.
type pruneSummary struct {
	Kept     int               `json:"kept"`
	Removed  int               `json:"removed"`
	DryRun   bool              `json:"dry_run"`
	Released []control.Release `json:"released,omitempty"`
	Unheard  []control.Refused `json:"unheard,omitempty"` // peers that keep a version and could not be told
	locked   []error           // versions that nobody may remove yet
}

func doPrune(ctx context.Context, c *command.Call) error {
	rules, err := keepRules(c)
	if err != nil {
		return err
	}
	rows, err := pruneRows(c, c.Args().First())
	if err != nil {
		return err
	}
	retain.Sift(rows, rules, time.Local)
	sum := pruneSummary{DryRun: c.Bool("dry-run")}
	var gone []retain.Version
	for _, r := range rows {
		if r.Keep {
			sum.Kept++
		} else {
			gone = append(gone, r)
		}
	}
	if !sum.DryRun && len(gone) > 0 {
		if err := prune(ctx, c, gone, &sum); err != nil {
			return err
		}
	}
	err = render.ListDone(c.Console, rows, sum, func(t *render.Table) { drawPrune(t, rows, sum, c.Verbose) })
	if c.Bool("force") {
		return err
	}
	return errors.Join(err, unheard(sum.Unheard), errors.Join(sum.locked...))
}

// pruneRows lists the versions of one name or of all, by name and oldest first.
func pruneRows(c *command.Call, name string) ([]retain.Version, error) {
	if plain, _, err := line.NameVersion(name); err != nil || plain != name {
		return nil, line.UsageError("%s: prune takes a name without a version; bkp rm takes one", core.Printable(name))
	}
	o, err := c.Reader()
	if err != nil {
		return nil, err
	}
	var rows []retain.Version
	if o != nil {
		versions, err := c.Dir.Refs().Open(o)
		if err != nil {
			return nil, err
		}
		for _, v := range versions {
			if name == "" || v.Body.Name == name {
				rows = append(rows, retain.Version{Name: v.Body.Name, Version: v.Ref.Version, Size: v.Body.Size,
					Created: v.Ref.Created, Placed: v.Placed()})
			}
		}
	}
	if len(rows) == 0 && name != "" {
		return nil, datadir.NoSuchName(name, 0)
	}
	return rows, nil
}

// prune removes versions as bkp rm does.
func prune(ctx context.Context, c *command.Call, gone []retain.Version, sum *pruneSummary) error {
	unlock, err := c.Dir.LockOffloaded()
	if err != nil {
		return err
	}
	defer unlock()
	c.Alone = true
	return c.With(ctx, func(n control.Caller) error {
		for _, g := range gone {
			var r control.RemoveResult
			err := n.Call(ctx, control.CommandRemove, control.RemoveArgs{Name: g.Name, Version: g.Version,
				Force: c.Bool("force")}, &r, c.Status)
			if err != nil {
				return fmt.Errorf("%s: %w", render.Versioned(g.Name, g.Version), err)
			}
			sum.Removed += len(r.Versions)
			sum.Released = append(sum.Released, r.Released...)
			sum.Unheard = append(sum.Unheard, r.Unheard...)
			if err := locked(r); err != nil {
				sum.locked = append(sum.locked, err)
			}
		}
		return nil
	})
}

func drawPrune(t *render.Table, rows []retain.Version, sum pruneSummary, explain bool) {
	if len(rows) > 0 {
		t.Header("version", "created", "size", "placed", "", "because")
		t.Below("because")
		t.Spare("placed", "size")
	}
	for _, r := range rows {
		word := "remove"
		if r.Keep {
			word = "keep"
		}
		because := r.Reasons
		if explain && !r.Keep {
			because = r.Against
		}
		t.Row(render.Versioned(r.Name, r.Version), time.Unix(r.Created, 0), r.Size, r.Placed, word,
			strings.Join(because, ", "))
	}
	if sum.DryRun {
		t.Line("%s kept, %d would go", render.Counted(sum.Kept, "version"), len(rows)-sum.Kept)
		return
	}
	t.Line("%s kept, %d removed", render.Counted(sum.Kept, "version"), sum.Removed)
	if sum.Removed > 0 {
		t.Line("bkp gc frees what they alone needed")
	}
}
