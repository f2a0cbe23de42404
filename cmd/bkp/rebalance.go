// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"strings"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/cmd/bkp/session"
	"github.com/bkp-tool/bkp/core/control"
)

// rebalance is place --rebalance: what is placed moves, and nothing else that place does is asked for.
func rebalance(ctx context.Context, c *command.Call) error {
	for _, flag := range []string{"replicas", "erasure", "strategy", "frontier", "explain", "plan-out", "plot", "plan",
		"retain", "lock", "exclude", "only", "keep-local", "objective", "blend", "deadline"} {
		if c.Given(flag) {
			return line.UsageError("--rebalance and --%s: what was placed moves, by what it was placed by", flag)
		}
	}
	name, version, err := line.NameVersion(c.Args().First())
	if err != nil {
		return err
	}
	r, err := session.Ask[control.RebalanceResult](ctx, c.Opener, control.CommandRebalance,
		control.RebalanceArgs{Name: name, Version: version, DryRun: c.Bool("dry-run")})
	if err != nil {
		return err
	}
	return c.Result(r, func(t *render.Table) {
		if len(r.Moved) == 0 {
			t.Line("Nothing to move: no holder is nearly full or clearly dearer than who has room.")
			return
		}
		t.Header("version", "node", "bytes", "")
		for _, m := range r.Moved {
			title := render.Versioned(m.Name, m.Version)
			for _, x := range m.From {
				t.Row(title, who(x), x.Bytes, "leaves: "+x.Why)
			}
			for _, x := range m.To {
				t.Row(title, who(x), x.Bytes, "takes over")
			}
		}
	})
}

func who(x control.Moved) string { return strings.TrimSpace(x.Node.Short() + " " + x.Address) }
