// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/cmd/bkp/session"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/urfave/cli/v2"
)

func gcCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "gc", Usage: "free the space of chunks that nothing needs any more",
		About: "Sweeps what is staged here and what is kept here for others, while other commands may write: what " +
			"one of them may build on goes with a gc after it has ended. A pack goes when all of it is dead; of " +
			"one that is dead by half, the rest is copied first, and many small ones become one. What killed " +
			"backups left goes too, and so do the checkpoints of splits that were interrupted more than 7 days " +
			"ago. What place --keep-local left here goes with --placed, once enough peers say that they keep all " +
			"of it; its manifest stays.",
		Examples: "bkp gc\nbkp gc --placed 2\nbkp gc --json",
		Flags: command.NodeFlags(
			line.Int("placed", 0, "offload also what `N` peers answer for, for 30 days more at least"),
		),
		Frees: true,
		Do: func(ctx context.Context, c *command.Call) error {
			if c.Int("placed") < 0 {
				return line.UsageError("--placed %d: want 1 or more", c.Int("placed"))
			}
			c.Alone = c.Int("placed") == 0
			r, err := session.Ask[control.GCResult](ctx, c.Opener, control.CommandGC,
				control.GCArgs{Copies: c.Int("placed")})
			if err != nil {
				return err
			}
			sum := render.Collection{GCResult: r}
			if sum.LeftoversFreed, err = c.Dir.Tidy(len(r.Staging.Writers) > 0); err != nil {
				return err
			}
			return c.Done(sum, sum.Draw)
		},
	})
}
