// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	_ "time/tzdata" // calendars name time zones, and a container may have none

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/cmd/bkp/session"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/urfave/cli/v2"
)

// calendarHelp tells how a calendar is written.
const calendarHelp = "A bandwidth is a rate (20MiB, 100Mbit, or KiB per second), the word unlimited, or a " +
	"calendar: windows [DAY[-DAY]] HH:MM-HH:MM=RATE, the first that holds the moment counts, then else=RATE. A " +
	"window past midnight belongs to the day on which it begins. tz=ZONE in front names the time zone; without it " +
	"the machine's own counts."

func limitCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "limit", Usage: "change what the running node gives its sides and links, at once",
		About: "Without flags it shows what the node gives now. Leases that no longer fit are scaled down, and the " +
			"peers are told. A change lasts " +
			"until the node stops; what is to last longer stands in config.toml. " + calendarHelp,
		Examples: `bkp node limit
			bkp node limit --uplink 5MiB
			bkp node limit --uplink 22:00-06:00=50MiB,else=5MiB --downlink unlimited
			bkp node limit --peer backup.example:8001 --link "tz=Europe/Berlin,mon-fri 08:00-18:00=1MiB,else=20MiB"`,
		Flags: []cli.Flag{
			line.Text("uplink", "", "send at most `RATE`, all links together"),
			line.Text("downlink", "", "receive at most `RATE`, all links together"),
			line.Text("peer", "", "change the link to `PEER`: its ID, the start of it, or its address"),
			line.Text("link", "", "give that link `RATE`"),
		},
		Do: func(ctx context.Context, c *command.Call) error {
			// What config.toml or the environment set is what the node was started with, not a change.
			said := func(flag string) (words string, err error) {
				if c.Given(flag) {
					if words = c.String(flag); words == "" {
						err = line.UsageError("--%s is empty", flag)
					}
				}
				return words, err
			}
			var args control.LimitArgs
			for flag, into := range map[string]*string{"uplink": &args.Uplink, "downlink": &args.Downlink,
				"peer": &args.Peer, "link": &args.Link} {
				words, err := said(flag)
				if err != nil {
					return err
				}
				if _, err := core.ParseCalendar(words); err != nil && words != "" && flag != "peer" {
					return line.UsageError("--%s: %w", flag, err)
				}
				*into = words
			}
			r, err := session.AskRunning[control.LimitResult](ctx, c.Opener, control.CommandLimit, args)
			if err != nil {
				return err
			}
			rows := make([]render.Limit, len(r.Limits))
			for i, l := range r.Limits {
				rows[i] = render.Limit{LimitRow: l, Lasts: c.Settings.Keeps(l)}
			}
			return render.List(c.Console, rows, limitSummary{len(rows), c.Settings.Path},
				func(t *render.Table) { render.Limits(t, rows, c.Settings.Path) })
		},
	})
}

type limitSummary struct {
	Limits int    `json:"limits"`
	Config string `json:"config"`
}
