// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"

	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/urfave/cli/v2"
)

func repairCommand() *cli.Command {
	return command(spec{
		name: "repair", args: "[NAME[@VERSION]]", most: 1,
		usage: "have copies proved now, and those made anew that are lost",
		about: "A running node does so by itself, after a grace where a holder is merely away. The command does " +
			"not wait for that: who cannot be reached now is done without. It ends with 0 once as many copies " +
			"count as are wanted, else as bkp status does.",
		examples: "bkp repair\nbkp repair big.iso",
		flags:    append(networkFlags(), identityFlags()...),
		do: func(ctx context.Context, c *call) error {
			name, version, err := line.NameVersion(c.Args().First())
			if err != nil {
				return err
			}
			var r control.StandingResult
			err = c.With(ctx, func(n control.Caller) error {
				return n.Call(ctx, control.CommandRepair, control.StandingArgs{Name: name, Version: version}, &r, c.Status)
			})
			if err != nil {
				return err
			}
			return errors.Join(c.showStandings(r), short("repair", r))
		},
	})
}

func nodeDrain() *cli.Command {
	return command(spec{
		name: "drain", args: "ID|HOST:PORT|K=V", least: 1, most: 1,
		usage: "have a node keep nothing any more of what was placed from here: others take over",
		about: "First all of it is planned: where others cannot take over all that the node keeps nothing is moved, " +
			"and the command ends with 13. The node lets go once the copies of others count, and what it kept " +
			"goes back to it only where bkp place is given it anew.",
		examples: "bkp node drain b71c2k3m\nbkp node drain backup.example:8001\nbkp node drain zone=attic",
		flags:    append(networkFlags(), identityFlags()...),
		do: func(ctx context.Context, c *call) error {
			var r control.DrainResult
			err := c.With(ctx, func(n control.Caller) error {
				return n.Call(ctx, control.CommandDrain, control.DrainArgs{Node: c.Args().First()}, &r, c.Status)
			})
			if err != nil {
				return err
			}
			for _, p := range r.Moved {
				if p.Code != core.CodeOK {
					return errors.Join(c.showStandings(control.StandingResult{Placements: r.Moved, Watched: true}),
						short("drain", control.StandingResult{Placements: r.Moved, Watched: true}))
				}
			}
			return c.Result(r, func(t *render.Table) {
				t.Line("%s: %s went to others", render.Counted(len(r.Nodes), "node"),
					render.Counted(len(r.Moved), "placement"))
			})
		},
	})
}
