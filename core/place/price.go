// SPDX-License-Identifier: Apache-2.0

package place

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/place/content"
	"github.com/bkp-tool/bkp/core/place/delivery"
	"github.com/bkp-tool/bkp/core/placements"
	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/core/plan/saved"
	"github.com/bkp-tool/bkp/core/reconcile"
)

// price asks the strategy, unless the plan is given, and cuts segments of the content that its word makes of it.
func (p *placement) price(ctx context.Context) (err error) {
	for i := range p.Survey.Nodes[1:] {
		node := &p.Survey.Nodes[i+1]
		node.Free = max(0, node.Free-p.Content.RecordsSize(p.Args.Replicas))
	}
	p.request = plan.Request{Relays: p.Survey.Far, Replicas: p.Args.Replicas, Seed: p.seed(),
		Objective: p.Args.Objective, Blend: p.Args.Blend, Deadline: p.Args.Deadline}
	if code := p.Args.Erasure; !code.IsZero() && !p.alone() {
		p.request.K, p.request.Replicas = code.K, code.K+code.M
	}
	if p.Args.Plan == nil {
		if p.request.Info, p.request.Scores, err = p.prices(ctx); err != nil {
			return err
		}
		if more := p.request.Scores.Redundancy.Replicas; more > p.Args.Replicas && p.Args.Erasure.IsZero() &&
			p.Handed == nil && p.Args.Export == nil {
			if err := p.raise(ctx, more); err != nil {
				return err
			}
		}
	}
	if ref := p.Version.Ref; !p.resumed {
		p.Standing = placements.NewStanding(p.Task, p.Node, content.Cut(p.Task, ref.Alias, ref.Version, p.Content))
	}
	return p.readable()
}

// decide finds who is to keep what, by what is known now, and returns the segments of which that is news.
func (p *placement) decide(ctx context.Context) (changed []*placements.Segment, err error) {
	d, err := p.reconcile(ctx)
	if err != nil {
		return nil, err
	}
	if d.Short != nil {
		p.warn("plan", "%v", d.Short)
	}
	return delivery.Assign(p.Standing, p.besides(d.Locations), p.ground()), nil
}

func (p *placement) reconcile(ctx context.Context) (reconcile.Decision, error) {
	known := p.Standing.Known(p.Survey.Nodes)
	if p.resumed {
		if n, err := p.Standing.Nowhere(ctx, known, p.Survey.Nodes, p.staged); err != nil {
			return reconcile.Decision{}, err
		} else if n > 0 {
			p.warn("plan", "%d runs are at nobody who can be reached", n)
		}
	}
	for i := range known {
		if p.alone() { // the runs of a stripe are together, there
			known[i].Stripes = nil
		}
	}
	a := &p.Args
	wanted := reconcile.Wanted{Copies: a.Replicas, Now: true, // what was kept before is not left with less than can be had
		Partly: p.resumed && a.Plan == nil && a.Export == nil && !a.DryRun && !a.Rebalance && p.Handed == nil}
	return reconcile.Next(wanted, known, p.network(), time.Now(), p.plan)
}

// network is the survey as reconcile sees it.
func (p *placement) network() (n reconcile.Network) {
	for _, node := range p.Survey.Nodes {
		n.Nodes = append(n.Nodes, reconcile.Node{ID: node.ID, Barred: p.Standing.Barred[node.ID],
			Drained: p.out[node.ID] || slices.Contains(p.Args.Silent, node.ID)})
	}
	return n
}

// plan is the planner as reconcile sees it.
func (p *placement) plan(classes []plan.Class) (_ [][]plan.Span, err error) {
	p.request.Snapshot, p.request.Classes = p.Survey.Snapshot, classes
	if p.request.K == 0 && p.Standing.Striped() && !p.alone() { // of earlier versions: no two of their runs are alike
		p.request.K = 1
	}
	if given := p.Args.Plan; given != nil {
		p.Plan, err = given.Carry(saved.Now{About: p.about(), Snapshot: p.Survey.Snapshot, Classes: classes})
	} else {
		p.Plan, err = p.compute()
		if p.Args.Replicas == p.request.Replicas { // else the planner's own hint knows better
			err = core.WithHint(err,
				"bkp place --explain shows each node; add peers, free some space, or ask for fewer --replicas")
		}
	}
	if err != nil {
		return nil, err
	}
	for i, x := range p.Plan.Refused {
		if p.out[p.Survey.Nodes[x.Node].ID] { // the planner took it for full
			p.Plan.Refused[i].Reason = "it is to keep nothing of it: by --exclude, --only or a drain"
			if p.Handed != nil {
				p.Plan.Refused[i].Reason = "the coordinator alone is sent it from here"
			}
		}
	}
	return p.Plan.Spans(), nil
}

// frontierPoints is how many plans there are between the soonest and the cheapest, with these.
const frontierPoints = 5

// compute has the planner plan; the soonest of several plans is the plan.
func (p *placement) compute() (*plan.Plan, error) {
	if !p.Args.Frontier {
		return plan.Place(p.request)
	}
	plans, err := plan.Frontier(p.request, frontierPoints)
	if err != nil {
		return nil, err
	}
	p.Frontier = plans
	return plans[0], nil
}

// prices asks the strategy.
func (p *placement) prices(ctx context.Context) (info core.StrategyInfo, scores core.Scores, err error) {
	strategy, closer, err := p.Strategy(ctx, p.Args.Strategy)
	if err != nil {
		return info, scores, err
	}
	defer closer.Close()
	if info, err = strategy.Describe(ctx); err != nil {
		return info, scores, err
	}
	var classes []plan.Class
	if p.Content != nil {
		classes = p.Content.Classes
	}
	batch, _ := plan.BatchOf(p.Survey.Snapshot, classes, p.Args.Replicas)
	batch.Seed, batch.Objective = p.seed(), cmp.Or(p.Args.Objective, plan.ObjectiveTime)
	if scores, err = strategy.Score(ctx, batch); err != nil {
		return info, scores, err
	}
	if err = plan.CheckScores(batch, scores); err != nil {
		err = fmt.Errorf("strategy %s: %w", p.Args.Strategy, err)
	}
	if err == nil && p.Args.Record {
		p.tell(Status{Phase: "plan", Asked: &core.Asked{Strategy: p.Args.Strategy, Batch: batch, Scores: scores}})
	}
	return info, scores, err
}

// raise makes it as many copies as the strategy wants. What earlier versions left at fewer nodes may have to be sent
// again.
func (p *placement) raise(ctx context.Context, replicas int) error {
	p.Args.Replicas = replicas
	if p.window || p.resumed {
		return nil // its runs are what they are
	}
	return p.collect(ctx)
}

// seed orders the nodes, for each owner and file in another way.
func (p *placement) seed() uint64 {
	owner := p.ownerID()
	return binary.LittleEndian.Uint64(owner[:8]) ^ uint64(p.Version.Body.Size)
}

// show tells the plan, where that was asked for.
func (p *placement) show() {
	if p.Args.Show {
		saved := saved.Of(p.about(), p.request, p.Plan)
		p.tell(Status{Phase: "plan", Plan: &saved})
	}
}

// about says what the plan is for.
func (p *placement) about() saved.About {
	v := p.Version
	return saved.About{Name: v.Body.Name, Version: v.Ref.Version, Root: v.Body.Root.Hash, Runs: p.Content.Hash(),
		Strategy: p.Args.Strategy}
}
