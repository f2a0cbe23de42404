package node

import (
	"context"
	"fmt"
	"slices"

	"github.com/bkp-tool/bkp/core"
)

// recall brings chunks back that are to be sent from here and are here no more: copies of them were lost, and no holder has the
// whole run that they stand in. They stay claimed until the placement ends.
func (pl *placing) recall(ctx context.Context, chunks []core.Chunk, covered map[core.Hash]coveredChunk) error {
	n := pl.n
	need := map[*reusedRun]core.Bitmap{}
	var order []*reusedRun
	lost, missing := core.Size(0), 0
	for _, c := range chunks {
		at, ok := covered[c.Hash]
		switch {
		case n.Staging.Has(c.Hash):
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
	f := &fetching{n: n, args: FetchArgs{Name: pl.version.Body.Name}, status: pl.status, vault: pl.vault, version: pl.version,
		lost: map[core.ID]string{}, got: map[core.ID]core.Size{}, rates: map[core.ID]core.Rate{}}
	wanted := make([]*wantedRun, len(order))
	for i, r := range order {
		var holders []core.ID
		for _, node := range r.holders {
			holders = append(holders, pl.snapshot.Nodes[node].ID)
		}
		wanted[i] = newWantedRun(r.Run, need[r], holders)
		pl.recalled = append(pl.recalled, wanted[i].sent...)
	}
	pl.status(Status{Phase: "recall", Text: fmt.Sprintf("%d runs of which copies were lost", len(wanted))})
	left, err := f.gather(ctx, slices.Clone(wanted), "recall", func(_ core.ID, _ int, _ *wantedRun, c core.Chunk, data []byte) error {
		return n.sealing.while(c, func() error { _, err := n.Staging.Put(c, core.Hash{}, data); return err })
	})
	if err == nil && len(left) > 0 {
		err = core.Fail(core.CodeRedundant, "%d runs of which copies were lost are at no reachable holder", len(left))
	}
	if err != nil {
		return fmt.Errorf("recall: %w", err)
	}
	return n.Staging.Barrier()
}
