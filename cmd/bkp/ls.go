// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/datadir"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/cmd/bkp/session"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/urfave/cli/v2"
)

func lsCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "ls", Usage: "list the names and their versions",
		About: "Lists what this data directory knows. With --peers, --remote or on a machine that knows nothing " +
			"yet, the peers are asked too.",
		Examples: `bkp ls
			bkp ls --json
			bkp ls --peers wss://a.example:8001 --token-file token`,
		Flags: command.NodeFlags(line.Bool("remote", "ask the peers too")),
		Reads: true,
		Do: func(ctx context.Context, c *command.Call) error {
			r, damaged := versions(ctx, c)
			if damaged != nil && core.CodeOf(damaged) != core.CodeWrong {
				return damaged
			}
			return errors.Join(render.List(c.Console, r.Versions, lsSummary{len(r.Versions), r.Problems},
				func(t *render.Table) {
					if len(r.Versions) == 0 {
						t.Line("no names yet: bkp split FILE")
					} else {
						t.Header("name", "version", "size", "created", "placed", "content")
						t.Spare("created", "content")
					}
					for _, v := range r.Versions {
						t.Row(v.Name, v.Version, v.Size, time.Unix(v.Created, 0), placed(v), whereabouts(v))
					}
					for _, p := range r.Problems {
						t.Line("%s", p)
					}
				}), damaged)
		},
	})
}

// versionHere finds a version that this data directory knows, and its owner; 0 is the newest.
func versionHere(c *command.Call, name string, version int) (o *key.Owner, v datadir.Version, err error) {
	if o, err = c.Reader(); err == nil && o == nil {
		err = datadir.NoSuchName(name, version)
	}
	if err == nil {
		v, err = c.Dir.Refs().Find(o, name, version)
	}
	return o, v, err
}

// placed says how many copies there are, where that is on record; of stripes how many losses the worst bears, and one.
func placed(v control.VersionRow) any {
	if v.Wanted == 0 {
		return v.Placed
	}
	if !v.Erasure.IsZero() {
		return fmt.Sprintf("%d of %d, %s", v.Copies, v.Wanted, v.Erasure)
	}
	return fmt.Sprintf("%d of %d", v.Copies, v.Wanted)
}

// whereabouts says where a fetch would find a version's content.
func whereabouts(v control.VersionRow) string {
	if v.Local && !v.Away {
		return "here"
	}
	return "at peers"
}

type lsSummary struct {
	Versions int      `json:"versions"`
	Problems []string `json:"problems,omitempty"`
}

// versions lists the refs here, and those of the peers where that is asked for or nothing is here. Where some here are
// damaged it lists the others, and the error is core.CodeWrong.
func versions(ctx context.Context, c *command.Call) (r control.ListResult, err error) {
	o, err := c.OwnerIfAny()
	if err != nil {
		return r, err
	}
	if o == nil {
		return r, core.WithHint(core.Fail(core.CodeNoName, "no identity in %s yet", string(c.Dir)),
			"bkp split FILE makes one, bkp key import FILE takes one over")
	}
	refs, err := c.Dir.Refs().Open(o)
	if err != nil && core.CodeOf(err) != core.CodeWrong {
		return r, err
	}
	asked := c.Given("peers") || c.Bool("remote")
	if limit := o.MayRead(); limit != nil && asked {
		return r, limit
	} else if asked || limit == nil && len(refs) == 0 && c.PeerList(o) != "" {
		return session.Ask[control.ListResult](ctx, c.Opener, control.CommandList, control.ListArgs{})
	}
	for _, v := range refs {
		copies, wanted := v.Copies()
		r.Versions = append(r.Versions, control.VersionRow{
			Name: v.Body.Name, Version: v.Ref.Version, Size: v.Body.Size, Created: v.Ref.Created,
			Placed: v.Placed(), Root: v.Body.Root.Hash, Local: true, Away: v.Offloaded,
			Copies: copies, Wanted: wanted, Erasure: v.Erasure(),
		})
	}
	return r, err
}
