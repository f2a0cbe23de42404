// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/cmd/bkp/session"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/core/sim"
	"github.com/bkp-tool/bkp/plugins"
	"github.com/urfave/cli/v2"
)

func simCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "sim", Args: "TOPOLOGY|-", Most: 1,
		Usage: "try a placement or a fetch on a simulated network",
		About: "Reads nodes, links and a job from a file of " + sim.Schema +
			", or with --live takes the network that this machine's node sees, and lets the planner and the " +
			"transfer decisions of real nodes work on virtual time. Only bandwidth takes time, and what a node's " +
			"\"delay\" says: seconds that a message takes between it and the source. A bandwidth of the file may " +
			"be a calendar, as \"22:00-06:00=50MiB,else=5MiB\". The same seed gives the same result. Several " +
			"--strategy stand side by side.",
		Examples: `bkp sim network.json
			bkp sim network.json --strategy seed --strategy cheapest,zone-spread
			bkp sim network.json --objective blend --blend 0.7 --deadline 2h
			bkp sim network.json --runs 5000 --error 0.3 --seed 7
			bkp sim network.json --at 2026-01-05T21:30:00+01:00
			bkp sim network.json --lose n3@40 --cut "n1>n2@10" --json
			bkp sim --live --size 2TiB --replicas 3 --plot try.svg`,
		Flags: slices.Concat([]cli.Flag{
			&cli.StringSliceFlag{Name: "strategy", Value: cli.NewStringSlice("seed"), Usage: "have the strategies " +
				"of `LIST` price the nodes, such as cheapest=2,zone-spread; may be repeated, to compare"},
			line.Int("runs", 1000, "cut the file into `N` runs"),
			line.Int("seed", 1, "draw everything that is left to chance from `K`"),
			line.Text("error", "0", "let the planner's estimates be wrong by up to this `PART`, as 0.3 for ±30 %"),
			line.List("lose", "take a node away, as `NODE@SECONDS`; may be repeated"),
			line.List("cut", "cut a link, as `A>B@SECONDS`, or all links from one zone to another; may be repeated"),
			line.Text("at", "", "let virtual time begin at `TIME`, as 2026-01-05T22:00:00+01:00, for bandwidths "+
				"that follow calendars (default: as the file says, else a Monday, 00:00 UTC)"),
			line.Bool("live", "take the network as the node on this data directory, or its peers, report it"),
			line.Text("size", "100GiB", "with --live, place a file of `SIZE`"),
			line.Int("replicas", 2, "with --live, keep `N` copies"),
			line.Text("erasure", "", "with --live, keep stripes of `K+M` runs"),
			plotFlag(),
		}, objectiveFlags(), command.NetworkFlags(), command.IdentityFlags()),
		Do: doSim,
	})
}

func doSim(ctx context.Context, c *command.Call) error {
	t, err := topology(ctx, c)
	if err != nil {
		return err
	}
	conf, err := simConfig(c, t)
	if err != nil {
		return err
	}
	defer plugins.Cleanup()
	lists := c.StringSlice("strategy")
	if len(lists) > 1 {
		return compareSims(ctx, c, t, conf, lists)
	}
	r, err := simulate(ctx, c, t, conf, lists[0])
	if err != nil {
		return err
	}
	if err := plot(c, render.SimPicture(t, r)); err != nil {
		return err
	}
	return c.Result(r, func(t *render.Table) { render.Sim(t, r) })
}

// topology is the file of the argument, or the network as it is.
func topology(ctx context.Context, c *command.Call) (sim.Topology, error) {
	live, files := c.Bool("live"), c.NArg()
	switch {
	case live == (files == 1):
		return sim.Topology{}, line.UsageError("wants a topology file or --live, and not both")
	case !live && (c.Given("size") || c.Given("replicas") || c.Given("erasure")):
		return sim.Topology{}, line.UsageError("--size, --replicas and --erasure are for --live: a topology file says them itself")
	case live && c.Given("at"):
		return sim.Topology{}, line.UsageError("--at is for topology files: --live begins now")
	case !live:
		return readTopology(c, c.Args().First())
	}
	size, err := c.Size("size")
	if err != nil {
		return sim.Topology{}, err
	}
	if c.Int("replicas") < 1 {
		return sim.Topology{}, line.UsageError("--replicas %d: want 1 or more", c.Int("replicas"))
	}
	code, err := erasure(c)
	if err != nil {
		return sim.Topology{}, err
	}
	goal := plan.Goal{Mode: plan.Replicas, Size: size, Replicas: c.Int("replicas")}
	if !code.IsZero() {
		goal = plan.Goal{Mode: plan.Shards, Size: size, K: code.K, M: code.M}
	}
	s, err := session.Ask[control.SurveyResult](ctx, c.Opener, control.CommandSurvey, control.None{})
	return sim.Live(s.Snapshot, goal), err
}

// simConfig reads the flags.
func simConfig(c *command.Call, t sim.Topology) (conf sim.Config, err error) {
	conf = sim.Config{Runs: c.Int("runs"), Seed: uint64(c.Int("seed"))}
	if conf.Error, err = strconv.ParseFloat(c.String("error"), 64); err != nil || !(conf.Error >= 0 && conf.Error < 1) {
		return conf, line.UsageError("--error %s: want a part from 0 to below 1", c.String("error"))
	}
	if conf.Objective, conf.Blend, conf.Deadline, err = objective(c); err != nil {
		return conf, err
	}
	if conf.Lose, err = losses(t, c.List("lose")); err != nil {
		return conf, err
	}
	conf.Cut, err = cuts(t, c.List("cut"))
	return conf, err
}

// simulate lets one strategy, or several as one, have its way.
func simulate(ctx context.Context, c *command.Call, t sim.Topology, conf sim.Config, list string) (r sim.Result,
	err error) {
	s, closer, err := session.OpenStrategy(ctx, c.Plugins(), list)
	if err != nil {
		return r, err
	}
	defer closer.Close()
	if conf.Info, err = s.Describe(ctx); err != nil {
		return r, err
	}
	conf.Score = func(b core.Batch) (core.Scores, error) { return s.Score(ctx, b) }
	type outcome struct {
		sim.Result
		err error
	}
	ended := make(chan outcome, 1)
	go func() { // nothing but computing: who does not wait for the end leaves it
		r, err := sim.Run(t, conf)
		ended <- outcome{r, err}
	}()
	select {
	case o := <-ended:
		o.Strategy = list
		return o.Result, o.err
	case <-ctx.Done():
		return r, context.Cause(ctx)
	}
}

// compareSims shows what several strategies came to. One that has no plan, for it wants more than there is, does not
// keep the others from being shown.
func compareSims(ctx context.Context, c *command.Call, t sim.Topology, conf sim.Config, lists []string) error {
	if c.String("plot") != "" {
		return line.UsageError("--plot draws one strategy, not %d", len(lists))
	}
	summary := struct {
		Name       string  `json:"name"`
		Strategies int     `json:"strategies"`
		Fastest    string  `json:"fastest"`
		MakespanS  float64 `json:"makespan_s"`
	}{Name: t.Name, Strategies: len(lists)}
	var rows []render.Compared
	var refused error
	for _, list := range lists {
		r, err := simulate(ctx, c, t, conf, list)
		switch {
		case core.CodeOf(err) == core.CodeRedundant:
			r.Name, refused = t.Name, err
			rows = append(rows, render.Compared{Result: r, Refused: err.Error()})
			continue
		case err != nil:
			return fmt.Errorf("strategy %s: %w", list, err)
		case summary.Fastest == "" || r.MakespanS < summary.MakespanS:
			summary.Fastest, summary.MakespanS = list, r.MakespanS
		}
		rows = append(rows, render.Compared{Result: r})
	}
	if summary.Fastest == "" {
		return fmt.Errorf("no strategy has a plan: %w", refused)
	}
	return render.List(c.Console, rows, summary, func(t *render.Table) { render.Comparison(t, rows) })
}

func readTopology(c *command.Call, path string) (sim.Topology, error) {
	data, err := c.ReadInput(path)
	if err != nil {
		return sim.Topology{}, fmt.Errorf("read topology: %w", err)
	}
	at, err := readMoment(c.String("at"))
	if err != nil {
		return sim.Topology{}, err
	}
	t, err := sim.Read(data, at)
	if err != nil {
		return t, core.WithHint(core.Fail(core.CodeUsage, "%s: %w", path, err), "examples are in core/sim/testdata")
	}
	return t, nil
}

// readMoment reads a moment in RFC 3339, or to the minute in UTC; zero where there is none.
func readMoment(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04", "2006-01-02 15:04"} {
		if at, err := time.Parse(layout, text); err == nil {
			return at, nil
		}
	}
	return time.Time{}, line.UsageError("--at %s: want a moment, as 2026-01-05T22:00:00+01:00, or in UTC "+
		"2026-01-05T22:00", text)
}

// losses reads NODE@SECONDS.
func losses(t sim.Topology, list []string) (out []sim.Loss, err error) {
	for _, text := range list {
		name, when, _ := strings.Cut(text, "@")
		at, err := strconv.ParseFloat(when, 64)
		node := t.Node(name)
		switch {
		case err != nil || !(at >= 0 && at < 1e9):
			return nil, line.UsageError("--lose %s: want NODE@SECONDS", text)
		case node < 0:
			return nil, line.UsageError("--lose %s: there is no node %q in %s", text, name, t.Name)
		}
		out = append(out, sim.Loss{Node: node, At: at})
	}
	return out, nil
}

// cuts reads A>B@SECONDS; A and B are nodes or zones.
func cuts(t sim.Topology, list []string) (out []sim.Cut, err error) {
	for _, text := range list {
		ways, when, _ := strings.Cut(text, "@")
		from, to, both := strings.Cut(ways, ">")
		at, err := strconv.ParseFloat(when, 64)
		if err != nil || !(at >= 0 && at < 1e9) || !both {
			return nil, line.UsageError("--cut %s: want A>B@SECONDS", text)
		}
		cut := t.Cut(from, to, at)
		if len(cut) == 0 {
			return nil, line.UsageError("--cut %s: there is no link from %s to %s in %s", text, from, to, t.Name)
		}
		out = append(out, cut...)
	}
	return out, nil
}
