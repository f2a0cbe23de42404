// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/datadir"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/core"
)

// diffSummary is how one version differs from another.
type diffSummary struct {
	Old string `json:"old"`
	New string `json:"new"`
	datadir.Difference
}

func doDiff(ctx context.Context, c *command.Call) error {
	if c.NArg() != 2 {
		return core.WithHint(line.UsageError("--diff wants two versions"), "bkp show --diff big.iso@1 big.iso@2")
	}
	o, err := c.Reader()
	if err != nil {
		return err
	}
	var versions [2]datadir.Version
	for i := range versions {
		name, version, err := line.NameVersion(c.Args().Get(i))
		if err == nil && o == nil {
			err = datadir.NoSuchName(name, version)
		}
		if err == nil {
			versions[i], err = c.Dir.Refs().Find(o, name, version)
		}
		if err != nil {
			return err
		}
	}
	local, err := c.Dir.OpenChunks(ctx)
	if err != nil {
		return err
	}
	defer local.Close()
	d, err := local.Compare(ctx, versions[0], versions[1])
	if err != nil {
		return err
	}
	sum := diffSummary{versions[0].Title(), versions[1].Title(), d}
	return render.List(c.Console, sum.Ranges, sum, func(t *render.Table) {
		render.Ranges(t, sum.Ranges, c.Bool("all"))
		t.Line("%s adds %s in %s of %s to %s, stored in %s; %s of it would go without %s", sum.New,
			render.Counted(sum.Chunks, "chunk"),
			render.Counted(sum.Places, "range"), sum.Bytes, sum.Old, sum.Stored, sum.GoneStored, sum.Old)
	})
}
