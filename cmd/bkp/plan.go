// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan/saved"
	"github.com/urfave/cli/v2"
)

func planCommand() *cli.Command {
	return command.Group("plan", "compare plans that place wrote with --plan-out", planDiffCommand())
}

func planDiffCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "diff", Args: "A B", Least: 2, Most: 2,
		Usage: "show what changes from one plan to another",
		About: "Reads two files that bkp place --plan-out wrote, one of which may be - for standard input, and " +
			"shows what each node keeps in the one and in the other, and what they promise.",
		Examples: `bkp place big.iso --dry-run --plan-out now.json
			bkp place big.iso --dry-run --strategy most-free --plan-out roomy.json
			bkp plan diff now.json roomy.json`,
		Do: doPlanDiff,
	})
}

func doPlanDiff(_ context.Context, c *command.Call) error {
	var plans [2]saved.Plan
	for i := range plans {
		var err error
		if plans[i], err = readPlan(c, c.Args().Get(i)); err != nil {
			return err
		}
	}
	d := saved.Compare(plans[0], plans[1])
	return render.List(c.Console, d.Nodes, d.Change, func(t *render.Table) { render.Difference(t, d) })
}

// readPlan reads a plan file; - is standard input.
func readPlan(c *command.Call, path string) (saved.Plan, error) {
	data, err := c.ReadInput(path)
	if err != nil {
		return saved.Plan{}, fmt.Errorf("read plan: %w", err)
	}
	s, err := saved.Read(data)
	if err != nil {
		return s, core.WithHint(fmt.Errorf("%s: %w", path, err), "bkp place NAME --dry-run --plan-out FILE writes one")
	}
	return s, nil
}
