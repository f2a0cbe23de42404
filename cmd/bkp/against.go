// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/file"
)

// comparison is what bkp verify --against came to.
type comparison struct {
	Name    string       `json:"name"`
	Version int          `json:"version"`
	Bytes   core.Size    `json:"bytes"` // of the file
	Differ  core.Size    `json:"different_bytes"`
	Ranges  []core.Range `json:"-"`
}

// verifyAgainst holds a file against a version, whose manifest is on this machine.
func verifyAgainst(ctx context.Context, c *command.Call, name string, version int, path string) (err error) {
	if name == "" {
		return core.WithHint(line.UsageError("--against: which version?"), "bkp verify NAME --against FILE")
	}
	o, v, err := versionHere(c, name, version)
	if err != nil {
		return err
	}
	source, err := file.Open(path)
	if err != nil {
		return err
	}
	defer source.Close()
	local, err := c.Dir.OpenChunks(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, local.Close()) }()
	r := comparison{Name: v.Body.Name, Version: v.Ref.Version, Bytes: source.Size}
	r.Ranges, err = file.Against(ctx, v.Body.Root, local, source, chunk.NewSecrets(o.DedupSecret),
		c.Phase("compare", max(source.Size, 0)))
	if err != nil {
		return err
	}
	for _, d := range r.Ranges {
		r.Differ += core.Size(d.Length)
	}
	title := render.Versioned(r.Name, r.Version)
	err = render.List(c.Console, r.Ranges, r, func(t *render.Table) {
		render.Ranges(t, r.Ranges, c.Bool("all"))
		if len(r.Ranges) == 0 {
			t.Line("%s is %s, byte for byte (%s).", core.Printable(path), title, r.Bytes)
		}
	})
	if err == nil && len(r.Ranges) > 0 {
		err = core.WithHint(core.Fail(core.CodeWrong, "%s differs from %s in %s (%s)", core.Printable(path), title,
			r.Differ, render.Counted(len(r.Ranges), "range")), "bkp split %s makes a version of what it is now", path)
	}
	return err
}
