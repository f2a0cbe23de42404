// SPDX-License-Identifier: Apache-2.0

package place

import (
	"context"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
)

// Outbox tells those let go, as far as they are there, who are to keep nothing any more of what is on record.
func (c *Coordinator) Outbox(ctx context.Context) error {
	all, err := c.Records.All()
	if err != nil {
		return err
	}
	for _, rec := range all {
		if c.Records.UnderWay(rec) || rec.Locked > time.Now().Unix() {
			continue
		}
		idle, keeping := rec.Idle()
		known := c.Peers.Known(slices.Concat(idle, keeping))
		away := func(id core.ID) bool { return !known[id].Reachable }
		if !rec.IsOver() && slices.ContainsFunc(keeping, away) {
			continue // it may be wanted yet
		}
		for _, id := range slices.DeleteFunc(idle, away) {
			if _, err := c.ReleaseRecord(ctx, id, rec); err != nil {
				c.Log.Info("release", "peer", id.Short(), "error", err)
			}
		}
	}
	return nil
}
