package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/file"
	"github.com/bkp-tool/bkp/core/node"
	"github.com/urfave/cli/v2"
)

func fetchCommand() *cli.Command {
	return command(spec{
		name: "fetch", args: "NAME[@VERSION]", least: 1, most: 1,
		usage: "bring a file back",
		about: "What is on this machine is read here, the rest comes from all holders at once. Every chunk is verified; the file " +
			"appears under its name when every byte is in place, or not at all.",
		examples: `bkp fetch big.iso
			bkp fetch big.iso@1 -o old.iso
			bkp fetch backup.tar -o - | tar -x
			bkp fetch big.iso --peers wss://a.example:8001 --token-file token`,
		flags: append(append([]cli.Flag{
			textFlag("output", "", "write `FILE`, or standard output for - (default: NAME in this directory)", "o"),
			boolFlag("force", "replace a file that is there"),
		}, networkFlags()...), identityFlags()...),
		do: doFetch,
	})
}

func doFetch(ctx context.Context, c *call) error {
	name, version, err := nameVersion(c.Args().First())
	if err != nil {
		return err
	}
	args := node.FetchArgs{Name: name, Version: version, Force: c.Bool("force")}
	if c.String("output") == "-" {
		c.dataOut = true
		return c.fetchToOut(ctx, args)
	}
	if args.Output, err = outputPath(c.String("output"), name); err != nil {
		return err
	}
	if _, err := os.Lstat(args.Output); err == nil && !args.Force {
		return core.WithHint(core.Fail(core.CodeFailed, "%s is there already", clean(args.Output)), "take another name with -o FILE, or replace it with --force")
	}
	r, err := c.fetch(ctx, args)
	if err != nil {
		return err
	}
	return c.result(r, func(t *table) { drawFetch(t, r) })
}

// outputPath is where a fetch writes: the file that -o names, else NAME in the working directory, if that is a safe name.
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

// fetch reads what is wholly on this machine without a node, and asks one else.
func (c *call) fetch(ctx context.Context, args node.FetchArgs) (node.FetchResult, error) {
	r, err := c.fetchHere(ctx, args)
	if !errors.Is(err, errNotHere) {
		return r, err
	}
	return ask[node.FetchResult](ctx, c, node.CommandFetch, args)
}

// errNotHere is what fetchHere returns where a part of the version is on other machines only.
var errNotHere = errors.New("not wholly on this machine")

func (c *call) fetchHere(ctx context.Context, args node.FetchArgs) (r node.FetchResult, err error) {
	began := time.Now()
	o, err := c.ownerIfAny()
	if err != nil {
		return r, err
	}
	if o == nil {
		return r, core.WithHint(core.Fail(core.CodeRefused, "no identity in %s", c.house.dir), "bring yours with bkp key import FILE")
	}
	v, err := c.house.refs().find(o, args.Name, args.Version)
	if core.CodeOf(err) == core.CodeNoName {
		if c.peerList(o) == "" && !c.house.hasNode() {
			return r, err
		}
		return r, errNotHere
	}
	if err != nil {
		return r, err
	}
	local, err := c.house.localChunks()
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, local.Close()) }()
	if whole, err := local.complete(ctx, v.body.Root); err != nil || !whole {
		return r, errors.Join(err, errNotHereUnless(err))
	}
	target, err := file.Create(args.Output, v.body.Size, args.Force)
	if err != nil {
		return r, err
	}
	stored, err := file.Join(ctx, file.JoinInput{Root: v.body.Root, Source: local, Target: target, Progress: c.phase("fetch", v.body.Size)})
	if err != nil {
		target.Abort()
		return r, fmt.Errorf("%s: %w", versioned(args.Name, v.ref.Version), err)
	}
	if err := target.Commit(); err != nil {
		return r, err
	}
	return node.FetchResult{
		Name: args.Name, Version: v.ref.Version, Output: args.Output, Bytes: v.body.Size,
		Seconds: time.Since(began).Seconds(), Sources: []node.Source{{Address: "this machine", Bytes: stored}},
	}, nil
}

func errNotHereUnless(err error) error {
	if err != nil {
		return nil
	}
	return errNotHere
}

// phase shows the progress of one phase of known size.
func (c *call) phase(name string, total core.Size) func(done core.Size) {
	began := time.Now()
	return func(done core.Size) {
		c.status(node.Status{Phase: name, Done: done, Total: total, Seconds: time.Since(began).Seconds()})
	}
}

// fetchToOut fetches into a temporary file of the data directory and copies it out: what is printed is verified to the last byte.
func (c *call) fetchToOut(ctx context.Context, args node.FetchArgs) error {
	if isTerminal(c.out) {
		return core.WithHint(usageError("standard output is a terminal"), "bkp fetch %s -o - > FILE", clean(args.Name))
	}
	if err := c.house.make(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(c.house.dir, "fetch-")
	if err != nil {
		return fmt.Errorf("make room for the file: %w", err)
	}
	defer os.RemoveAll(dir)
	args.Output = filepath.Join(dir, "file")
	r, err := c.fetch(ctx, args)
	if err != nil {
		return err
	}
	f, err := os.Open(args.Output)
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	defer f.Close()
	_ = os.RemoveAll(dir) // gone even if this process is killed while it copies
	if _, err := io.Copy(c.out, f); err != nil {
		return fmt.Errorf("write to standard output: %w", err)
	}
	r.Output = "-"
	return c.result(r, func(t *table) { drawFetch(t, r) })
}

func drawFetch(t *table, r node.FetchResult) {
	t.header("from", "address", "stored bytes")
	for _, s := range r.Sources {
		t.row(s.Node, s.Address, s.Bytes)
	}
	for _, l := range r.Lost {
		t.line("lost %s %s on the way: %s", l.Node.Short(), l.Address, l.Reason)
	}
	t.line("Fetched %s to %s: %s in %s.", versioned(r.Name, r.Version), r.Output, r.Bytes, seconds(r.Seconds))
}
