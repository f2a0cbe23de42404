// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"path/filepath"
	"slices"
	"unicode/utf8"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/datadir"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/file"
	"github.com/urfave/cli/v2"
)

func splitCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "split", Args: "FILE|-", Most: 1,
		Usage: "cut a file into sealed chunks, as a new version of its name",
		About: "Only chunks are stored that are not here yet, and that peers do not keep already by receipts for " +
			"30 days more. Nothing leaves this machine before bkp place. A directory is piped: tar -c DIR | bkp " +
			"split - --name DIR.tar. What a program writes is best split with --command: where that fails no " +
			"version is made.",
		Examples: `bkp split big.iso
			bkp split /dev/shm/dump.sql --name nightly.sql
			tar -c photos | bkp split - --name photos.tar
			bkp split --command 'pg_dump shop' --name shop.sql
			bkp split disk.img --compression best --digest sha256
			bkp split disk.img --changed ranges.json --verify-unchanged 1%`,
		Flags: append([]cli.Flag{
			line.Text("name", "", "call the file `NAME` (default: the base name of FILE)"),
			line.Text("chunker", chunk.MethodAuto, "cut by `HOW`: cdc (by content), fixed (for images of disks) or "+
				"auto: as the version before, else as the first sectors ask for"),
			line.Text("compression", string(chunk.LevelDefault), "compress at `LEVEL`: off, fast, default or best"),
			line.Text("digest", "", "put a digest of the whole file into its manifest: `HASH` is sha256 or blake3"),
			line.Bool("no-recheck", "do not open again what was just sealed"),
			line.Bool("whole", "store also what peers keep already"),
			line.Bool("dry-run", "show what the new version would add, and store nothing"),
			line.Bool("all", "with --dry-run: list every range that is new"),
		}, append(inputFlags(), command.IdentityFlags()...)...),
		Do: doSplit,
	})
}

func doSplit(ctx context.Context, c *command.Call) error {
	name, err := splitName(c)
	if err != nil {
		return err
	}
	level, err := chunk.ParseLevel(c.String("compression"))
	if err != nil {
		return line.UsageError("--compression: %w", err)
	}
	if d := c.String("digest"); d != "" && !slices.Contains(file.Digests, d) {
		return line.UsageError("--digest %q: want sha256 or blake3", d)
	}
	from, err := openInput(ctx, c)
	if err != nil {
		return err
	}
	defer from.Close()
	in, err := from.Source()
	if err != nil {
		return err
	}
	defer in.Close()
	wish := datadir.SplitInput{
		Name: name, Source: in, Chunker: c.String("chunker"), Level: level, Digest: c.String("digest"),
		Recheck: !c.Bool("no-recheck"), Empty: c.Bool("allow-empty"), Whole: c.Bool("whole"),
		CheckpointEvery: checkpointEvery, Warn: c.Say,
	}
	if wish.Changed, err = changed(c); err != nil {
		return err
	}
	if c.Bool("dry-run") {
		return drySplit(ctx, c, wish)
	}
	if wish.Owner, err = c.Owner(); err != nil {
		return err
	}
	if wish.SkipUnchanged, err = skipUnchanged(c); err != nil {
		return err
	}
	wish.Progress = c.Phase("split", max(in.Size, 0))
	sum, err := c.Dir.Split(ctx, wish)
	if err != nil {
		return err
	}
	return told(c, render.Versioned(sum.Name, sum.Version), c.Done(sum, func(t *render.Table) {
		if sum.Unchanged {
			t.Line("%s is unchanged: there is no new version.", render.Versioned(sum.Name, sum.Version))
			return
		}
		t.Line("Split %s: %s in %s, %d of them new (%s stored), in %s.", render.Versioned(sum.Name, sum.Version),
			sum.Bytes, render.Counted(sum.Chunks, "chunk"), sum.NewChunks, sum.Stored, render.Seconds(sum.Seconds))
		if wish.Changed != nil {
			t.Line("%s were read, the rest is as in the version before.", sum.Bytes-sum.Kept)
		}
	}))
}

// drySplit shows what a split would add.
func drySplit(ctx context.Context, c *command.Call, in datadir.SplitInput) (err error) {
	if in.Owner, err = c.OwnerIfAny(); err != nil {
		return err
	}
	in.Progress = c.Phase("look", max(in.Source.Size, 0))
	sum, err := c.Dir.DrySplit(ctx, in)
	if err != nil {
		return err
	}
	return render.List(c.Console, sum.Ranges, sum, func(t *render.Table) {
		render.Ranges(t, sum.Ranges, c.Bool("all"))
		t.Line("Would split %s: %s in %s, %d of them new in %s of %s (%s stored).",
			render.Versioned(sum.Name, sum.Version), sum.Bytes, render.Counted(sum.Chunks, "chunk"), sum.NewChunks,
			render.Counted(sum.Places, "range"), sum.NewBytes, sum.Stored)
	})
}

// checkpointEvery is how many plain bytes lie between two moments from which an interrupted split goes on; tests lower
// it.
var checkpointEvery = 4 * core.GiB

// maxName is how many bytes a name may have. A path of Linux is as long at most.
const maxName = 4096

// splitName is --name, else the base name of FILE.
func splitName(c *command.Call) (string, error) {
	name := c.String("name")
	if name == "" && c.Given("name") {
		return "", line.UsageError("--name is empty")
	}
	if name == "" {
		switch c.Args().First() {
		case "-":
			return "", core.WithHint(line.UsageError("standard input has no name"),
				"give it one: bkp %s - --name NAME", c.Command.Name)
		case "":
			if c.String("command") == "" {
				return "", errNoInput(c)
			}
			return "", core.WithHint(line.UsageError("what a command writes has no name"), "give it one: --name NAME")
		}
		name = filepath.Base(c.Args().First())
	}
	if !utf8.ValidString(name) {
		return "", line.UsageError("the name %q is not UTF-8", name)
	}
	if len(name) > maxName {
		return "", line.UsageError("the name has %d bytes, it may have %d", len(name), maxName)
	}
	if plain, _, err := line.NameVersion(name); err != nil || plain != name {
		return "", core.WithHint(line.UsageError("a name cannot end in @ and a number or @latest, since %q means a "+
			"version of %q", name, plain),
			"give another: bkp split FILE --name NAME")
	}
	return name, nil
}
