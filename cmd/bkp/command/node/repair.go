// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/datadir/mend"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/urfave/cli/v2"
)

func repairCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "repair", Usage: "bring back what a stopped node keeps for others, where its records disagree or one " +
			"is lost",
		About: "Packs, holdings.db and ledger say the same of what is kept here. Where one is gone or damaged the " +
			"others tell what it said: holdings.db is made again from packs and ledger, a ledger from holdings.db, " +
			"and runs whose bytes are gone are written down as lost, so that their owners see it and can place " +
			"them again. What is replaced is kept beside it. The node must be stopped.",
		Examples: "bkp node repair --data /srv/bkp --dry-run\nbkp node repair --data /srv/bkp",
		Flags:    []cli.Flag{line.Bool("dry-run", "say what is wrong and what would be done, and change nothing")},
		Do:       doNodeRepair,
	})
}

func doNodeRepair(ctx context.Context, c *command.Call) error {
	r, err := mend.Run(ctx, c.Dir, c.Bool("dry-run"), c.Status)
	if err != nil {
		return err
	}
	return c.Done(r, func(t *render.Table) { drawRepair(t, r) })
}

// drawRepair shows what was wrong with the records, what was done about it, and what was replaced.
func drawRepair(t *render.Table, s mend.Result) {
	if len(s.Damage) == 0 {
		t.Line("the records of what is kept here agree: there is nothing to repair")
		return
	}
	for _, d := range s.Damage {
		t.Line("wrong: %s", d.Text)
	}
	for _, step := range s.Steps {
		if s.DryRun {
			step = "would be done: " + step
		}
		t.Line("%s", step)
	}
	for _, path := range s.Aside {
		t.Line("kept aside: %s", path)
	}
}
