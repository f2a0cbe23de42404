// SPDX-License-Identifier: Apache-2.0

package place

import (
	"cmp"
	"context"
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/placements"
)

// Mend has what a record lacks placed anew, by what was wanted, and what silent nodes keep.
func (c *Coordinator) Mend(ctx context.Context, rec *placements.Record, unattended bool, silent []core.ID,
	tell func(Status)) (Result, error) {
	if rec.Delegation != nil {
		return c.carry(ctx, rec, unattended, silent, tell)
	}
	refs, err := c.versions(rec.Alias, rec.Version)
	if err != nil {
		return Result{}, err
	}
	args := mendArgs(rec, refs[0].Body.Name)
	args.Unattended, args.Silent = unattended, silent
	return c.Place(ctx, args, tell)
}

// mendArgs asks for what a record wants.
func mendArgs(rec *placements.Record, name string) Args {
	coordinator := ""
	if !rec.Coordinator.IsZero() { // which has not taken it yet
		coordinator = rec.Coordinator.String()
	}
	return Args{Name: name, Version: rec.Version, Coordinator: coordinator, Replicas: rec.Copies, Strategy: cmp.Or(rec.Strategy, defaultStrategy),
		Retain: rec.Retain, KeepLocal: rec.KeepLocal, Erasure: rec.Erasure, Out: rec.Out,
		Within: rec.Only, Mends: true}
}

// defaultStrategy is what prices nodes for a record that does not name a strategy.
const defaultStrategy = "seed"

// Drain has nodes keep nothing of a record any more: others take over first. With dry it is only planned.
func (c *Coordinator) Drain(ctx context.Context, rec *placements.Record, nodes []core.ID, dry bool,
	tell func(Status)) error {
	refs, err := c.versions(rec.Alias, rec.Version)
	if err != nil {
		return err
	}
	args := mendArgs(rec, refs[0].Body.Name)
	args.Out, args.DryRun = slices.Concat(rec.Out, nodes), dry
	_, err = c.Place(ctx, args, tell)
	return err
}
