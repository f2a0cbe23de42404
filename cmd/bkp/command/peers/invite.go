// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"context"
	"time"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/cmd/bkp/session"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/urfave/cli/v2"
)

// Invite is bkp invite.
func Invite() *cli.Command {
	return command.New(command.Spec{
		Name: "invite", Usage: "let a new machine join this node's cluster, by a code",
		About: "It prints one code, which says where this node is reached, what its key is, and a secret. On the new " +
			"machine bkp join CODE takes it, and bkp node start meets the cluster then. Whoever has the code may " +
			"join, so pass it on as you would a password. What --quota allows counts at this node, over all " +
			"owners who come by the invite. Who comes by an invite for several nodes has its name as zone, unless " +
			"--label zone= says another: the strategy zone-spread then takes them for one.",
		Examples: `bkp invite
			bkp invite --uses 4 --expires 2h --label zone=berlin
			bkp invite --quota 500GiB --address backup.example:8001
			bkp invite --list
			bkp invite --revoke 3f0a`,
		Flags: []cli.Flag{
			line.Int("uses", 1, "let `N` machines come by it"),
			line.Text("expires", "24h", "let it stand for `SPAN`, as 2h or 7d"),
			line.List("label", "give who comes the label `K=V` (repeatable)"),
			line.Text("quota", "", "keep at most `SIZE` for owners who come by it"),
			line.Text("address", "", "say that this node is reached at `HOST:PORT`"),
			line.Bool("list", "list the invites, and who came by them"),
			line.Text("revoke", "", "end the invite whose name begins with `NAME`"),
		},
		Do: func(ctx context.Context, c *command.Call) error {
			if c.Bool("list") || c.Given("revoke") {
				r, err := session.AskRunning[control.InvitesResult](ctx, c.Opener, control.CommandInvites,
					control.InvitesArgs{Revoke: c.String("revoke")})
				if err != nil {
					return err
				}
				return render.List(c.Console, r.Invites, invitesSummary{len(r.Invites)}, func(t *render.Table) {
					render.Invites(t, r.Invites)
				})
			}
			args, err := inviteArgs(c)
			if err != nil {
				return err
			}
			r, err := session.AskRunning[control.InviteResult](ctx, c.Opener, control.CommandInvite, args)
			if err != nil {
				return err
			}
			return c.Result(r, func(t *render.Table) { render.Invited(t, r) })
		},
	})
}

type invitesSummary struct {
	Invites int `json:"invites"`
}

// inviteArgs is what the command line says of an invite. What config.toml says of labels is the node's own.
func inviteArgs(c *command.Call) (args control.InviteArgs, err error) {
	args.Uses = c.Int("uses")
	span, err := c.Span("expires")
	if err != nil {
		return args, err
	}
	args.ExpiresS = int64(span / time.Second)
	if c.Given("label") {
		if args.Labels, err = line.Labelled("label", c.List("label")); err != nil {
			return args, err
		}
	}
	if args.Quota, err = c.Size("quota"); err != nil {
		return args, err
	}
	args.Address = c.String("address")
	return args, nil
}
