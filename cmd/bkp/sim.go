package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/sim"
	"github.com/bkp-tool/bkp/plugins"
	"github.com/urfave/cli/v2"
)

func simCommand() *cli.Command {
	return command(spec{
		name: "sim", args: "TOPOLOGY|-", least: 1, most: 1,
		usage: "try a placement or a fetch on a simulated network",
		about: "Reads nodes, links and a job from a file of " + sim.Schema + ", and lets the planner and the transfer decisions of real " +
			"nodes work on virtual time. Only bandwidth takes time. The same seed gives the same result.",
		examples: `bkp sim network.json
			bkp sim network.json --strategy cheapest,zone-spread --objective cost
			bkp sim network.json --runs 5000 --error 0.3 --seed 7
			bkp sim network.json --lose n3@40 --json`,
		flags: []cli.Flag{
			textFlag("strategy", "seed", "have the strategies of `LIST` price the nodes, such as cheapest=2,zone-spread"),
			intFlag("runs", 1000, "cut the file into `N` runs"),
			intFlag("seed", 1, "draw everything that is left to chance from `K`"),
			textFlag("error", "0", "let the planner's estimates be wrong by up to this `PART`, as 0.3 for ±30 %"),
			listFlag("lose", "take a node away, as `NODE@SECONDS`; may be repeated"),
			textFlag("objective", "time", "make `WHAT` small first: time or cost"),
		},
		do: doSim,
	})
}

func doSim(ctx context.Context, c *call) error {
	t, err := readTopology(c.Args().First())
	if err != nil {
		return err
	}
	conf := sim.Config{Runs: c.Int("runs"), Seed: uint64(c.Int("seed")), Objective: c.String("objective")}
	if conf.Error, err = strconv.ParseFloat(c.String("error"), 64); err != nil || !(conf.Error >= 0 && conf.Error < 1) {
		return usageError("--error %s: want a part from 0 to below 1", c.String("error"))
	}
	if conf.Lose, err = losses(t, c.StringSlice("lose")); err != nil {
		return err
	}
	defer plugins.Cleanup()
	s, closer, err := openStrategy(ctx, c.plugins(), c.String("strategy"))
	if err != nil {
		return err
	}
	defer closer.Close()
	if conf.Info, err = s.Describe(ctx); err != nil {
		return err
	}
	conf.Score = func(b core.Batch) (core.Scores, error) { return s.Score(ctx, b) }
	r, err := sim.Run(t, conf)
	if err != nil {
		return err
	}
	return c.result(r, func(t *table) { drawSim(t, r) })
}

func readTopology(path string) (sim.Topology, error) {
	data, err := os.ReadFile(path)
	if path == "-" {
		data, err = io.ReadAll(os.Stdin)
	}
	if err != nil {
		return sim.Topology{}, fmt.Errorf("read topology: %w", err)
	}
	t, err := sim.Read(data)
	if err != nil {
		return t, core.WithHint(core.Fail(core.CodeUsage, "%s: %w", path, err), "examples are in core/sim/testdata")
	}
	return t, nil
}

// losses reads NODE@SECONDS.
func losses(t sim.Topology, list []string) (out []sim.Loss, err error) {
	for _, text := range list {
		name, when, _ := strings.Cut(text, "@")
		at, err := strconv.ParseFloat(when, 64)
		node := t.Node(name)
		switch {
		case err != nil || !(at >= 0 && at < 1e9):
			return nil, usageError("--lose %s: want NODE@SECONDS", text)
		case node < 0:
			return nil, usageError("--lose %s: there is no node %q in %s", text, name, t.Name)
		}
		out = append(out, sim.Loss{Node: node, At: at})
	}
	return out, nil
}

// drawSim shows what became of each node and link, what is missing, and how close it came to the bound.
func drawSim(t *table, r sim.Result) {
	t.header("node", "zone", "keeps", "runs", "sent", "passed on", "done", "")
	for _, n := range r.Nodes {
		gone := ""
		if n.Lost {
			gone = "lost"
		}
		t.row(n.Node, n.Zone, n.Bytes, n.Runs, n.Sent, n.Passed, duration(n.Finish), gone)
	}
	const most = 40
	t.line("")
	t.header("from", "to", "bytes", "of what it can")
	for _, u := range append(r.Trunks[:len(r.Trunks):len(r.Trunks)], r.Links[:min(most, len(r.Links))]...) {
		share := "-"
		if u.Share > 0 {
			share = fmt.Sprintf("%.0f %%", 100*u.Share)
		}
		t.row(u.From, u.To, u.Bytes, share)
	}
	if len(r.Links) > most {
		t.line("and %s more: see --json", counted(len(r.Links)-most, "link"))
	}
	if len(r.Missing) > 0 {
		t.line("")
		t.header("lacks", "runs", "first", "bytes", "because")
		for _, m := range r.Missing {
			t.row(m.Node, m.Runs, m.First, m.Bytes, m.Reason)
		}
	}
	t.line("")
	t.line("%s: done after %.4g s (predicted %.4g s), least possible %.4g s, ratio %.3f, bound by %s", r.Name, r.MakespanS, r.PredictedS, r.BoundS, r.Ratio, r.Binding)
	if r.UndeliveredBytes > 0 {
		t.line("%s of copies not delivered, %s of the file lost", r.UndeliveredBytes, r.LostBytes)
	}
}
