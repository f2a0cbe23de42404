package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/node"
	"github.com/urfave/cli/v2"
)

func pruneCommand() *cli.Command {
	return command(spec{
		name: "prune", args: "[NAME]", most: 1,
		usage: "forget the versions that no rule keeps, here and at the peers",
		about: "Of each name, or of the one given, a version stays that any rule keeps. Days, weeks (from Monday) and months are those of this " +
			"machine's clock, by when a version was made or last placed; the newest version of each counts. Versions go as with bkp rm, bytes with bkp gc.",
		examples: `bkp prune --keep-last 3 --dry-run
			bkp prune big.iso --keep-last 1 --keep-daily 7 --keep-weekly 4 --keep-monthly 12`,
		flags: append(append([]cli.Flag{
			intFlag("keep-last", 0, "keep the `N` newest versions"),
			intFlag("keep-daily", 0, "keep the newest version of each of the last `N` days that have one"),
			intFlag("keep-weekly", 0, "keep the newest version of each of the last `N` weeks that have one"),
			intFlag("keep-monthly", 0, "keep the newest version of each of the last `N` months that have one"),
			boolFlag("dry-run", "show what would go, and let nothing go"),
			boolFlag("force", "forget a version also where peers that keep it cannot be told"),
		}, networkFlags()...), identityFlags()...),
		do: doPrune,
	})
}

// keepRule keeps the newest version of each of the last so many periods.
type keepRule struct {
	name   string
	count  int
	period func(time.Time) string // "" puts every version into a period of its own
}

// allRules is every rule, keeping nothing yet.
func allRules() []keepRule {
	return []keepRule{
		{name: "last", period: func(time.Time) string { return "" }},
		{name: "daily", period: func(t time.Time) string { return t.Format("2006-01-02") }},
		{name: "weekly", period: func(t time.Time) string {
			year, week := t.ISOWeek()
			return fmt.Sprintf("%d-W%02d", year, week)
		}},
		{name: "monthly", period: func(t time.Time) string { return t.Format("2006-01") }},
	}
}

// keepRules is the rules that the flags give.
func (c *call) keepRules() (rules []keepRule, err error) {
	for _, r := range allRules() {
		switch r.count = c.Int("keep-" + r.name); {
		case r.count < 0:
			return nil, usageError("--keep-%s %d: want 0 or more", r.name, r.count)
		case r.count > 0:
			rules = append(rules, r)
		}
	}
	if len(rules) == 0 {
		return nil, core.WithHint(usageError("no rule says what to keep"), "bkp prune --keep-last 3 --keep-monthly 12 --dry-run")
	}
	return rules, nil
}

// pruneRow is what becomes of a version, and why.
type pruneRow struct {
	Name    string    `json:"name"`
	Version int       `json:"version"`
	Size    core.Size `json:"size"`
	Created int64     `json:"created"`
	Placed  bool      `json:"placed"`
	Keep    bool      `json:"keep"`
	Reasons []string  `json:"reasons,omitempty"` // the rules that keep it
}

// sift decides about the versions of one name, which come oldest first.
func sift(versions []pruneRow, rules []keepRule, zone *time.Location) {
	for _, rule := range rules {
		left, last := rule.count, ""
		for i := len(versions) - 1; i >= 0 && left > 0; i-- {
			v := &versions[i]
			period := rule.period(time.Unix(v.Created, 0).In(zone))
			if period != "" && period == last {
				continue
			}
			last = period
			left--
			v.Keep = true
			v.Reasons = append(v.Reasons, strings.TrimSpace(rule.name+" "+period))
		}
	}
}

// pruneSummary is what a pruning came to.
type pruneSummary struct {
	Kept     int            `json:"kept"`
	Removed  int            `json:"removed"`
	DryRun   bool           `json:"dry_run"`
	Released []node.Release `json:"released,omitempty"`
	Unheard  []node.Refused `json:"unheard,omitempty"` // holders that could not be told
}

func doPrune(ctx context.Context, c *call) error {
	rules, err := c.keepRules()
	if err != nil {
		return err
	}
	rows, err := c.pruneRows(c.Args().First())
	if err != nil {
		return err
	}
	for from, to := 0, 0; from < len(rows); from = to {
		for to = from; to < len(rows) && rows[to].Name == rows[from].Name; to++ {
		}
		sift(rows[from:to], rules, time.Local)
	}
	sum := pruneSummary{DryRun: c.Bool("dry-run")}
	var gone []pruneRow
	for _, r := range rows {
		if r.Keep {
			sum.Kept++
		} else {
			gone = append(gone, r)
		}
	}
	if !sum.DryRun && len(gone) > 0 {
		if err := c.prune(ctx, gone, &sum); err != nil {
			return err
		}
	}
	err = list(c, rows, sum, func(t *table) { drawPrune(t, rows, sum) })
	if c.Bool("force") {
		return err
	}
	return errors.Join(err, unheard(node.RemoveResult{Unheard: sum.Unheard}))
}

// pruneRows lists the versions of one name or of all, by name and oldest first.
func (c *call) pruneRows(name string) ([]pruneRow, error) {
	if plain, _, err := nameVersion(name); err != nil || plain != name {
		return nil, usageError("%s: prune takes a name without a version; bkp rm takes one", clean(name))
	}
	o, err := c.ownerIfAny()
	if err != nil {
		return nil, err
	}
	var rows []pruneRow
	if o != nil {
		versions, err := c.house.refs().open(o)
		if err != nil {
			return nil, err
		}
		for _, v := range versions {
			if name == "" || v.body.Name == name {
				rows = append(rows, pruneRow{Name: v.body.Name, Version: v.ref.Version, Size: v.body.Size, Created: v.ref.Created, Placed: v.placed()})
			}
		}
	}
	if len(rows) == 0 && name != "" {
		return nil, noSuchName(name, 0)
	}
	return rows, nil
}

// prune removes versions as bkp rm does.
func (c *call) prune(ctx context.Context, gone []pruneRow, sum *pruneSummary) error {
	l := c.house.leaning()
	if err := l.alone(); err != nil {
		return err
	}
	defer l.end()
	c.alone = true
	return c.withNode(ctx, func(s session) error {
		for _, g := range gone {
			var r node.RemoveResult
			err := s.Call(ctx, node.CommandRemove, node.RemoveArgs{Name: g.Name, Version: g.Version, Force: c.Bool("force")}, &r, c.status)
			if err != nil {
				return fmt.Errorf("%s: %w", versioned(g.Name, g.Version), err)
			}
			sum.Removed += len(r.Versions)
			sum.Released = append(sum.Released, r.Released...)
			sum.Unheard = append(sum.Unheard, r.Unheard...)
		}
		return nil
	})
}

func drawPrune(t *table, rows []pruneRow, sum pruneSummary) {
	if len(rows) > 0 {
		t.header("version", "created", "size", "placed", "", "because")
	}
	for _, r := range rows {
		word := "remove"
		if r.Keep {
			word = "keep"
		}
		t.row(versioned(r.Name, r.Version), time.Unix(r.Created, 0), r.Size, yes(r.Placed), word, strings.Join(r.Reasons, ", "))
	}
	if sum.DryRun {
		t.line("%s kept, %d would go", counted(sum.Kept, "version"), len(rows)-sum.Kept)
		return
	}
	t.line("%s kept, %d removed", counted(sum.Kept, "version"), sum.Removed)
	if sum.Removed > 0 {
		t.line("bkp gc frees what they alone needed")
	}
}
