// SPDX-License-Identifier: Apache-2.0

package place

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/placements"
	"github.com/bkp-tool/bkp/core/version"
)

// recorded is the records of a version. One that was placed before there were any gets one, of what its ref says.
func (c *Coordinator) recorded(ctx context.Context, ref version.Found) ([]*placements.Record, error) {
	all, err := c.Records.Of(ref.Ref.Alias, ref.Ref.Version)
	if err != nil || len(ref.Body.Records) == 0 {
		return all, err
	}
	for _, rec := range all {
		if rec.Task == ref.Body.Task {
			return all, nil
		}
	}
	rec, err := c.carryOver(ctx, ref)
	if rec != nil {
		all = append(all, rec)
	}
	return all, err
}

// CarryOver gives every version a record that was placed by this node before there were any, and ends those of versions
// that are removed.
func (c *Coordinator) CarryOver(ctx context.Context) error {
	if err := c.endGone(); err != nil {
		return err
	}
	refs, err := c.Versions.Local("")
	for _, ref := range refs {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if _, err := c.recorded(ctx, ref); err != nil {
			return fmt.Errorf("carry over %s@%d: %w", ref.Body.Name, ref.Ref.Version, err)
		}
	}
	return err
}

// carryOver writes a record of what a version's segment records say: wanted are as many copies as its runs have at
// least. It is nil where they are of another node, or of windows of a backup that was not placed as a whole.
func (c *Coordinator) carryOver(ctx context.Context, ref version.Found) (*placements.Record, error) {
	h := placements.Head{Owner: ref.Ref.Owner, Alias: ref.Ref.Alias, Version: ref.Ref.Version, Task: ref.Body.Task,
		Source: c.Node, Began: time.Now().UnixNano()}
	reader := version.NewReader(ctx, c.Here)
	var segments []*placements.Segment
	var known []placements.Entry
	least := math.MaxInt
	for number, sealed := range ref.Body.Records {
		r, err := reader.Record(sealed)
		if err != nil {
			return nil, err
		}
		if r.Task != h.Task || r.Source != h.Source || r.Number != number {
			return nil, nil
		}
		segments = append(segments, placements.NewSegment(h.Task, h.Alias, h.Version, number, r.Runs))
		least = min(least, r.Fewest())
		at := map[core.ID][]core.Range{}
		for _, span := range r.Spans {
			at[span.Node] = append(at[span.Node], core.Range{Start: span.Start, Length: span.Length})
		}
		for _, id := range core.Sorted(at) {
			for _, what := range []string{placements.Told, placements.Receipted} {
				known = append(known, placements.Entry{What: what, Node: id, Segment: number, Runs: at[id], Time: h.Began / 1e9})
			}
		}
	}
	h.Wanted.Copies = max(1, least)
	return c.Records.Begin(h, segments, known...)
}
