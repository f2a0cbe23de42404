// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/urfave/cli/v2"
)

func configCommand() *cli.Command {
	return command.Group("config", "show the settings", command.New(command.Spec{
		Name:  "show",
		Usage: "show every setting, its value and where it comes from",
		About: "A flag wins over BKP_* in the environment, that over config.toml, and that over the default.",
		Examples: `bkp config show
		bkp config show --data /srv/bkp --json`,
		Do: func(_ context.Context, c *command.Call) error {
			rows := c.Settings.Origins(c.App, c.Context)
			return render.List(c.Console, rows, configSummary{c.Settings.Path, c.Settings.Data}, func(t *render.Table) {
				t.Header("key", "value", "from")
				for _, r := range rows {
					t.Row(r.Key, r.Value, r.From)
				}
			})
		},
	}))
}

type configSummary struct {
	Config string `json:"config"`
	Data   string `json:"data"`
}
