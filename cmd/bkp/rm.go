// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/cmd/bkp/session"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/urfave/cli/v2"
)

func rmCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "rm", Args: "NAME[@VERSION]", Least: 1, Most: 1,
		Usage: "forget a name or one version of it, here and at the peers that keep it",
		About: "Peers drop what no other version needs by themselves; what is staged here goes with bkp gc. The " +
			"version does not come back: where a peer that keeps it cannot be told now, the command ends with code 3 " +
			"and says which; a running node tells it when it is back. What is locked stays.",
		Examples: "bkp rm big.iso@1\nbkp rm big.iso@latest\nbkp rm big.iso\nbkp rm big.iso --force",
		Flags: command.NodeFlags(line.Bool("force",
			"forget it also where it is locked, and end with 0 where peers that keep it cannot be told yet")),
		Frees: true,
		Do: func(ctx context.Context, c *command.Call) error {
			name, version, err := line.NameVersion(c.Args().First())
			if err == nil && strings.HasSuffix(c.Args().First(), "@"+line.Latest) { // a name alone is all its versions
				version, err = newest(c, name)
			}
			if err != nil {
				return err
			}
			if _, err := c.Reader(); err != nil {
				return err
			}
			unlock, err := c.Dir.LockOffloaded()
			if err != nil {
				return err
			}
			defer unlock()
			c.Alone = true
			r, err := session.Ask[control.RemoveResult](ctx, c.Opener, control.CommandRemove,
				control.RemoveArgs{Name: name, Version: version, Force: c.Bool("force")})
			if err != nil {
				return err
			}
			err = c.Done(r, func(t *render.Table) {
				if len(r.Released) > 0 {
					t.Header("node", "released", "runs")
					for _, x := range r.Released {
						t.Row(x.Node, x.Bytes, x.Runs)
					}
				}
				for _, v := range r.Versions {
					t.Line("forgot %s", render.Versioned(r.Name, v))
				}
			})
			if c.Bool("force") {
				return err
			}
			return errors.Join(err, unheard(r.Unheard), locked(r))
		},
	})
}

// newest is the highest version of a name on this machine.
func newest(c *command.Call, name string) (int, error) {
	_, v, err := versionHere(c, name, 0)
	return v.Ref.Version, err
}

// unheard is the part of a removal that is left: holders that could not be told.
func unheard(holders []control.Refused) error {
	var errs []error
	for _, x := range holders {
		errs = append(errs, fmt.Errorf("%s could not be told yet: %s", strings.TrimSpace(x.Node.Short()+" "+x.Address),
			x.Reason))
	}
	return core.WithHint(core.WithCode(core.CodePartial, errors.Join(errs...)), "it is forgotten for good, and a running "+
		"node tells them when they are back: bkp node start; or do it again then")
}

// locked is the part of a removal that nobody may do yet.
func locked(r control.RemoveResult) error {
	var errs []error
	title := ""
	for _, x := range r.Locked {
		title = render.Versioned(r.Name, x.Version)
		errs = append(errs, fmt.Errorf("%s stays: locked until %s", title, render.Cell(time.Unix(x.Until, 0))))
	}
	return core.WithHint(core.WithCode(core.CodeRefused, errors.Join(errs...)), "it was placed with --lock: until then "+
		"nobody can remove it, its owner included; bkp rm %s after that", title)
}
