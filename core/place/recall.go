// SPDX-License-Identifier: Apache-2.0

package place

import (
	"context"
	"fmt"
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/place/content"
	"github.com/bkp-tool/bkp/core/place/stripes"
	"github.com/bkp-tool/bkp/core/placements"
	"github.com/bkp-tool/bkp/core/reconcile"
	"github.com/bkp-tool/bkp/core/spread"
)

// recall brings chunks back that are to be sent from here and are here no more: copies of them were lost, and no holder
// has the whole run that they stand in. They stay claimed until the placement ends.
func (p *placement) recall(ctx context.Context, chunks []core.Chunk, covered content.Covered) error {
	need := map[*content.Reused]core.Bitmap{}
	var order []*content.Reused
	lost, missing := core.Size(0), 0
	for _, c := range chunks {
		here, err := p.Staging.Has(ctx, c.Hash)
		if err != nil {
			return err
		}
		at, ok := covered[c.Hash]
		switch {
		case here:
			continue
		case !ok:
			lost, missing = lost+c.Size, missing+1
			continue
		case need[at.Run] == nil:
			need[at.Run] = core.NewBitmap(len(at.Run.Chunks))
			order = append(order, at.Run)
		}
		need[at.Run].Set(at.Index)
	}
	if missing > 0 {
		return core.WithHint(core.Fail(core.CodeRedundant,
			"%d chunks (%s) are neither on this machine nor at a connected peer", missing, lost),
			"bkp peers shows who is away: start the holders; or, if the file is still there: bkp split FILE --whole, "+
				"and place that")
	}
	if p.Args.DryRun {
		return nil
	}
	var wanted []spread.Wanted
	for _, r := range order {
		wanted = append(wanted, p.fromHolders(r, need[r]))
	}
	return p.bringBack(ctx, wanted)
}

// gather finds which runs this node can send, and brings back what a target lacks and no holder has a link to send it
// over.
func (p *placement) gather(ctx context.Context) error {
	known := p.Standing.Known(p.Survey.Nodes)
	var wanted []spread.Wanted
	lost := map[int]map[int]bool{}
	for _, s := range p.Standing.Segments {
		shares, of := s.Shares(), core.StripeOf(s.Stripes, len(s.Runs))
		lost[s.Number] = map[int]bool{}
		for run, r := range s.Runs {
			here := run < s.Fresh && !p.resumed // else it was looked for, and is claimed
			if !here {
				staged, err := p.staged(ctx, r.Chunks)
				if err != nil {
					return err
				}
				here = staged
			}
			holders, lacking := p.whoHas(known[s.Number], shares, run)
			senders := slices.DeleteFunc(slices.Clone(holders), func(at int) bool { // who keeps it for another task alone
				id := p.Survey.Nodes[at].ID
				return !slices.Contains(s.Targets, id) && !s.Told[id]
			})
			if !here && slices.ContainsFunc(lacking, func(to int) bool { return !p.Survey.Linked(senders, to) }) {
				here = true
				if lost[s.Number][run] = of[run] >= 0 && len(holders) == 0; lost[s.Number][run] {
					p.here[r.Hash] = true
					continue
				}
				w := spread.Wanted{Run: r.Run, Needed: core.FullBitmap(len(r.Chunks))}
				for _, node := range holders {
					w.Holders = append(w.Holders, p.Survey.Nodes[node].ID)
				}
				wanted = append(wanted, w)
			}
			p.here[r.Hash] = here
		}
	}
	if err := p.bringBack(ctx, wanted); err != nil {
		return err
	}
	r := stripes.Rebuilder{Near: p.Staging, Has: p.staged, Keep: p.claim,
		Bring: func(ctx context.Context, wanted []spread.Wanted, keep func(run, index int, data []byte) error) ([]int, error) {
			return p.Bring(ctx, p.Version.Ref.Alias, wanted, keep)
		},
		Tell: func(text string) { p.tell(Status{Phase: "recall", Text: text}) }}
	return r.Rebuild(ctx, p.Standing.Segments, lost, func(s *placements.Segment, run int) (ids []core.ID) {
		nodes, _ := p.whoHas(known[s.Number], nil, run)
		for _, node := range nodes {
			ids = append(ids, p.Survey.Nodes[node].ID)
		}
		return ids
	})
}

// whoHas is the nodes that have a run, and those that are to get it.
func (p *placement) whoHas(k reconcile.Segment, shares map[core.ID]core.Bitmap, run int) (holders, lacking []int) {
	for at, node := range p.Survey.Nodes {
		if c := k.At[node.ID]; c.Has.Has(run) || c.Receipted.Has(run) {
			holders = append(holders, at)
		} else if shares[node.ID].Has(run) {
			lacking = append(lacking, at)
		}
	}
	return holders, lacking
}

func (p *placement) fromHolders(r *content.Reused, wanted core.Bitmap) spread.Wanted {
	var holders []core.ID
	for _, node := range r.Holders {
		holders = append(holders, p.Survey.Nodes[node].ID)
	}
	return spread.Wanted{Run: r.Run.Run, Needed: wanted, Holders: holders}
}

// hintAway is what helps where nobody has what is to be copied once more.
const hintAway = "bkp peers shows who is away: start the holders, and place it again"

// bringBack puts what holders have into staging, claimed.
func (p *placement) bringBack(ctx context.Context, wanted []spread.Wanted) error {
	if len(wanted) == 0 {
		return nil
	}
	for _, w := range wanted {
		for i, c := range w.Chunks {
			if w.Needed.Has(i) {
				p.recalled = append(p.recalled, c)
			}
		}
	}
	p.tell(Status{Phase: "recall", Text: fmt.Sprintf("%d runs, to be copied once more", len(wanted))})
	left, err := p.Bring(ctx, p.Version.Ref.Alias, wanted, func(run, index int, data []byte) error {
		c := wanted[run].Chunks[index]
		return p.keep(ctx, c, core.Hash{}, data)
	})
	if err == nil && len(left) > 0 {
		err = core.Fail(core.CodeRedundant, "%d runs that are to be copied once more are at no reachable holder",
			len(left))
	}
	if err != nil {
		err = fmt.Errorf("recall: %w", err)
		if core.CodeOf(err) == core.CodeRedundant && core.HintOf(err) == "" {
			err = core.WithHint(err, "%s", hintAway)
		}
		return err
	}
	return nil // what a power loss takes of it is brought back again
}

// keep puts a chunk into staging, claimed until the caller releases it from the pins.
func (c *Coordinator) keep(ctx context.Context, chunk core.Chunk, id core.Hash, data []byte) error {
	return c.Pins.While(chunk, func() error { _, err := c.Staging.Put(ctx, chunk, id, data); return err })
}
