package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bkp-tool/bkp/cmd/bkp/datadir"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/cmd/bkp/session"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/file"
	"github.com/urfave/cli/v2"
)

func fetchCommand() *cli.Command {
	return command(spec{
		name: "fetch", args: "NAME[@VERSION]", least: 1, most: 1,
		usage: "bring a file back",
		about: "What is on this machine is read here, the rest comes from all peers that keep it at once. Every " +
			"chunk is verified; the file appears under its name when every byte is in place, or not at all, with " +
			"the mode that it was split with; where none is known, for its owner alone.",
		examples: `bkp fetch big.iso
			bkp fetch big.iso@1 -o old.iso
			bkp fetch backup.tar -o - | tar -x
			bkp fetch disk.img --seed last-week.img -o today.img
			bkp fetch disk.img --range 1GiB-2GiB -o part
			bkp fetch big.iso --peers wss://a.example:8001 --token-file token`,
		flags: append(append([]cli.Flag{
			line.Text("output", "", "write `FILE`, or standard output for - (default: NAME in this directory)", "o"),
			line.Bool("force", "replace the file, or the link, that is there; or write onto a block device"),
			line.Text("range", "", "bring the bytes `A-B` only: from A on, up to and without B"),
			line.Text("seed", "", "take what an older version of the file at `PATH` already has from there"),
			line.Bool("partial", "where bytes are lost, write the rest and name the holes (exit code 3)"),
		}, networkFlags()...), identityFlags()...),
		reads: true,
		do:    doFetch,
	})
}

func doFetch(ctx context.Context, c *call) error {
	name, version, err := line.NameVersion(c.Args().First())
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
		return c.fetchToOut(ctx, args)
	}
	if args.Output, err = outputPath(c.String("output"), name); err != nil {
		return err
	}
	if err := checkOutput(args, name); err != nil {
		return err
	}
	r, err := c.fetch(ctx, args)
	if err != nil && core.CodeOf(err) != core.CodePartial {
		return err
	}
	return errors.Join(c.Result(r, func(t *render.Table) { render.Fetch(t, r) }), err)
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
	if start >= end {
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
		return core.WithHint(line.UsageError("%s is not a file", path), "write to it through standard output: -o - > "+
			"%s", path)
	case !args.Force && mode&os.ModeDevice == 0:
		return core.WithHint(core.Fail(core.CodeFailed, "%s is there already", path), "take another name with -o "+
			"FILE, or replace it with --force")
	}
	return nil
}

// fetch reads what is wholly on this machine without a node, and asks one else.
func (c *call) fetch(ctx context.Context, args control.FetchArgs) (control.FetchResult, error) {
	here, err := c.fetchHere(ctx, &args)
	if !errors.Is(err, errNotHere) {
		return here, err
	}
	r, err := session.Ask[control.FetchResult](ctx, c.Opener, control.CommandFetch, args)
	r.Bytes += here.Bytes
	for _, s := range here.Sources {
		r.Sources = withSource(r.Sources, s)
	}
	return r, err
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

// errNotHere is what fetchHere returns where a part of the version is on other machines only.
var errNotHere = errors.New("not wholly on this machine")

// fetchHere fetches what is wholly on this machine. With errNotHere, args are what is left to fetch: all, or, where a
// stream has taken bytes before the first damaged chunk, what comes behind them; the result says how many.
func (c *call) fetchHere(ctx context.Context, args *control.FetchArgs) (r control.FetchResult, err error) {
	began := time.Now()
	o, err := c.OwnerIfAny()
	if err != nil {
		return r, err
	}
	if o == nil {
		return r, core.WithHint(core.Fail(core.CodeRefused, "no identity in %s", string(c.dir)),
			"bring yours with bkp key import FILE")
	}
	v, err := c.dir.Refs().Find(o, args.Name, args.Version)
	if core.CodeOf(err) == core.CodeNoName {
		if c.PeerList(o) == "" && !c.dir.HasNode() {
			return r, err
		}
		return r, errNotHere
	}
	if err != nil {
		return r, err
	}
	local, err := c.dir.OpenChunks(ctx)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, local.Close()) }()
	alone := c.PeerList(o) == "" && !c.dir.HasNode()
	if !alone || !args.Partial { // else there is nobody to ask for what is lost here
		whole, err := local.Complete(ctx, v.Body.Root)
		if err == nil && !whole {
			err = errNotHere
		}
		if core.CodeOf(err) == core.CodeWrong && !alone {
			err = errNotHere
		}
		if err != nil {
			return r, c.nowhere(err, v, alone)
		}
	}
	done, err := file.Restore{
		Assembly: file.Assembly{
			Root: v.Body.Root, Secrets: chunk.NewSecrets(o.DedupSecret), Local: local, Start: args.Start, End: args.End,
			Partial: args.Partial, Progress: c.Phase("fetch", wanted(*args, v.Body.Size)),
		},
		Path: args.Output, Out: args.Out, Force: args.Force, Seed: args.Seed, Mode: v.Body.Mode,
	}.Run(ctx)
	if core.CodeOf(err) == core.CodeWrong && !alone { // not whole, and others may have what is damaged here
		if args.Out == nil || done.Passed == 0 { // a file finds again what is in place
			return r, errNotHere
		}
		args.End = args.Start + wanted(*args, v.Body.Size)
		args.Start, args.Version = args.Start+done.Passed, v.Ref.Version
		return control.FetchResult{Bytes: done.Passed, Sources: []control.Source{{Address: "this machine",
			Bytes: done.Stored}}}, errNotHere
	}
	if err == nil {
		err = done.Lost(args.Output)
	}
	if err != nil && core.CodeOf(err) != core.CodePartial {
		return r, c.nowhere(err, v, alone)
	}
	return control.FetchResult{
		Name: args.Name, Version: v.Ref.Version, Output: args.Output, Bytes: wanted(*args,
			v.Body.Size), Seconds: time.Since(began).Seconds(),
		Sources: []control.Source{{Address: "this machine",
			Bytes: done.Stored}}, Resumed: done.Resumed, Seeded: done.Seeded, Holes: done.Holes,
	}, err
}

// nowhere adds the next step where what is damaged or missing here can be had from nobody else.
func (c *call) nowhere(err error, v datadir.Version, alone bool) error {
	switch {
	case errors.Is(err, errNotHere) && !alone:
		return err
	case errors.Is(err, errNotHere):
		err = core.WithHint(core.Fail(core.CodeRedundant, "a part of it is not on this machine, and no peers are "+
			"known"),
			`name those that keep it with --peers wss://HOST:8001-20MiB, or peers = "…" in %s; --partial brings what is here`,
			c.Settings.Path)
	case core.CodeOf(err) == core.CodeWrong:
		err = core.WithHint(err, "if the file is still there, bkp split it again: what is damaged is stored anew; "+
			"--partial brings all but the damaged bytes")
	}
	return fmt.Errorf("%s: %w", render.Versioned(v.Body.Name, v.Ref.Version), err)
}

// wanted is how many bytes of a file of that size are asked for.
func wanted(args control.FetchArgs, size core.Size) core.Size {
	if args.End > 0 {
		return args.End - args.Start
	}
	return size
}

// fetchToOut fetches to standard output: the bytes come in order, verified, and with a bounded read-ahead, whichever
// process assembles them.
func (c *call) fetchToOut(ctx context.Context, args control.FetchArgs) error {
	if render.IsTerminal(c.Stdout) {
		return core.WithHint(line.UsageError("standard output is a terminal"), "bkp fetch %s -o - > FILE",
			core.Printable(args.Name))
	}
	args.Output, args.Out = "-", dataOut{c.Stdout}
	r, err := c.fetch(ctx, args)
	if err != nil && core.CodeOf(err) != core.CodePartial {
		return err
	}
	return errors.Join(c.Result(r, func(t *render.Table) { render.Fetch(t, r) }), err)
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
