package main

import (
	"context"

	"github.com/bkp-tool/bkp/core/node"
	"github.com/urfave/cli/v2"
)

func gcCommand() *cli.Command {
	return command(spec{
		name: "gc", usage: "free the space of chunks that nothing needs any more",
		about:    "Sweeps what is staged here and what is kept here for others. Packs go whole, when every chunk in them is dead.",
		examples: "bkp gc\nbkp gc --json",
		flags:    append(networkFlags(), identityFlags()...),
		do: func(ctx context.Context, c *call) error {
			c.alone = true
			r, err := ask[node.GCResult](ctx, c, node.CommandGC, struct{}{})
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
