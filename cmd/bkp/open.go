// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"path/filepath"

	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/cmd/bkp/session"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/urfave/cli/v2"
)

func mountCommand() *cli.Command {
	return command(spec{
		name: "mount", args: "NAME[@VERSION] DIR", least: 2, most: 2,
		usage: "show a version as a file in a directory, without fetching it",
		about: "The file can be read at any place; what is read comes from this machine or its peers, is verified, and " +
			"is brought ahead of who reads in order. A disk image can be looped or booted from it. It stays until " +
			"the command is interrupted or the directory is unmounted. Needs FUSE; bkp serve does not.",
		examples: `bkp mount disk.img /mnt
			bkp mount disk.img@3 /mnt`,
		flags: append(networkFlags(), identityFlags()...),
		reads: true,
		do: func(ctx context.Context, c *call) error {
			dir, err := filepath.Abs(c.Args().Get(1))
			if err != nil {
				return err
			}
			return c.open(ctx, control.OpenArgs{Mount: dir})
		},
	})
}

func serveCommand() *cli.Command {
	return command(spec{
		name: "serve", args: "NAME[@VERSION]", least: 1, most: 1,
		usage: "give a version out by HTTP with ranges, without fetching it",
		about: "What is asked for comes from this machine or its peers, is verified, and is brought ahead of who reads " +
			"in order. It stays until the command is interrupted. Whoever reaches the address can read: unless told " +
			"otherwise only this machine can.",
		examples: `bkp serve disk.img
			bkp serve disk.img@3 --listen 127.0.0.1:8080
			curl -r 0-511 http://127.0.0.1:8010/disk.img`,
		flags: append(append([]cli.Flag{
			line.Text("listen", "127.0.0.1:8010", "give it out at `HOST:PORT`"),
		}, networkFlags()...), identityFlags()...),
		reads: true,
		do: func(ctx context.Context, c *call) error {
			return c.open(ctx, control.OpenArgs{Listen: c.String("listen")})
		},
	})
}

// open has the node keep a version readable until the command is interrupted.
func (c *call) open(ctx context.Context, args control.OpenArgs) (err error) {
	if args.Name, args.Version, err = line.NameVersion(c.Args().First()); err != nil {
		return err
	}
	o, err := c.OwnerIfAny()
	if err != nil {
		return err
	}
	if o == nil {
		return core.WithHint(core.Fail(core.CodeRefused, "no identity in %s", c.dir),
			"bring yours with bkp key import FILE")
	}
	r, err := session.Ask[control.OpenResult](ctx, c.Opener, control.CommandOpen, args)
	if err != nil {
		return err
	}
	return c.Done(r, func(t *render.Table) {
		t.Line("%s was open for %s.", render.Versioned(r.Name, r.Version), render.Seconds(r.Seconds))
	})
}
