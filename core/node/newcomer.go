package node

import (
	"context"
	"fmt"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/wire"
)

// welcome hears peers that came after the survey and reports whether one of them may take part. Each is heard once.
func (pl *placing) welcome(ctx context.Context) bool {
	n := pl.n
	var peers []core.ID
	n.ask(func() {
		for _, p := range n.connected() {
			if _, known := pl.index[p.id]; !known && !pl.heard[p.id] {
				pl.heard[p.id] = true
				peers = append(peers, p.id)
			}
		}
	})
	if len(peers) == 0 || pl.args.Plan != nil { // a plan that was given is carried out as it is
		return false
	}
	first := len(pl.snapshot.Nodes)
	pl.hear(ctx, peers, map[core.ID]wire.StateReport{})
	came := len(pl.snapshot.Nodes) > first
	if !came {
		return false
	}
	_, scores, err := pl.prices(ctx)
	n.ask(func() {
		came = false
		for i, state := range pl.snapshot.Nodes[first:] {
			node := first + i
			pl.room = append(pl.free(), state.Free)
			if err != nil || len(scores.Allow) > 0 && !scores.Allow[node-1] { // candidates are all but the source, which is node 0
				pl.barred[node] = true
				continue
			}
			came = true
			pl.notes = append(pl.notes, fmt.Sprintf("%s (%s) joined", pl.n.addressOf(state.ID), state.ID.Short()))
		}
	})
	if err != nil {
		n.Log.Warn("who joined is left out: the strategy cannot say whether it may keep anything", "strategy", pl.args.Strategy, "error", err)
	}
	return came
}
