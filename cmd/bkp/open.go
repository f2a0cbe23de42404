// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"path/filepath"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/cmd/bkp/session"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/urfave/cli/v2"
)

func mountCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "mount", Args: "NAME[@VERSION] DIR", Least: 2, Most: 2,
		Usage: "show a version as a file in a directory, without fetching it",
		About: "The file can be read at any place; what is read comes from this machine or its peers, is verified, and " +
			"is brought ahead of who reads in order. A disk image can be looped or booted from it. It stays until " +
			"the command is interrupted or the directory is unmounted. Needs FUSE; bkp serve does not.",
		Examples: `bkp mount disk.img /mnt
			bkp mount disk.img@3 /mnt`,
		Flags: command.NodeFlags(),
		Reads: true,
		Do: func(ctx context.Context, c *command.Call) error {
			dir, err := filepath.Abs(c.Args().Get(1))
			if err != nil {
				return err
			}
			return openVersion(ctx, c, control.OpenArgs{Mount: dir})
		},
	})
}

func serveCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "serve", Args: "NAME[@VERSION]", Least: 1, Most: 1,
		Usage: "give a version out by HTTP with ranges, without fetching it",
		About: "What is asked for comes from this machine or its peers, is verified, and is brought ahead of who reads " +
			"in order. It stays until the command is interrupted. Whoever reaches the address can read: unless told " +
			"otherwise only this machine can.",
		Examples: `bkp serve disk.img
			bkp serve disk.img@3 --listen 127.0.0.1:8080
			curl -r 0-511 http://127.0.0.1:8010/disk.img`,
		Flags: command.NodeFlags(
			line.Text("listen", "127.0.0.1:8010", "give it out at `HOST:PORT`"),
		),
		Reads: true,
		Do: func(ctx context.Context, c *command.Call) error {
			return openVersion(ctx, c, control.OpenArgs{Listen: c.String("listen")})
		},
	})
}

// openVersion has the node keep a version readable until the command is interrupted.
func openVersion(ctx context.Context, c *command.Call, args control.OpenArgs) (err error) {
	if args.Name, args.Version, err = line.NameVersion(c.Args().First()); err != nil {
		return err
	}
	if _, err := knownOwner(c); err != nil {
		return err
	}
	r, err := session.Ask[control.OpenResult](ctx, c.Opener, control.CommandOpen, args)
	if err != nil {
		return err
	}
	return c.Done(r, func(t *render.Table) {
		t.Line("%s was open for %s.", render.Versioned(r.Name, r.Version), render.Seconds(r.Seconds))
	})
}
