// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/plan/saved"
	"github.com/bkp-tool/bkp/plugins/contract"
	"github.com/urfave/cli/v2"
)

func placeCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "place", Args: "[NAME[@VERSION]]", Most: 1,
		Usage: "give a version to peers to keep",
		About: "Asks every peer for its state, has the strategy price them, and sends each what it is to keep, by " +
			"way of other targets where that is faster. Without a name it takes the newest version not yet " +
			"placed. Once every copy counts the staged bytes go from this machine; a split of the next version " +
			"knows them still. Where fewer count in the end it ends with 3 if a running node goes on by itself, " +
			"else with 13. A version that another machine with this identity placed is taken over: this one sees to it " +
			"from then on. A plan that was saved is carried out span for span. It is refused, with what differs, " +
			"where the version was split anew, a node of it is gone or lacks room for its share, or a node or " +
			"link that it uses has lost more than 10 % of its bandwidth. With --export a first copy travels on a " +
			"disk, sealed, with the licence of that one node, which has to be reached beforehand: once it has " +
			"imported the disk, bkp place without --export finds there what is there, and sends what is not. Until " +
			"then nothing of the version is sent unasked. The same command once more goes on where it was stopped, and renews the " +
			"licence, which holds for 90 days.",
		Examples: `bkp place
			bkp place big.iso --replicas 3
			bkp place big.iso --erasure 4+2
			bkp place big.iso@2 --strategy most-free --dry-run
			bkp place big.iso --dry-run --plan-out plan.json
			bkp place --plan plan.json
			bkp place big.iso --frontier --strategy cheapest
			bkp place big.iso --dry-run --plot plan.svg
			bkp place big.iso --coordinator nas.example:8001
			bkp place big.iso --export /media/disk --only nas.example:8001
			bkp place --rebalance --dry-run
			bkp place big.iso --peers wss://a.example:8001-20MiB,wss://b.example:8001 --token-file token`,
		Flags: slices.Concat([]cli.Flag{
			line.Int("replicas", 2, "keep `N` copies on as many different nodes; the source's own disk does not count"),
			erasureFlag(),
			line.Text("strategy", "seed", "have the strategy `NAME` price the nodes"),
			line.Bool("dry-run", "plan only"),
			line.Bool("rebalance", "place nothing anew: relieve nodes that cost clearly more than others, or are nearly "+
				"full, of what they keep; without a name of all that was placed"),
			line.Bool("frontier", "plan only: show up to five plans between the soonest and the cheapest"),
			line.Bool("explain", "show how the plan came about: why each node gets its share, flows, times, what "+
				"losses would mean"),
			line.Text("plan-out", "", "write the plan to `FILE`, before anything is sent"),
			plotFlag(),
			line.Text("record", "", "write what the strategy is asked, and its answers, to `FILE`, for bkp plugin replay"),
			line.Text("plan", "", "carry out the plan of `FILE` as it is, or refuse"),
			line.Text("retain", "10y", "ask the targets to keep it for `SPAN`, as 90d or 10y"),
			lockFlag(),
			coordinatorFlag(),
			line.List("exclude", "have `NODE` keep nothing of it: an ID, its first eight letters, or an address (repeatable)"),
			line.List("only", "have none but `NODE` keep it (repeatable)"),
			line.Text("export", "", "write what the one node of --only is to keep to the disk mounted at `DIR`, and "+
				"send nothing: bkp node import takes it there"),
			line.Bool("keep-local", "keep its bytes on this machine too"),
		}, objectiveFlags(), command.NetworkFlags(), command.IdentityFlags()),
		Do: doPlace,
	})
}

// coordinatorPlans is why what goes to a coordinator is not to be planned here.
const coordinatorPlans = "the coordinator plans"

func coordinatorFlag() cli.Flag {
	return line.Text("coordinator", "", "send all of it to `NODE` once, which then sends it on and "+
		"keeps as many copies of it: this machine may go")
}

func doPlace(ctx context.Context, c *command.Call) error {
	if c.Bool("rebalance") {
		return rebalance(ctx, c)
	}
	args, err := placeArgs(c)
	if err != nil {
		return err
	}
	r, err := place(ctx, c, args)
	if args.Name == "" && args.Plan == nil && core.CodeOf(err) == core.CodeNoName { // no name was asked for
		return c.Done(r, func(t *render.Table) {
			t.Line("Nothing to do: every version has its copies, or travels on a disk.")
		})
	}
	if err != nil {
		return err
	}
	if r.OnDisk != nil {
		return c.Result(render.Placement{PlaceResult: r, Exported: c.Dir.IsExported()}, func(t *render.Table) {
			render.Placement{PlaceResult: r}.Draw(t, false)
		})
	}
	p := render.Placement{PlaceResult: r, Exported: c.Dir.IsExported()}
	print := c.Done
	if r.DryRun || c.Bool("explain") {
		print = c.Result
	}
	return print(p, func(t *render.Table) { p.Draw(t, c.Bool("explain")) })
}

// placeArgs reads the flags.
func placeArgs(c *command.Call) (args control.PlaceArgs, err error) {
	retain, err := c.Span("retain")
	if err != nil {
		return args, err
	}
	args = control.PlaceArgs{Replicas: c.Int("replicas"), Strategy: c.String("strategy"), DryRun: c.Bool("dry-run") || c.Bool("frontier"),
		Retain: int64(retain.Seconds()), Frontier: c.Bool("frontier"),
		KeepLocal: c.Bool("keep-local"), Coordinator: c.String("coordinator"),
		Exclude: c.List("exclude"), Only: c.List("only"),
		Show: c.String("plan-out") != "" || c.String("plot") != "", Record: c.String("record") != ""}
	if args.Lock, err = lock(c); err != nil {
		return args, err
	}
	if args.Name, args.Version, err = line.NameVersion(c.Args().First()); err != nil {
		return args, err
	}
	if args.Replicas < 1 {
		return args, line.UsageError("--replicas %d: want 1 or more", args.Replicas)
	}
	if args.Erasure, err = erasure(c); err != nil {
		return args, err
	}
	args.AsBefore = !c.Given("replicas") && args.Erasure.IsZero()
	if args.Show && !args.Erasure.IsZero() {
		return args, line.UsageError("--erasure: a plan of stripes cannot be saved or drawn")
	}
	if args.Objective, args.Blend, args.Deadline, err = objective(c); err != nil {
		return args, err
	}
	for _, flag := range []string{"objective", "blend", "deadline", "plan", "plan-out", "plot"} {
		if args.Frontier && c.Given(flag) {
			return args, line.UsageError("--frontier and --%s: it shows plans to choose from", flag)
		}
	}
	for _, flag := range []string{"dry-run", "frontier", "plan", "plan-out", "plot", "record",
		"objective", "blend", "deadline"} {
		if args.Coordinator != "" && c.Given(flag) {
			return args, line.UsageError("--coordinator and --%s: %s", flag, coordinatorPlans)
		}
	}
	if args.Export, err = exportTo(c, args); err != nil {
		return args, err
	}
	if args.Record && c.String("plan") != "" {
		return args, line.UsageError("--record and --plan: a plan that was saved asks no strategy")
	}
	if c.String("plan") == "" {
		return args, nil
	}
	for _, flag := range []string{"replicas", "erasure", "strategy", "objective", "blend", "deadline"} {
		if c.Given(flag) {
			return args, line.UsageError("--%s and --plan: the plan says that already", flag)
		}
	}
	saved, err := readPlan(c, c.String("plan"))
	if err == nil && (args.Name != "" && args.Name != saved.Name || args.Version != 0 &&
		args.Version != saved.Version) {
		err = line.UsageError("--plan %s is for %s", c.String("plan"), render.Versioned(saved.Name, saved.Version))
	}
	args.Plan = &saved
	return args, err
}

// erasureFlag asks for stripes.
func erasureFlag() cli.Flag {
	return line.Text("erasure", "", "instead of copies, keep stripes of `K+M` runs on as many nodes: any K of them "+
		"restore all, at (K+M)/K of the space (as 4+2)")
}

// erasure is the code that is asked for.
func erasure(c *command.Call) (code core.Erasure, err error) {
	if code, err = core.ParseErasure(c.String("erasure")); err != nil {
		return code, line.UsageError("--erasure: %w", err)
	}
	if !code.IsZero() && c.Given("replicas") {
		return code, line.UsageError("--replicas and --erasure: copies or stripes, not both")
	}
	return code, nil
}

// lockFlag is of commands that place.
func lockFlag() cli.Flag {
	return line.Text("lock", "", "have the targets let nobody remove it for `SPAN`, the owner included")
}

// lock reads it, in seconds; 0 is no lock.
func lock(c *command.Call) (seconds int64, err error) {
	if c.String("lock") == "" {
		return 0, nil
	}
	span, err := c.Span("lock")
	if err == nil && span <= 0 {
		err = line.UsageError("--lock %s: want a time span like 30d", c.String("lock"))
	}
	return int64(span.Seconds()), err
}

// place carries a placement out; the plan is on disk before anything is sent.
func place(ctx context.Context, c *command.Call, args control.PlaceArgs) (r control.PlaceResult, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c.DataOut = c.String("plan-out") == "-" || c.String("plot") == "-" || c.String("record") == "-"
	var asked []core.Asked
	err = c.With(ctx, func(n control.Caller) error {
		return n.Call(ctx, control.CommandPlace, args, &r, func(st control.Status) {
			switch {
			case st.Asked != nil:
				asked = append(asked, *st.Asked)
			case st.Plan != nil:
				if err := keepPlan(c, *st.Plan); err != nil {
					cancel(err)
				}
			default:
				c.Status(st)
			}
		})
	})
	if args.Record {
		err = errors.Join(err, keepAsked(c, asked))
	}
	if cause := context.Cause(ctx); err == nil && cause != nil { // a dry run was done before it heard
		err = cause
	}
	return r, err
}

// keepPlan writes the plan and its picture, where they are asked for.
func keepPlan(c *command.Call, s saved.Plan) error {
	if path := c.String("plan-out"); path != "" {
		data, err := s.Encode()
		if err == nil {
			err = c.WriteOutput(path, data)
		}
		if err != nil {
			return fmt.Errorf("--plan-out: %w", err)
		}
	}
	return plot(c, render.PlanPicture(s))
}

// keepAsked writes what the strategy was asked to the file of --record.
func keepAsked(c *command.Call, asked []core.Asked) error {
	text, err := contract.EncodeAsked(asked)
	if err == nil {
		err = c.WriteOutput(c.String("record"), text)
	}
	if err != nil {
		return fmt.Errorf("record what the strategy was asked: %w", err)
	}
	return nil
}
