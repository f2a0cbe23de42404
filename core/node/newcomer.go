package node

import (
	"context"
	"fmt"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/core/wire"
)

// hearPatience is how long who joined may take to tell its state, and the strategy to say what it may keep.
const hearPatience = 3 * time.Second

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
	timely := pl.request.Objective == "" || pl.request.Objective == plan.ObjectiveTime
	// a plan that was given, or is for the costs, is carried out as it is
	if len(peers) == 0 || !timely || pl.args.Plan != nil || pl.far {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, hearPatience)
	defer cancel()
	first := len(pl.snapshot.Nodes)
	n.ask(func() { pl.free() }) // of those that were there
	pl.hear(ctx, peers, map[core.ID]wire.StateReport{})
	if len(pl.snapshot.Nodes) == first {
		return false
	}
	_, scores, err := pl.prices(ctx)
	came := false
	n.ask(func() {
		pl.joined = first
		for node, state := range pl.snapshot.Nodes {
			if node < first {
				continue
			}
			pl.room = append(pl.room, pl.roomAt(node, scores))
			// candidates are all but the source, which is node 0
			if err != nil || len(scores.Allow) > 0 && !scores.Allow[node-1] {
				pl.barred[node] = true
				continue
			}
			came = true
			pl.notes = append(pl.notes, fmt.Sprintf("%s (%s) joined", pl.n.addressOf(state.ID), state.ID.Short()))
		}
	})
	if err != nil {
		n.Log.Warn("who joined is left out: the strategy cannot say whether it may keep anything", "strategy",
			pl.args.Strategy, "error", err)
	}
	return came
}
