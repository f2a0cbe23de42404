// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"log/slog"
	"slices"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/datadir"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/commands"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/placements"
	"github.com/bkp-tool/bkp/core/repair"
	"github.com/urfave/cli/v2"
)

func statusCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "status", Args: "[NAME[@VERSION]]", Most: 1,
		Usage: "show how many copies count of what was placed, and what is done about those that do not",
		About: "A copy counts once its holder signed for it, proved to have it, and keeps what it is found by. " +
			"A running node has copies proved again, and makes anew what is lost: after a grace where its holder " +
			"is merely away. The command ends with 0 where as many copies count as are wanted, with 3 where some " +
			"are being made, and with 13 where they cannot be, or no node runs that would.",
		Examples: "bkp status\nbkp status big.iso\nbkp status --json | jq .copies",
		Reads:    true,
		Do: func(ctx context.Context, c *command.Call) error {
			r, err := standings(ctx, c)
			if err != nil {
				return err
			}
			return errors.Join(showStandings(c, r), render.Lacking("status", r))
		},
	})
}

// standings asks the running node, or, where none runs, reads what is on record.
func standings(ctx context.Context, c *command.Call) (r control.StandingResult, err error) {
	name, version, err := line.NameVersion(c.Args().First())
	if err != nil {
		return r, err
	}
	if caller, err := c.Running(); err == nil {
		err = caller.Call(ctx, control.CommandStanding, control.StandingArgs{Name: name, Version: version}, &r, c.Status)
		return r, err
	}
	o, err := c.OwnerIfAny()
	switch {
	case err != nil:
		return r, err
	case o == nil && name != "":
		return r, datadir.NoSuchName(name, version)
	case o == nil:
		return r, nil
	}
	refs, err := c.Dir.Refs().Open(o)
	if err != nil {
		return r, err
	}
	names := map[string]string{}
	for _, v := range refs {
		names[placements.Name(v.Ref.Alias, v.Ref.Version)] = v.Body.Name
	}
	all, err := repair.New(repair.Config{}, nobody{}, c.Dir.Placements(), slog.New(slog.DiscardHandler)).Standings()
	var found []repair.Standing
	for _, s := range all {
		if is := names[s.Record.Name()]; is != "" && (name == "" || is == name) && (version == 0 || s.Version == version) {
			s.Away = nil // nobody looked
			found = append(found, s)
		}
	}
	if err == nil && len(found) == 0 && name != "" {
		err = core.WithHint(core.Fail(core.CodeNoName, "status: no placement of %s is on record here", name),
			"bkp ls lists what there is; bkp place %s places it", name)
	}
	return commands.StandingRows(found, names, false), err
}

// nobody is a node that does not run.
type nobody struct{ repair.Node }

func (nobody) ID() core.ID        { return core.ID{} }
func (nobody) Ready() error       { return nil }
func (nobody) Reached() []core.ID { return nil }

// showStandings lists them, and says where nobody has copies made anew.
func showStandings(c *command.Call, r control.StandingResult) error {
	here := func(p control.Standing) bool { return p.Coordinator == nil }
	if !r.Watched && slices.ContainsFunc(r.Placements, here) {
		c.Say("nobody watches: no node of %s runs that keeps what was placed; have one: bkp node start", string(c.Dir))
	}
	return render.Standings(c.Console, r)
}
