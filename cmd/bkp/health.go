package main

import (
	"context"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/node"
	"github.com/urfave/cli/v2"
)

func healthCommand() *cli.Command {
	return command(spec{
		name: "health", usage: "end with 0 once the node of this data directory is ready",
		examples: "bkp health --data /srv/bkp",
		do: func(ctx context.Context, c *call) error {
			caller, err := c.runningNode()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			var r node.StatusResult
			if err := caller.Call(ctx, node.CommandStatus, struct{}{}, &r, c.status); err != nil {
				return err
			}
			if !r.Ready {
				return core.Fail(core.CodeBusy, "the node is not ready yet")
			}
			return c.result(health{r.ID, r.Ready, r.Peers}, func(t *table) {
				t.line("ready: node %s, %s connected", r.ID.Short(), counted(r.Peers, "peer"))
			})
		},
	})
}

type health struct {
	ID    core.ID `json:"id"`
	Ready bool    `json:"ready"`
	Peers int     `json:"peers"`
}
