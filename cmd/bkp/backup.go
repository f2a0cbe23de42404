// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"path/filepath"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/datadir"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/cmd/bkp/session"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/file"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/urfave/cli/v2"
)

func backupCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "backup", Args: "FILE|-", Most: 1,
		Usage: "split a file and place it in one stream",
		About: "The file is cut a window at a time; peers get each window while the next is cut, and this machine " +
			"keeps the manifest alone, so that no second copy of the file is needed here. A backup that was " +
			"interrupted goes on where it was.",
		Examples: `bkp backup big.iso
			bkp backup big.iso --replicas 3 --window 4GiB
			tar -c photos | bkp backup - --name photos.tar
			bkp backup big.iso --coordinator nas.example:8001
			bkp backup --command 'pg_dump shop' --name shop.sql`,
		Flags: append(append([]cli.Flag{
			line.Text("name", "", "call the file `NAME` (default: the base name of FILE)"),
			line.Text("window", "1GiB", "place `SIZE` at a time; about three of them stand on this disk"),
			line.Text("chunker", chunk.MethodAuto, "cut by `HOW`: cdc (by content), fixed (for images of disks) or "+
				"auto"),
			line.Text("compression", string(chunk.LevelDefault), "compress at `LEVEL`: off, fast, default or best"),
			line.Bool("no-recheck", "do not open again what was just sealed"),
			line.Int("replicas", 2, "keep `N` copies on as many different nodes; the source's own disk does not count"),
			erasureFlag(),
			line.Text("strategy", "seed", "have the strategy `NAME` price the nodes"),
			line.Text("retain", "10y", "ask the targets to keep it for `SPAN`, as 90d or 10y"),
			lockFlag(),
			coordinatorFlag(),
		}, append(inputFlags(), command.NetworkFlags()...)...), command.IdentityFlags()...),
		Do: doBackup,
	})
}

// leastWindow keeps the tasks of a backup few.
const leastWindow = core.MiB

func doBackup(ctx context.Context, c *command.Call) error {
	name, err := splitName(c)
	if err != nil {
		return err
	}
	args := control.BackupArgs{
		Name: name, Chunker: c.String("chunker"), Compression: c.String("compression"), Recheck: !c.Bool("no-recheck"),
		Replicas: c.Int("replicas"), Strategy: c.String("strategy"), AllowEmpty: c.Bool("allow-empty"),
		Coordinator: c.String("coordinator"),
	}
	if args.Erasure, err = erasure(c); err != nil {
		return err
	}
	if args.Window, err = c.Size("window"); err != nil {
		return err
	}
	retain, err := c.Span("retain")
	if err != nil {
		return err
	}
	args.Retain = int64(retain.Seconds())
	if args.Lock, err = lock(c); err != nil {
		return err
	}
	switch {
	case args.Window < leastWindow:
		return line.UsageError("--window %s: want %s or more", args.Window, core.Size(leastWindow))
	case args.Replicas < 1:
		return line.UsageError("--replicas %d: want 1 or more", args.Replicas)
	case args.Coordinator != "" && !args.Erasure.IsZero():
		return line.UsageError("--coordinator and --erasure: a backup is handed over as copies; split the file, and " +
			"place that as stripes")
	}
	if _, err := chunk.ParseLevel(args.Compression); err != nil {
		return line.UsageError("--compression: %w", err)
	}
	o, err := c.Owner() // made at first use, before the node looks for it
	if err != nil {
		return err
	}
	skip, err := skipUnchanged(c)
	if err != nil {
		return err
	}
	args.SkipUnchanged = skip != ""
	if args.Changed, err = changed(c); err != nil {
		return err
	}
	from, err := openInput(ctx, c)
	if err != nil {
		return err
	}
	defer from.Close()
	if args.In = from.Reader; from.Path != "" {
		if args.Input, err = filepath.Abs(from.Path); err != nil {
			return err
		}
	}
	r, ok := stillBackedUp(c, o, args, skip)
	if !ok {
		if r, err = session.Ask[control.BackupResult](ctx, c.Opener, control.CommandBackup, args); err != nil {
			return err
		}
	}
	return told(c, render.Versioned(r.Name, r.Version), c.Done(r, func(t *render.Table) {
		render.Backup(t, r, c.Dir.IsExported())
	}))
}

// stillBackedUp is the result of a backup where a look at the file is enough: it is what the newest version, which
// peers keep, was split from.
func stillBackedUp(c *command.Call, o *key.Owner, args control.BackupArgs, skip string) (r control.BackupResult,
	ok bool) {
	before, ok := c.Dir.Newest(o, args.Name)
	if !ok || skip != datadir.SkipByStat || args.Input == "" || !before.Placed() {
		return r, false
	}
	in, err := file.Open(args.Input)
	if err != nil {
		return r, false // the backup will say so
	}
	defer in.Close()
	r = control.BackupResult{Name: args.Name, Cut: control.Cut{
		Version: before.Ref.Version, Unchanged: true, Bytes: before.Body.Size, Root: before.Body.Root.Hash,
	}}
	return r, c.Dir.Refs().IsAsSplit(before, in)
}
