// SPDX-License-Identifier: Apache-2.0

package placements

import (
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/reconcile"
)

// Known is what a placement knows, as reconcile reads it. nodes is the snapshot's.
func (s *Standing) Known(nodes []core.NodeState) (known []reconcile.Segment) {
	for _, seg := range s.Segments {
		k := reconcile.Segment{Stripes: seg.Stripes, At: map[core.ID]reconcile.Copies{}}
		for id := range seg.Told {
			k.At[id] = reconcile.Copies{Told: true}
		}
		for id, has := range seg.Has {
			k.At[id] = reconcile.Copies{Told: true, Has: slices.Clone(has)}
		}
		for id, receipts := range seg.Receipts {
			c := k.At[id]
			c.Receipted, c.Proved = receipts, seg.Proofs[id]
			k.At[id] = c
		}
		for run, r := range seg.Runs {
			k.Sizes = append(k.Sizes, r.Size)
			if run >= len(seg.Held) {
				continue
			}
			for _, node := range seg.Held[run] {
				c := k.At[nodes[node].ID]
				if c.Has == nil {
					c.Has = core.NewBitmap(len(seg.Runs))
				}
				c.Has.Set(run)
				k.At[nodes[node].ID] = c
			}
		}
		known = append(known, k)
	}
	return known
}
