// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"path/filepath"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/cmd/bkp/session"
	"github.com/bkp-tool/bkp/cmd/bkp/volume/nbd"
	"github.com/bkp-tool/bkp/cmd/bkp/web"
	"github.com/bkp-tool/bkp/core"
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

// serveAt is where a version is given out by HTTP unless told otherwise.
const serveAt = "127.0.0.1:8010"

func serveCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "serve", Args: "NAME[@VERSION]", Least: 1, Most: 1,
		Usage: "give a version out by HTTP with ranges, or as a block device, without fetching it",
		About: "What is asked for comes from this machine or its peers, is verified, and is brought ahead of who reads " +
			"in order. It stays until the command is interrupted. Whoever reaches the address can read: unless told " +
			"otherwise only this machine can. With --nbd it is a network block device, from which a machine boots at " +
			"once; what is written to it goes to a file, and the backup stays as it is. That file is gone at the " +
			"end, unless --overlay names one: it is taken up again by the next command that names it.",
		Examples: `bkp serve disk.img
			bkp serve disk.img@3 --listen 127.0.0.1:8080
			curl -r 0-511 http://127.0.0.1:8010/disk.img
			bkp serve disk.img --nbd 127.0.0.1:10809 --overlay changes
			qemu-system-x86_64 -m 2G -drive file=nbd://127.0.0.1:10809/disk.img,format=raw
			qemu-img convert -f raw -O qcow2 nbd://127.0.0.1:10809/disk.img disk.qcow2
			nbd-client 127.0.0.1 10809 /dev/nbd0 -N disk.img`,
		Flags: command.NodeFlags(
			line.Text("listen", "", "give it out by HTTP at `HOST:PORT` (default: "+serveAt+")"),
			line.Text("nbd", "", "give it out as a network block device at `HOST:PORT`, as 127.0.0.1:10809"),
			line.Text("overlay", "", "of --nbd: keep what is written in `FILE`, which goes on with this content alone"),
			line.Bool("read-only", "of --nbd: take no writes"),
			line.Bool("fetch", "of --nbd: bring all of it meanwhile into what --overlay names, or a temporary file, "+
				"so that it is read from there"),
			line.Bool("public", "of --nbd: let other machines reach it; whoever does reads and writes"),
		),
		Reads: true,
		Do: func(ctx context.Context, c *command.Call) error {
			args, err := serveArgs(c)
			if err != nil {
				return err
			}
			return openVersion(ctx, c, args)
		},
	})
}

// serveArgs is how a version is to be given out.
func serveArgs(c *command.Call) (args control.OpenArgs, err error) {
	at := c.String("nbd")
	if at == "" {
		for _, flag := range []string{"overlay", "read-only", "fetch", "public"} {
			if c.Given(flag) {
				return args, core.WithHint(line.UsageError("--%s is of a network block device", flag),
					"bkp serve %s --nbd 127.0.0.1:%s", core.Printable(c.Args().First()), nbd.DefaultPort)
			}
		}
		args.Listen = serveAt
		if c.Given("listen") { // what config.toml says of it is the node's
			args.Listen = c.String("listen")
		}
		return args, nil
	}
	if c.Given("listen") {
		return args, line.UsageError("a version is given out by HTTP, or with --nbd: leave out --listen or --nbd")
	}
	if !web.Loopback(at) && !c.Bool("public") {
		err := line.UsageError("--nbd %s: whoever reaches it reads and writes, without a password", at)
		return args, core.WithHint(err,
			"take an address of this machine alone, as 127.0.0.1:%s, and go through ssh from another; or say --public",
			nbd.DefaultPort)
	}
	args = control.OpenArgs{NBD: at, ReadOnly: c.Bool("read-only"), Fetch: c.Bool("fetch")}
	if file := c.String("overlay"); file != "" {
		args.Overlay, err = filepath.Abs(file)
	}
	return args, err
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
