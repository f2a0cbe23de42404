package node

import (
	"context"
	"fmt"
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/spread"
)

// recall brings chunks back that are to be sent from here and are here no more: copies of them were lost, and no holder
// has the whole run that they stand in. They stay claimed until the placement ends.
func (pl *placing) recall(ctx context.Context, chunks []core.Chunk, covered map[core.Hash]coveredChunk) error {
	n := pl.n
	need := map[*reusedRun]core.Bitmap{}
	var order []*reusedRun
	lost, missing := core.Size(0), 0
	for _, c := range chunks {
		here, err := n.Staging.Has(ctx, c.Hash)
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
		case need[at.run] == nil:
			need[at.run] = core.NewBitmap(len(at.run.Chunks))
			order = append(order, at.run)
		}
		need[at.run].Set(at.index)
	}
	if missing > 0 {
		return core.WithHint(core.Fail(core.CodeRedundant, "%d chunks (%s) are neither on this machine nor at a connected peer", missing, lost),
			"bkp peers shows who is away: start the holders; or, if the file is still there: bkp split FILE --whole, and place that")
	}
	if len(order) == 0 || pl.args.DryRun {
		return nil
	}
	var wanted []spread.Wanted
	for _, r := range order {
		wanted = append(wanted, pl.fromHolders(r, need[r]))
	}
	return pl.bringBack(ctx, wanted)
}

// recallUnlinked brings runs back that holders have whole, but the plan gives to a node that none of them has a link
// to.
func (pl *placing) recallUnlinked(ctx context.Context) error {
	seen := map[*reusedRun]bool{}
	var wanted []spread.Wanted
	for class, spans := range pl.plan.Classes {
		for _, s := range spans {
			for run := s.Start; class > 0 && run < s.End(); run++ {
				r := pl.reused[class][run]
				if seen[r] || slices.Contains(r.holders, s.Node) || pl.linked(r.holders, s.Node) {
					continue
				}
				staged, err := pl.staged(ctx, r.Chunks)
				if err != nil {
					return err
				}
				if !staged {
					seen[r] = true
					wanted = append(wanted, pl.fromHolders(r, core.FullBitmap(len(r.Chunks))))
				}
			}
		}
	}
	return pl.bringBack(ctx, wanted)
}

func (pl *placing) linked(from []int, to int) bool {
	return slices.ContainsFunc(pl.snapshot.Links, func(l core.LinkState) bool {
		return l.To == to &&
			slices.Contains(from, l.From)
	})
}

func (pl *placing) fromHolders(r *reusedRun, wanted core.Bitmap) spread.Wanted {
	var holders []core.ID
	for _, node := range r.holders {
		holders = append(holders, pl.snapshot.Nodes[node].ID)
	}
	return spread.Wanted{Run: r.Run.Run, Needed: wanted, Holders: holders}
}

// bringBack puts what holders have into staging, claimed.
func (pl *placing) bringBack(ctx context.Context, wanted []spread.Wanted) error {
	if len(wanted) == 0 {
		return nil
	}
	n := pl.n
	for _, w := range wanted {
		for i, c := range w.Chunks {
			if w.Needed.Has(i) {
				pl.recalled = append(pl.recalled, c)
			}
		}
	}
	pl.status(control.Status{Phase: "recall", Text: fmt.Sprintf("%d runs, to be copied once more", len(wanted))})
	left, _, err := n.download(ctx, &order{alias: pl.version.Ref.Alias, wanted: wanted,
		holders: map[core.ID]spread.Standing{}, what: "recall",
		keep: func(_ core.ID, run, index int, data []byte) error {
			c := wanted[run].Chunks[index]
			return n.stagedPins.While(c, func() error { _, err := n.Staging.Put(ctx, c, core.Hash{}, data); return err })
		}})
	if err == nil && len(left) > 0 {
		err = core.Fail(core.CodeRedundant, "%d runs that are to be copied once more are at no reachable holder",
			len(left))
	}
	if err != nil {
		return fmt.Errorf("recall: %w", err)
	}
	return nil // what a power loss takes of it is brought back again
}
