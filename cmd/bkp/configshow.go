package main

import (
	"context"
	"maps"
	"os"
	"slices"
	"strings"

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
			rows := c.set.origins(c.App, c.Context)
			return render.List(c.Console, rows, configSummary{c.set.path, c.set.data}, func(t *render.Table) {
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

type settingRow struct {
	Key   string `json:"key"`
	Value string `json:"value"`
	From  string `json:"from"` // "flag", "environment", "config.toml" or "default"
}

// origins lists every setting as a command would see it.
func (s settings) origins(app *cli.App, cc *cli.Context) []settingRow {
	var rows []settingRow
	given := app.Metadata["given"].(map[string]bool)
	for _, f := range settable(app) {
		name := f.Names()[0]
		row := settingRow{Key: name, From: "default"}
		if d, ok := f.(cli.DocGenerationFlag); ok && d.TakesValue() {
			row.Value = strings.Trim(d.GetDefaultText(), `"`)
		} else {
			row.Value = "false"
		}
		if value, ok := s.values[name]; ok {
			words, _ := setting(value)
			row.Value, row.From = strings.Join(words, ","), "config.toml"
		}
		if value, ok := os.LookupEnv(environmentName(name)); ok && value != "" {
			row.Value, row.From = value, "environment"
		}
		if given[name] {
			row.Value, row.From = cc.String(name), "flag"
		}
		if name == "data" {
			row.Value = s.data
		}
		rows = append(rows, row)
	}
	for _, t := range s.trunks {
		rows = append(rows, settingRow{"trunk", t.From + " to " + t.To + ": " + t.Rate.String(), "config.toml"})
	}
	for _, peer := range slices.Sorted(maps.Keys(s.links)) {
		rows = append(rows, settingRow{"links", peer + ": " + s.links[peer].String(), "config.toml"})
	}
	for _, id := range slices.Sorted(maps.Keys(s.issuers)) {
		rows = append(rows, settingRow{"issuers", id + " = " + s.issuers[id], "config.toml"})
	}
	return rows
}
