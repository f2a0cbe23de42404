// SPDX-License-Identifier: Apache-2.0

package key

import (
	"context"
	"slices"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/cmd/bkp/session"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/urfave/cli/v2"
)

func delegateCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "delegate", Args: "NODE", Least: 1, Most: 1,
		Usage: "have a node see to a version from now on, without any key",
		About: "NODE gets all of the version, from who keeps it already, and a delegation for it alone: it has copies " +
			"proved and made anew, as many as were wanted, and can neither read nor rename. Who keeps the version on this " +
			"machine's word lets go once as many copies count on NODE's, most often without a byte that moves. The " +
			"command ends with 3 as soon as NODE sees to it, and this machine may go; the same command again says how far it " +
			"is. A version that was not placed yet is placed so, with two copies. bkp place NAME takes it back.",
		Examples: "bkp key delegate nas.example:8001 --keep disk.img\nbkp key delegate b71c2k3m --keep disk.img@3 --json",
		Flags: slices.Concat([]cli.Flag{line.Text("keep", "", "the version to be kept: `NAME[@VERSION]`")},
			command.NodeFlags()),
		Do: func(ctx context.Context, c *command.Call) error {
			args := control.PlaceArgs{Coordinator: c.Args().First(), Replicas: 2, AsBefore: true}
			var err error
			if args.Name, args.Version, err = line.NameVersion(c.String("keep")); err != nil {
				return err
			}
			if args.Name == "" {
				return line.UsageError("say what NODE is to keep: --keep NAME")
			}
			r, err := session.Ask[control.PlaceResult](ctx, c.Opener, control.CommandPlace, args)
			if err != nil {
				return err
			}
			p := render.Placement{PlaceResult: r, Exported: c.Dir.IsExported()}
			return c.Done(p, func(t *render.Table) { p.Draw(t, false) })
		},
	})
}
