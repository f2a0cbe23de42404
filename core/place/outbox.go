// SPDX-License-Identifier: Apache-2.0

package place

import (
	"context"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/placements"
	"github.com/bkp-tool/bkp/core/version"
)

// Outbox tells those let go, as far as they are there, who are to keep nothing any more of what is on record.
func (c *Coordinator) Outbox(ctx context.Context) error {
	all, err := c.Records.All()
	if err != nil {
		return err
	}
	for _, rec := range all {
		if c.Records.UnderWay(rec) || rec.Locked > time.Now().Unix() || !c.actsFor(rec) {
			continue
		}
		if rec.Taken && !rec.IsOver() && rec.Delegation == nil {
			c.askCoordinator(ctx, rec)
			continue
		}
		idle, keeping := rec.Idle()
		known := c.Peers.Known(slices.Concat(idle, keeping))
		away := func(id core.ID) bool { return !known[id].Reachable }
		if !rec.IsOver() && slices.ContainsFunc(keeping, away) {
			continue // it may be wanted yet
		}
		idle = slices.DeleteFunc(idle, away)
		var tombstone []byte
		if rec.IsOver() && len(idle) > 0 {
			if tombstone, err = c.tombstone(rec); err != nil {
				return err
			}
		}
		for _, id := range idle {
			if _, err := c.ReleaseRecord(ctx, id, rec, tombstone); err != nil {
				c.Log.Info("release", "peer", id.Short(), "error", err)
			}
		}
	}
	return nil
}

// askCoordinator asks who coordinates a version how far it is, as long as others keep it on this node's word, too.
func (c *Coordinator) askCoordinator(ctx context.Context, rec *placements.Record) {
	if len(rec.Others()) == 0 || !c.Peers.Known([]core.ID{rec.Coordinator})[rec.Coordinator].Reachable {
		return
	}
	owner, err := c.Owner("hand over")
	if err == nil && owner.MayRead() == nil {
		_, err = c.confirmed(ctx, owner, rec, rec.Wanted)
	}
	if err != nil {
		c.Log.Info("coordinator", "peer", rec.Coordinator.Short(), "error", err)
	}
}

// tombstone is that of a record's version; nil where the version lives.
func (c *Coordinator) tombstone(rec *placements.Record) ([]byte, error) {
	if rec.Delegation != nil {
		return c.Held.Buried(rec.Owner, rec.Alias, rec.Version)
	}
	gone, err := c.Versions.Gone(rec.Alias)
	for _, g := range gone {
		if g.Version == rec.Version {
			return g.Envelope, err
		}
	}
	return nil, err
}

// endGone ends the records of versions that are removed, which a removal that was killed left as they were, and forgets
// tombstones whose time is over.
func (c *Coordinator) endGone() error {
	gone, err := c.Versions.Gone("")
	if err != nil || len(gone) == 0 {
		return err
	}
	refs, err := c.Versions.Local("")
	if err != nil {
		return err
	}
	for _, g := range gone {
		if g.Until <= time.Now().Unix() {
			if err := c.Refs.Forget(g.Alias, g.Version); err != nil {
				return err
			}
			continue
		}
		if slices.ContainsFunc(refs, func(r version.Found) bool {
			return r.Ref.Alias == g.Alias && r.Ref.Version == g.Version
		}) {
			continue // another machine removed it, or this one was killed on the way: rm ends it
		}
		records, err := c.Records.Of(g.Alias, g.Version)
		for _, rec := range records {
			if err == nil && !rec.IsOver() {
				err = rec.End()
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}
