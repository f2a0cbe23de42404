package main

import (
	"context"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/node"
	"github.com/urfave/cli/v2"
)

func placeCommand() *cli.Command {
	return command(spec{
		name: "place", args: "[NAME[@VERSION]]", most: 1,
		usage: "give a version to peers to keep",
		about: "Asks every peer for its state, has the strategy price them, and sends each what it is to keep, by way of other " +
			"targets where that is faster. Without a name it takes the newest version not yet placed. Its staged bytes stay here: bkp gc --placed lets them go.",
		examples: `bkp place
			bkp place big.iso --replicas 3
			bkp place big.iso@2 --strategy most-free --dry-run
			bkp place big.iso --peers wss://a.example:8001-20MiB,wss://b.example:8001 --token-file token`,
		flags: append(append([]cli.Flag{
			intFlag("replicas", 2, "keep `N` copies on as many different nodes; the source's own disk does not count"),
			textFlag("strategy", "seed", "have the strategy `NAME` price the nodes"),
			boolFlag("dry-run", "plan only"),
			boolFlag("explain", "show how the plan came about: cost terms, flows, bound"),
			textFlag("retain", "10y", "ask the targets to keep it for `SPAN`, as 90d or 10y"),
		}, networkFlags()...), identityFlags()...),
		do: doPlace,
	})
}

// placed is a placement's result and whether a copy of the identity was ever taken.
type placed struct {
	node.PlaceResult
	Exported bool `json:"identity_exported"`
}

func doPlace(ctx context.Context, c *call) error {
	name, version, err := nameVersion(c.Args().First())
	if err != nil {
		return err
	}
	retain, err := c.span("retain")
	if err != nil {
		return err
	}
	if c.Int("replicas") < 1 {
		return usageError("--replicas %d: want 1 or more", c.Int("replicas"))
	}
	r, err := ask[node.PlaceResult](ctx, c, node.CommandPlace, node.PlaceArgs{
		Name: name, Version: version, Replicas: c.Int("replicas"), Strategy: c.String("strategy"),
		DryRun: c.Bool("dry-run"), Retain: int64(retain.Seconds()),
	})
	if err != nil {
		return err
	}
	return c.result(placed{r, c.house.isExported()}, func(t *table) {
		drawPlan(t, r, c.Bool("explain") || r.DryRun)
		if r.DryRun {
			return
		}
		t.line("Placed %s with %s in %s: %s kept, %s sent.", versioned(r.Name, r.Version), counted(r.Replicas, "replica"),
			seconds(r.Seconds), kept(r), r.SentBytes)
		if !c.house.isExported() {
			t.line("Nobody can fetch this without the identity. Keep a copy of it elsewhere: bkp key export > FILE")
		}
	})
}

func kept(r node.PlaceResult) (sum core.Size) {
	for _, p := range r.Placements {
		sum += p.Bytes
	}
	return sum
}

// drawPlan shows who keeps what at which cost, who is left out, and how good the plan is.
func drawPlan(t *table, r node.PlaceResult, explain bool) {
	header := []string{"node", "address", "keeps", "runs", "had", "cost", "time"}
	if explain {
		header = append(header, "why")
	}
	t.header(header...)
	for _, p := range r.Placements {
		cells := []any{p.Node, p.Address, p.Bytes, p.Runs, p.Reused, p.Cost, duration(p.Seconds)}
		if explain {
			cells = append(cells, p.Explain)
		}
		t.row(cells...)
	}
	if len(r.Refused) > 0 {
		t.line("")
		t.header("left out", "address", "because")
		for _, x := range r.Refused {
			t.row(x.Node, x.Address, x.Reason)
		}
	}
	if explain && len(r.Flows) > 0 {
		t.line("")
		t.header("from", "to", "bytes", "rate")
		for _, f := range r.Flows {
			t.row(f.From, f.To, f.Bytes, f.Rate)
		}
	}
	t.line("")
	t.line("predicted %s (%s of it to fill the pipeline), least possible %s, ratio %.2f, bound by %s",
		seconds(r.PredictedS), seconds(r.FillS), seconds(r.BoundS), r.Ratio, r.Binding)
	t.line("%s of stored bytes, %s of them new, in %s and %s", r.Bytes, r.NewBytes, counted(r.Runs, "run"), counted(r.Segments, "segment"))
}

// duration is a measured time; zero was not measured.
func duration(s float64) any {
	if s == 0 {
		return "-"
	}
	return seconds(s)
}
