// SPDX-License-Identifier: Apache-2.0

package place

import (
	"context"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/placements"
	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/core/reconcile"
)

// Rebalance relieves nodes of a record that are dear or nearly full, as far as others can take over all that they keep
// of it. With dry it is only planned, as if nodes had as much more free as shift says.
func (c *Coordinator) Rebalance(ctx context.Context, rec *placements.Record, dry bool, shift map[core.ID]core.Size,
	tell func(Status)) (Result, error) {
	return c.again(ctx, rec, tell, func(a *Args) {
		a.Rebalance, a.DryRun, a.Shift, a.Objective = true, dry, shift, plan.ObjectiveCost
	})
}

// relieve finds who is to be relieved, and has others than who takes over get nothing new. Where the plan finds no
// place for all of it less is moved.
func (p *placement) relieve(ctx context.Context) error {
	if !p.resumed {
		return core.Fail(core.CodeFailed, "what is on record of it cannot be moved as it is: bkp place it again first")
	}
	offers := make([]reconcile.Offer, len(p.Survey.Nodes))
	for i := range p.Survey.Nodes {
		node := &p.Survey.Nodes[i]
		node.Free = max(0, node.Free+p.Args.Shift[node.ID])
		o := reconcile.Offer{Free: node.Free, Total: node.Total, Takes: i > 0 && !p.out[node.ID]}
		if row := i - 1; row >= 0 {
			if s := p.request.Scores; row < len(s.PlaceCost) {
				o.Price = s.PlaceCost[row]
			}
			if allow := p.request.Scores.Allow; row < len(allow) {
				o.Takes = o.Takes && allow[row]
			}
		}
		offers[i] = o
	}
	relieved, targets := reconcile.Rebalance(p.Standing.Known(p.Survey.Nodes), p.network(), offers)
	for i := range p.Survey.Nodes[1:] {
		node := &p.Survey.Nodes[i+1]
		if node.Free = max(0, node.Free-node.Total/reconcile.LeaveFree); !targets[i+1] {
			node.Free = 0
			p.Standing.Barred[node.ID] = "others are to take over"
		}
	}
	for _, r := range relieved {
		p.out[r.Node] = true
	}
	for ; len(relieved) > 0; relieved = relieved[:len(relieved)-1] {
		if _, err := p.reconcile(ctx); err == nil {
			break
		}
		delete(p.out, relieved[len(relieved)-1].Node)
	}
	p.Relieved = relieved
	return nil
}
