// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/datadir"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/manifest"
	"github.com/urfave/cli/v2"
)

func showCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "show", Args: "NAME[@VERSION] [OTHER[@VERSION]]", Least: 1, Most: 2,
		Usage: "show how a version is put together: its tree and its chunks",
		About: "For people: the tree of nodes, then the first chunks (all of them with --all). With --json: every " +
			"entry of the manifest as {name, type, order, hash, size}, in order; sizes are stored bytes. With " +
			"--diff: the stretches of the second version that are in chunks the first does not have.",
		Examples: "bkp show big.iso\nbkp show big.iso@1 --all\nbkp show big.iso --json\nbkp show --diff big.iso@1 " +
			"big.iso@latest",
		Flags: append(command.IdentityFlags(), line.Bool("all", "list every chunk, or every range"),
			line.Bool("diff", "show what the second version adds to the first")),
		Do: doShow,
	})
}

// shownVersion is the summary of a version.
type shownVersion struct {
	Name    string    `json:"name"`
	Version int       `json:"version"`
	Bytes   core.Size `json:"bytes"`
	Chunks  int       `json:"chunks"`
	Nodes   int       `json:"nodes"` // tree nodes
	Stored  core.Size `json:"stored_bytes"`
	Cut     string    `json:"cut"`
	Root    core.Hash `json:"root"`
	Placed  bool      `json:"placed"`
}

func doShow(ctx context.Context, c *command.Call) error {
	if c.Bool("diff") {
		return doDiff(ctx, c)
	}
	if c.NArg() > 1 {
		return core.WithHint(line.UsageError("shows one version, got %d", c.NArg()), "two are compared with --diff")
	}
	name, version, err := line.NameVersion(c.Args().First())
	if err != nil {
		return err
	}
	_, v, err := versionHere(c, name, version)
	if err != nil {
		return err
	}
	local, err := c.Dir.OpenChunks(ctx)
	if err != nil {
		return err
	}
	defer local.Close()
	sum, tree, files, err := walk(ctx, c, v, local)
	if errors.Is(err, core.ErrNotFound) {
		return core.WithHint(core.Fail(core.CodeRedundant, "%s: its manifest is not on this machine: %w",
			render.Versioned(v.Body.Name, v.Ref.Version), err),
			"bring it back with bkp fetch")
	}
	if err != nil {
		return err
	}
	return c.Result(sum, func(t *render.Table) {
		t.Line("%s: %s in %s, stored in %s, cut %s", render.Versioned(sum.Name, sum.Version), sum.Bytes,
			render.Counted(sum.Chunks, "chunk"), sum.Stored, sum.Cut)
		for _, l := range tree {
			t.Line("%s", l)
		}
		render.Files(t, files)
		if more := sum.Chunks - len(files); more > 0 {
			t.Line("… and %s more: --all lists them", render.Counted(more, "chunk"))
		}
	})
}

// walk visits the manifest. With --json it prints entries as it meets them; else it returns what a person is to see.
func walk(ctx context.Context, c *command.Call, v datadir.Version, local *datadir.Chunks) (sum shownVersion,
	tree []string, files []core.File, err error) {
	info, err := manifest.Stat(v.Body.Root, local)
	if err != nil {
		return sum, nil, nil, fmt.Errorf("manifest: %w", err)
	}
	sum = shownVersion{
		Name: v.Body.Name, Version: v.Ref.Version, Bytes: info.Size, Root: v.Body.Root.Hash, Placed: v.Placed(),
		Cut: fmt.Sprintf("%s %s", info.Method, core.Size(info.Avg)),
	}
	err = manifest.Nodes(v.Body.Root, local, func(e manifest.Entry) error {
		f := e.File()
		if f.Name == "" { // the root stands for the file itself
			f.Name = v.Body.Name
		}
		sum.Stored += f.Size
		if e.Type == core.TypeDirectory {
			sum.Nodes++
			tree = append(tree, treeLine(e))
		} else {
			sum.Chunks++
		}
		if c.JSON {
			return errors.Join(c.Object("", f), context.Cause(ctx))
		}
		if e.Type == core.TypeFile && (c.Bool("all") || len(files) < render.Few) {
			files = append(files, f)
		}
		return context.Cause(ctx)
	})
	if err != nil {
		err = fmt.Errorf("manifest: %w", err)
	}
	return sum, tree, files, err
}

// treeLine shows a tree node by its place in the tree.
func treeLine(e manifest.Entry) string {
	depth, name := 0, "/"
	if e.Name != "" {
		depth, name = strings.Count(e.Name, "/")+1, e.Name+"/"
	}
	return fmt.Sprintf("%s%s  %s at %s  %s", strings.Repeat("  ", depth), name, e.Span, e.Offset,
		e.Chunk.Hash.String()[:16])
}
