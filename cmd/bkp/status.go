// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/bkp-tool/bkp/cmd/bkp/datadir"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/node"
	"github.com/bkp-tool/bkp/core/placements"
	"github.com/bkp-tool/bkp/core/repair"
	"github.com/urfave/cli/v2"
)

func statusCommand() *cli.Command {
	return command(spec{
		name: "status", args: "[NAME[@VERSION]]", most: 1,
		usage: "show how many copies count of what was placed, and what is done about those that do not",
		about: "A copy counts once its holder signed for it, proved to have it, and keeps what it is found by. " +
			"A running node has copies proved again, and makes anew what is lost: after a grace where its holder " +
			"is merely away. The command ends with 0 where as many copies count as are wanted, with 3 where some " +
			"are being made, and with 13 where they cannot be, or no node runs that would.",
		examples: "bkp status\nbkp status big.iso\nbkp status --json | jq .copies",
		reads:    true,
		do: func(ctx context.Context, c *call) error {
			r, err := c.standings(ctx)
			if err != nil {
				return err
			}
			return errors.Join(c.showStandings(r), short("status", r))
		},
	})
}

// standings asks the running node, or, where none runs, reads what is on record.
func (c *call) standings(ctx context.Context) (r control.StandingResult, err error) {
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
	refs, err := c.dir.Refs().Open(o)
	if err != nil {
		return r, err
	}
	names := map[string]string{}
	for _, v := range refs {
		names[placements.Name(v.Ref.Alias, v.Ref.Version)] = v.Body.Name
	}
	all, err := repair.New(repair.Config{}, nobody{}, c.dir.Placements(), slog.New(slog.DiscardHandler)).Standings()
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
	return node.StandingRows(found, names, false), err
}

// nobody is a node that does not run.
type nobody struct{ repair.Node }

func (nobody) ID() core.ID        { return core.ID{} }
func (nobody) Reached() []core.ID { return nil }

type standingSummary struct {
	Placements int  `json:"placements"`
	Lacking    int  `json:"lacking"` // of them, fewer copies count than are wanted
	Watched    bool `json:"watched"` // a node keeps them by itself
}

func (c *call) showStandings(r control.StandingResult) error {
	sum := standingSummary{Placements: len(r.Placements), Watched: r.Watched}
	for _, p := range r.Placements {
		if p.Code != core.CodeOK {
			sum.Lacking++
		}
	}
	if !r.Watched && len(r.Placements) > 0 {
		c.Say("nobody watches: no node of %s runs that keeps what was placed; have one: bkp node start", string(c.dir))
	}
	return render.List(c.Console, r.Placements, sum, func(t *render.Table) {
		if len(r.Placements) == 0 {
			t.Line("nothing is placed yet: bkp place")
			return
		}
		t.Header("name", "copies", "at hand", "state", "until", "audited")
		for _, p := range r.Placements {
			hand := any(p.Reached)
			if !r.Watched {
				hand = "-"
			}
			t.Row(render.Versioned(p.Name, p.Version), fmt.Sprintf("%d of %d", p.Copies, p.Wanted), hand, p.State,
				moment(p.Until), moment(p.Audited))
		}
		for _, p := range r.Placements {
			if len(r.Placements) == 1 {
				drawHolders(t, p)
			}
			if p.Problem != "" {
				t.Line("%s: %s", render.Versioned(p.Name, p.Version), p.Problem)
			}
		}
	})
}

// drawHolders shows who keeps what.
func drawHolders(t *render.Table, p control.Standing) {
	for _, h := range p.Holders {
		text := fmt.Sprintf("%s: %d of %s", strings.TrimSpace(h.Node.Short()+" "+h.Address), h.Counting,
			render.Counted(h.Runs, "run"))
		if !h.Ref {
			text += ", no ref"
		}
		if h.Away > 0 {
			text += ", away since " + render.Cell(time.Unix(h.Away, 0))
		}
		t.Line("%s", text)
	}
}

func moment(unix int64) any {
	if unix == 0 {
		return "-"
	}
	return time.Unix(unix, 0)
}

// short is the error where fewer copies count than are wanted: the worst of them says how bad that is.
func short(doing string, r control.StandingResult) error {
	var all []error
	code := core.CodeOK
	for _, p := range r.Placements {
		if p.Code != core.CodeOK {
			code = max(code, p.Code)
			all = append(all, fmt.Errorf("%s: %s: %d of %d copies count", doing, render.Versioned(p.Name, p.Version),
				p.Copies, p.Wanted))
		}
	}
	if len(all) == 0 {
		return nil
	}
	err := coded(code, errors.Join(all...))
	if !r.Watched {
		return core.WithHint(err, "bkp repair has them made now; bkp node start keeps them from then on")
	}
	return err
}
