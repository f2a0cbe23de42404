// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/cmd/bkp/session"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/urfave/cli/v2"
)

func healthCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "health", Usage: "end with 0 once the node of this data directory is ready, with 3 while it is degraded",
		About: "A degraded node runs, but something is wrong with it: the command says what. Until that is mended " +
			"it may accept nothing new from peers; what it keeps it goes on serving.",
		Examples: "bkp health --data /srv/bkp\nbkp health --json",
		Do: func(ctx context.Context, c *command.Call) error {
			ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			r, err := session.AskRunning[control.StatusResult](ctx, c.Opener, control.CommandStatus, control.None{})
			if err != nil {
				return err
			}
			err = c.Done(health{r.ID, r.Health, r.Ready, r.Reasons, r.Peers}, func(t *render.Table) {
				t.Line("%s: node %s, %s connected", r.Health, r.ID.Short(), render.Counted(r.Peers, "peer"))
			})
			return errors.Join(err, degraded(r.Reasons))
		},
	})
}

type health struct {
	ID      core.ID                `json:"id"`
	Health  string                 `json:"health"`
	Ready   bool                   `json:"ready"`
	Reasons []control.HealthReason `json:"reasons"`
	Peers   int                    `json:"peers"`
}

// degraded is what is wrong with a node; nil where nothing is.
func degraded(reasons []control.HealthReason) error {
	var all []error
	for _, r := range reasons {
		all = append(all, fmt.Errorf("degraded since %s: %s", render.Cell(r.Since), r.Text))
	}
	return core.WithCode(core.CodePartial, errors.Join(all...))
}
