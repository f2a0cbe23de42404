// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/urfave/cli/v2"
)

func configCommand() *cli.Command {
	return group("config", "show the settings", command(spec{
		name:  "show",
		usage: "show every setting, its value and where it comes from",
		about: "A flag wins over BKP_* in the environment, that over config.toml, and that over the default.",
		examples: `bkp config show
		bkp config show --data /srv/bkp --json`,
		do: func(_ context.Context, c *call) error {
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
