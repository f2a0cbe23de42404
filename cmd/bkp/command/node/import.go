// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"path/filepath"
	"slices"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/urfave/cli/v2"
)

func importCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "import", Args: "DIR", Least: 1, Most: 1,
		Usage: "take what came for this node on a disk, from bkp place --export",
		About: "The disk is judged as its sender would be: the licence, the verifiers, quota and capacity, and the " +
			"hash of every chunk. What is wrong is named and refused, the rest is taken and receipted; what is here " +
			"already is not taken twice, so that the command may be stopped, and given once more. A running node " +
			"reads the disk itself. Codes: 3 something is not on the disk, 10 there is nothing, 12 refused, 14 wrong.",
		Examples: "bkp node import /media/disk\nbkp node import /media/disk --data /srv/bkp --json",
		Flags:    slices.Concat(keepingFlags(), command.IdentityFlags()),
		Do: func(ctx context.Context, c *command.Call) error {
			dir, err := filepath.Abs(c.Args().First())
			if err != nil {
				return line.UsageError("%w", err)
			}
			var r control.ImportResult
			err = c.Keep(ctx, func(n control.Caller) error {
				return n.Call(ctx, control.CommandImport, control.ImportArgs{Folder: dir}, &r, c.Status)
			})
			if err != nil {
				return err
			}
			return errors.Join(c.Result(r, func(t *render.Table) { render.Imported(t, r) }), render.ImportError(r))
		},
	})
}
