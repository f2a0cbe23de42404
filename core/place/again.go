// SPDX-License-Identifier: Apache-2.0

package place

import (
	"cmp"
	"context"
	"errors"
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
	if tombstone, err := c.tombstone(rec); err != nil || tombstone != nil { // another machine removed it
		return Result{}, errors.Join(err, rec.End())
	}
	return c.again(ctx, rec, tell, func(a *Args) { a.Unattended, a.Silent = unattended, silent })
}

// again places what a record wants, but for some of it.
func (c *Coordinator) again(ctx context.Context, rec *placements.Record, tell func(Status),
	but func(*Args)) (Result, error) {
	refs, err := c.versions(rec.Alias, rec.Version)
	if err != nil {
		return Result{}, err
	}
	coordinator := ""
	if !rec.Coordinator.IsZero() { // which has not taken it yet
		coordinator = rec.Coordinator.String()
	}
	args := Args{Name: refs[0].Body.Name, Version: rec.Version, Coordinator: coordinator, Replicas: rec.Copies,
		Strategy: cmp.Or(rec.Strategy, defaultStrategy), Retain: rec.Retain, KeepLocal: rec.KeepLocal, Erasure: rec.Erasure,
		Out: rec.Out, Within: rec.Only, Mends: true}
	but(&args)
	return c.Place(ctx, args, tell)
}

// defaultStrategy is what prices nodes for a record that does not name a strategy.
const defaultStrategy = "seed"

// Drain has nodes keep nothing of a record any more: others take over first. With dry it is only planned.
func (c *Coordinator) Drain(ctx context.Context, rec *placements.Record, nodes []core.ID, dry bool,
	tell func(Status)) error {
	_, err := c.again(ctx, rec, tell, func(a *Args) { a.Out, a.DryRun = slices.Concat(rec.Out, nodes), dry })
	return err
}
