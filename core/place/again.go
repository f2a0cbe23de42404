// SPDX-License-Identifier: Apache-2.0

package place

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/placements"
	"github.com/bkp-tool/bkp/core/version"
)

// Mend has what a record lacks placed anew, by what was wanted, and what silent nodes keep.
func (c *Coordinator) Mend(ctx context.Context, rec *placements.Record, unattended bool, silent []core.ID,
	tell func(Status)) (Result, error) {
	if rec.Delegation != nil {
		return c.carry(ctx, rec, unattended, silent, tell)
	}
	if removed, err := c.removedElsewhere(rec); err != nil {
		return Result{}, err
	} else if removed {
		return Result{}, rec.End()
	}
	return c.again(ctx, rec, tell, func(a *Args) { a.Unattended, a.Silent = unattended, silent })
}

// removedElsewhere reports whether another machine of the owner removed what a record is of.
func (c *Coordinator) removedElsewhere(rec *placements.Record) (bool, error) {
	gone, err := c.Versions.Gone(rec.Alias)
	refs, failed := c.Versions.Local(rec.Alias)
	live, _ := version.Live(refs, gone)
	return slices.ContainsFunc(gone, func(g version.Gone) bool { return g.Version == rec.Version }) &&
		!slices.ContainsFunc(live, func(r version.Found) bool { return r.Ref.Version == rec.Version }), errors.Join(err, failed)
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
