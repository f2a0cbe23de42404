// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/datadir"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/cmd/bkp/session"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/file"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/urfave/cli/v2"
)

func fetchCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "fetch", Args: "NAME[@VERSION]", Most: 1,
		Usage: "bring a file back",
		About: "What is on this machine is read here, the rest comes from all peers that keep it at once. Every " +
			"chunk is verified; the file appears under its name when every byte is in place, or not at all, with " +
			"the mode that it was split with; where none is known, for its owner alone.",
		Examples: `bkp fetch big.iso
			bkp fetch big.iso@1 -o old.iso
			bkp fetch backup.tar -o - | tar -x
			bkp fetch disk.img --seed last-week.img -o today.img
			bkp fetch disk.img --range 1GiB-2GiB -o part
			bkp fetch big.iso --peers wss://a.example:8001 --token-file token
			bkp fetch --share report.share`,
		Flags: command.NodeFlags(
			line.Text("output", "", "write `FILE`, or standard output for - (default: NAME in this directory)", "o"),
			line.Bool("force", "replace the file, or the link, that is there; or write onto a block device"),
			line.Text("range", "", "bring the bytes `A-B` only: from A on, up to and without B"),
			line.Text("seed", "", "take what an older version of the file at `PATH` already has from there"),
			line.Text("share", "", "fetch the version that the `FILE` of bkp share is of; - is standard input"),
			line.Bool("partial", "where bytes are lost, write the rest and name the holes (exit code 3)"),
		),
		Reads: true,
		Do:    doFetch,
	})
}

func doFetch(ctx context.Context, c *command.Call) error {
	s, err := shareFile(c)
	if err != nil {
		return err
	}
	what := c.Args().First()
	switch {
	case s == nil && what == "":
		return core.WithHint(line.UsageError("wants NAME[@VERSION], got 0 arguments"), "bkp fetch --help shows examples")
	case s != nil && what != "":
		return line.UsageError("the share says what is fetched: leave out %s, or --share", core.Printable(what))
	case s != nil:
		what = fmt.Sprintf("%s@%d", s.Name, s.Version)
	}
	name, version, err := line.NameVersion(what)
	if err != nil {
		return err
	}
	args := control.FetchArgs{Name: name, Version: version, Force: c.Bool("force"), Partial: c.Bool("partial")}
	if args.Start, args.End, err = byteRange(c.String("range")); err != nil {
		return err
	}
	if seed := c.String("seed"); seed != "" {
		if args.Seed, err = filepath.Abs(seed); err == nil {
			err = file.CheckSeed(seed)
		}
		if err != nil {
			return err
		}
	}
	if c.String("output") == "-" {
		c.DataOut = true
		return fetchToOut(ctx, c, args, s)
	}
	if args.Output, err = outputPath(c.String("output"), name); err != nil {
		return err
	}
	if err := checkOutput(args, name); err != nil {
		return err
	}
	r, err := fetch(ctx, c, args, s)
	if err != nil && core.CodeOf(err) != core.CodePartial {
		return err
	}
	return errors.Join(c.Done(r, func(t *render.Table) { render.Fetch(t, r) }), err)
}

// byteRange reads A-B: sizes, the second not included and 0 where it is left out with the first.
func byteRange(text string) (start, end core.Size, err error) {
	if text == "" {
		return 0, 0, nil
	}
	from, to, ok := strings.Cut(text, "-")
	if !ok || from == "" || to == "" {
		return 0, 0, core.WithHint(line.UsageError("--range %s: want A-B", text), "--range 1GiB-2GiB")
	}
	for _, number := range []string{from, to} {
		if _, err := strconv.ParseUint(number, 10, 63); err != nil && strings.Trim(number, "0123456789.") == "" {
			return 0, 0, core.WithHint(line.UsageError("--range %s: there is no part of a byte", text), "--range 1GiB-2GiB")
		}
	}
	if from != "0" {
		if start, err = core.ParseSize(from); err != nil {
			return 0, 0, line.UsageError("--range: %w", err)
		}
	}
	if to != "0" {
		if end, err = core.ParseSize(to); err != nil {
			return 0, 0, line.UsageError("--range: %w", err)
		}
	}
	if start == end {
		return 0, 0, line.UsageError("--range %s: no byte is in it: B is the first that is not brought", text)
	}
	if start > end {
		return 0, 0, line.UsageError("--range %s: it ends before it begins", text)
	}
	return start, end, nil
}

// outputPath is where a fetch writes: the file that -o names, else NAME in the working directory, if that is a safe
// name.
func outputPath(output, name string) (string, error) {
	if output == "" {
		if err := file.CheckName(name); err != nil {
			return "", core.WithHint(err, "say where to with -o FILE")
		}
		output = name
	}
	path, err := filepath.Abs(output)
	if err != nil {
		return "", fmt.Errorf("output: %w", err)
	}
	return path, nil
}

// checkOutput refuses, before anything is looked for, what a fetch cannot write.
func checkOutput(args control.FetchArgs, name string) error {
	info, err := os.Lstat(args.Output)
	if err != nil {
		return nil // nothing is there, or it fails where the file is made
	}
	mode := info.Mode()
	switch path := core.Printable(args.Output); {
	case mode.IsDir():
		in := "FILE"
		if file.CheckName(name) == nil {
			in = name
		}
		return core.WithHint(line.UsageError("%s is a directory", path), "name the file to write: -o %s",
			core.Printable(filepath.Join(args.Output, in)))
	case mode&(os.ModeNamedPipe|os.ModeSocket|os.ModeCharDevice) != 0:
		return core.WithHint(line.UsageError("%s is not a file", path), "write to it through standard output: -o - "+
			"> %s", path)
	case !args.Force && mode&os.ModeDevice == 0:
		return core.WithHint(core.Fail(core.CodeFailed, "%s is there already", path), "take another name with -o "+
			"FILE, or replace it with --force")
	}
	return nil
}

// fetch reads what is wholly on this machine without a node, and asks one else; what a share is of it fetches by that.
func fetch(ctx context.Context, c *command.Call, args control.FetchArgs, s *key.Share) (control.FetchResult, error) {
	if s != nil {
		return fetchShared(ctx, c, args, s)
	}
	o, err := knownOwner(c)
	if err != nil {
		return control.FetchResult{}, err
	}
	alone := c.PeerList(o) == "" && !c.Dir.HasNode()
	here, err := c.Dir.Fetch(ctx, o, &args, alone, c.Phase)
	switch {
	case errors.Is(err, datadir.ErrNobodyToAsk):
		return here, core.WithHint(err,
			`name those that keep it with --peers wss://HOST:8001-20MiB, or peers = "…" in %s; `+
				"--partial brings what is here", c.Settings.Path)
	case !errors.Is(err, datadir.ErrElsewhere):
		return here, err
	}
	r, err := session.Ask[control.FetchResult](ctx, c.Opener, control.CommandFetch, args)
	r.Bytes += here.Bytes
	for _, x := range here.Sources {
		r.Sources = withSource(r.Sources, x)
	}
	return r, err
}

// knownOwner opens the identity, which must be here: a new one has nothing to fetch.
func knownOwner(c *command.Call) (*key.Owner, error) {
	o, err := c.Reader()
	if err == nil && o == nil {
		err = core.WithHint(core.Fail(core.CodeRefused, "no identity in %s", c.Dir),
			"bring yours with bkp key import FILE")
	}
	return o, err
}

// withSource adds what a source gave to what it gave already.
func withSource(list []control.Source, more control.Source) []control.Source {
	for i := range list {
		if list[i].Node == more.Node {
			list[i].Bytes += more.Bytes
			return list
		}
	}
	return append(list, more)
}

// fetchToOut fetches to standard output: the bytes come in order, verified, and with a bounded read-ahead, whichever
// process assembles them.
func fetchToOut(ctx context.Context, c *command.Call, args control.FetchArgs, s *key.Share) error {
	if render.IsTerminal(c.Stdout) {
		return core.WithHint(line.UsageError("standard output is a terminal"), "bkp fetch %s -o - > FILE",
			core.Printable(args.Name))
	}
	args.Output, args.Out = "-", dataOut{c.Stdout}
	r, err := fetch(ctx, c, args, s)
	if err != nil && core.CodeOf(err) != core.CodePartial {
		return err
	}
	return errors.Join(c.Done(r, func(t *render.Table) { render.Fetch(t, r) }), err)
}

// dataOut is standard output where it takes the bytes of a file.
type dataOut struct{ io.Writer }

func (o dataOut) Write(p []byte) (int, error) {
	n, err := o.Writer.Write(p)
	if err != nil {
		if path, ok := errors.AsType[*fs.PathError](err); ok {
			err = path.Err
		}
		err = core.WithHint(fmt.Errorf("write to standard output: %w", err),
			"what was written so far is no whole file; fetch it again to where it can be written")
	}
	return n, err
}
