// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/cmd/bkp/session"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/urfave/cli/v2"
)

func drainCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "drain", Args: "ID|HOST:PORT|K=V", Least: 1, Most: 1,
		Usage: "have a node keep nothing any more of what was placed from here: others take over",
		About: "First all of it is planned: where others cannot take over all that the node keeps nothing is moved, " +
			"and the command ends with 13. The node lets go once the copies of others count, and what it kept " +
			"goes back to it only where bkp place is given it anew.",
		Examples: "bkp node drain b71c2k3m\nbkp node drain backup.example:8001\nbkp node drain zone=attic",
		Flags:    command.NodeFlags(),
		Do: func(ctx context.Context, c *command.Call) error {
			r, err := session.Ask[control.DrainResult](ctx, c.Opener, control.CommandDrain,
				control.DrainArgs{Node: c.Args().First()})
			if err != nil {
				return err
			}
			moved := control.StandingResult{Placements: r.Moved, Watched: true}
			if err := render.Lacking("drain", moved); err != nil {
				return errors.Join(render.Standings(c.Console, moved), err)
			}
			return c.Result(r, func(t *render.Table) {
				t.Line("%s: %s went to others", render.Counted(len(r.Nodes), "node"),
					render.Counted(len(r.Moved), "placement"))
			})
		},
	})
}
