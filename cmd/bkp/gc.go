package main

import (
	"context"

	"github.com/bkp-tool/bkp/core/node"
	"github.com/urfave/cli/v2"
)

func gcCommand() *cli.Command {
	return command(spec{
		name: "gc", usage: "free the space of chunks that nothing needs any more",
		about: "Sweeps what is staged here and what is kept here for others. Packs go whole, when every chunk in them is dead. " +
			"place leaves the staged bytes of a version where they are; with --placed they go too, once enough holders say that they keep all of it. " +
			"Its manifest stays, and what is split again later is not sent again.",
		examples: "bkp gc\nbkp gc --placed 2\nbkp gc --json",
		flags: append(append([]cli.Flag{
			intFlag("placed", 0, "let go also of what `N` holders answer for, for 30 days more at least"),
		}, networkFlags()...), identityFlags()...),
		do: func(ctx context.Context, c *call) error {
			if c.Int("placed") < 0 {
				return usageError("--placed %d: want 1 or more", c.Int("placed"))
			}
			c.alone = c.Int("placed") == 0
			r, err := ask[node.GCResult](ctx, c, node.CommandGC, node.GCArgs{Copies: c.Int("placed")})
			if err != nil {
				return err
			}
			return c.result(r, func(t *table) {
				t.header("", "freed", "kept")
				t.row("staged", r.StagingFreed, r.StagingKept)
				t.row("for others", r.HoldingsFreed, r.HoldingsKept)
			})
		},
	})
}
