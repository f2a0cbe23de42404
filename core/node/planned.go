package node

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/plan"
)

// Survey asks every peer for its state.
func (n *Node) Survey(ctx context.Context, _ control.None, _ func(control.Status)) (control.SurveyResult, error) {
	if _, err := n.identity("survey"); err != nil {
		return control.SurveyResult{}, err
	}
	n.awaitPeers(ctx)
	pl := &placing{n: n}
	if err := pl.survey(ctx); err != nil {
		return control.SurveyResult{}, fmt.Errorf("survey: %w", err)
	}
	return control.SurveyResult{Snapshot: pl.snapshot}, nil
}

// followPlan lets a given plan say what is placed, and how.
func followPlan(a *control.PlaceArgs) {
	if p := a.Plan; p != nil {
		a.Name, a.Version, a.Replicas, a.Strategy = p.Name, p.Version, p.Replicas, p.Strategy
		a.Objective, a.Blend, a.Deadline = p.Objective, p.Blend, p.Deadline
	}
}

// ask is the question to the planner, the strategy's answer left out.
func (pl *placing) ask() plan.Request {
	return plan.Request{
		Relays: pl.far, Snapshot: pl.snapshot, Replicas: pl.args.Replicas, Classes: pl.classes,
		Seed:      pl.seed(),
		Objective: pl.args.Objective, Blend: pl.args.Blend, Deadline: pl.args.Deadline,
	}
}

// seed orders the nodes, for each owner and file in another way.
func (pl *placing) seed() uint64 {
	owner := pl.n.owner().ID()
	return binary.LittleEndian.Uint64(owner[:8]) ^ uint64(pl.version.Body.Size)
}

// follow takes the given plan over, if it still fits what is there.
func (pl *placing) follow() (err error) {
	pl.request = pl.ask()
	pl.plan, err = pl.args.Plan.Carry(plan.Now{About: pl.about(), Snapshot: pl.snapshot, Classes: pl.classes})
	return err
}

// show reports the plan, where that was asked for.
func (pl *placing) show() {
	if pl.args.Show {
		saved := plan.Save(pl.about(), pl.request, pl.plan)
		pl.status(control.Status{Phase: "plan", Plan: &saved})
	}
}

// about says what the plan is for.
func (pl *placing) about() plan.About {
	var runs []core.Chunk // hash and size are all that is needed of a run
	for _, r := range pl.fresh {
		runs = append(runs, core.Chunk{Hash: r.Hash, Size: r.Size})
	}
	for _, class := range pl.reused {
		for _, r := range class {
			runs = append(runs, core.Chunk{Hash: r.Hash, Size: r.Size})
		}
	}
	v := pl.version
	return plan.About{Name: v.Body.Name, Version: v.Ref.Version, Root: v.Body.Root.Hash, Runs: chunk.RunHash(runs),
		Strategy: pl.args.Strategy}
}
