// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/plan/saved"
	"github.com/urfave/cli/v2"
)

func planCommand() *cli.Command {
	return group("plan", "compare plans that place wrote with --plan-out", planDiffCommand())
}

func planDiffCommand() *cli.Command {
	return command(spec{
		name: "diff", args: "A B", least: 2, most: 2,
		usage: "show what changes from one plan to another",
		about: "Reads two files that bkp place --plan-out wrote, one of which may be - for standard input, and " +
			"shows what each node keeps in the one and in the other, and what they promise.",
		examples: `bkp place big.iso --dry-run --plan-out now.json
			bkp place big.iso --dry-run --strategy most-free --plan-out roomy.json
			bkp plan diff now.json roomy.json`,
		do: doPlanDiff,
	})
}

func doPlanDiff(_ context.Context, c *call) error {
	var plans [2]saved.Plan
	for i := range plans {
		var err error
		if plans[i], err = c.readPlan(c.Args().Get(i)); err != nil {
			return err
		}
	}
	d := saved.Compare(plans[0], plans[1])
	return render.List(c.Console, d.Nodes, d.Change, func(t *render.Table) { render.Difference(t, d) })
}

// readPlan reads a plan file; - is standard input.
func (c *call) readPlan(path string) (saved.Plan, error) {
	data, err := c.readInput(path)
	if err != nil {
		return saved.Plan{}, fmt.Errorf("read plan: %w", err)
	}
	s, err := saved.Read(data)
	if err != nil {
		return s, core.WithHint(fmt.Errorf("%s: %w", path, err), "bkp place NAME --dry-run --plan-out FILE writes one")
	}
	return s, nil
}

// readInput reads a file; - is standard input.
func (c *call) readInput(path string) ([]byte, error) {
	if path == "-" {
		return io.ReadAll(c.Stdin)
	}
	return os.ReadFile(path)
}

// writeOutput writes a file anew, whole or not at all; - is standard output, and then all else goes to standard error.
func (c *call) writeOutput(path string, data []byte) error {
	if path == "-" {
		_, err := c.Stdout.Write(data)
		return err
	}
	return durable.Replace(path, data, 0o666)
}
