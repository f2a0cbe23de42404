// SPDX-License-Identifier: Apache-2.0

package commands

import (
	"context"
	"errors"
	"fmt"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/place"
)

// Rebalance relieves nodes that are dear or nearly full, one placement after the other. What lacks copies is mended first,
// by who does that.
func (n *Node) Rebalance(ctx context.Context, args control.RebalanceArgs,
	status func(control.Status)) (r control.RebalanceResult, err error) {
	n.Asker().Await(ctx)
	r.Moved, r.DryRun = []control.Rebalanced{}, args.DryRun
	found, names, err := n.standings("rebalance", control.StandingArgs{Name: args.Name, Version: args.Version})
	if err != nil {
		return r, err
	}
	var failed []error
	shift := map[core.ID]core.Size{} // by what would have moved so far
	for _, s := range found {
		title := fmt.Sprintf("%s@%d", names[s.Record.Name()], s.Version)
		if s.Lacks || s.Placing {
			status(control.Status{Phase: "rebalance", Warning: true, Text: title + " stays: its copies are being made"})
			continue
		}
		out, err := n.coordinator().Rebalance(ctx, s.Record, args.DryRun, shift, told(status))
		if ctx.Err() != nil {
			return r, context.Cause(ctx)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("rebalance: %w", err))
			continue
		}
		if len(out.Relieved) == 0 {
			continue
		}
		row := movedBy(out)
		if args.DryRun {
			for _, x := range row.From {
				shift[x.Node] += x.Bytes
			}
			for _, x := range row.To {
				shift[x.Node] -= x.Bytes
			}
		}
		r.Moved = append(r.Moved, row)
	}
	return r, errors.Join(failed...)
}

// movedBy says what a placement moved, or would.
func movedBy(out place.Result) control.Rebalanced {
	row := control.Rebalanced{Name: out.Version.Body.Name, Version: out.Version.Ref.Version, From: []control.Moved{},
		To: []control.Moved{}}
	for _, x := range out.Relieved {
		row.From = append(row.From, control.Moved{Node: x.Node, Address: out.Survey.Address(x.Node), Bytes: x.Bytes,
			Why: x.Why})
	}
	gained := out.Standing.Gained()
	for _, id := range core.Sorted(gained) {
		row.To = append(row.To, control.Moved{Node: id, Address: out.Survey.Address(id), Bytes: gained[id]})
	}
	return row
}
