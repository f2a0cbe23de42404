// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/cmd/bkp/session"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/urfave/cli/v2"
)

func repairCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "repair", Args: "[NAME[@VERSION]]", Most: 1,
		Usage: "have copies proved now, and those made anew that are lost",
		About: "A running node does so by itself, after a grace where a holder is merely away. The command does " +
			"not wait for that: who cannot be reached now is done without. It ends with 0 once as many copies " +
			"count as are wanted, else as bkp status does.",
		Examples: "bkp repair\nbkp repair big.iso",
		Flags:    command.NodeFlags(),
		Do: func(ctx context.Context, c *command.Call) error {
			name, version, err := line.NameVersion(c.Args().First())
			if err != nil {
				return err
			}
			r, err := session.Ask[control.StandingResult](ctx, c.Opener, control.CommandRepair,
				control.StandingArgs{Name: name, Version: version})
			if err != nil {
				return err
			}
			return errors.Join(showStandings(c, r), render.Lacking("repair", r))
		},
	})
}
