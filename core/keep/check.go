// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"context"
	"fmt"
	"time"

	"github.com/bkp-tool/bkp/core"
)

// Check holds the records of what is kept against each other, and has health say what was found: damage that it finds
// is no error.
func (t *Target) Check(ctx context.Context) (Records, error) {
	t.collecting.Lock()
	defer t.collecting.Unlock()
	return t.check(ctx)
}

// check is Check for who holds collecting.
func (t *Target) check(ctx context.Context) (Records, error) {
	found, err := CheckRecords(ctx, t.Holdings, t.Keeping, t.Ledger)
	if err != nil {
		return found, fmt.Errorf("hold the records of what is kept against each other: %w", err)
	}
	found.Damage = append(found.Damage, t.Damaged...)
	for _, d := range found.Damage {
		if d.Key == keyRotten {
			t.Health.Degrade(d.Key, d.Text+": their owners heal them with bkp place", false)
			t.Log.Error("damaged chunks", "problem", d.Text)
			continue
		}
		t.Health.Degrade(d.Key, d.Text+": bkp node repair", true)
		t.Log.Error("records disagree", "about", d.Key, "problem", d.Text)
		t.hasDamage.Store(true)
	}
	t.rotten.Store(&found.Rotten)
	t.lookAtRotten()
	t.loop.Ask(func(s *State) {
		for _, l := range found.Lost {
			s.forgetRuns(l.SegmentID, l.Runs)
		}
	})
	return found, nil
}

// lookAtRotten takes back that chunks are damaged once all of them are here anew, or are needed no more.
func (t *Target) lookAtRotten() {
	rotten := t.rotten.Load()
	if rotten == nil {
		return
	}
	if there, err := hasAll(t.ctx, t.Keeping, *rotten); there && err == nil && t.rotten.CompareAndSwap(rotten, nil) {
		t.Health.Recover(keyRotten)
	}
}

// checkAtStart is that once the node runs.
func (t *Target) checkAtStart() {
	began := time.Now()
	switch found, err := t.Check(t.ctx); {
	case t.ctx.Err() != nil:
	case err != nil:
		t.Log.Error("start-up check", "error", err)
		t.Health.Degrade("records", err.Error(), true)
	case len(found.Damage) == 0:
		t.Log.Debug("records agree", "seconds", time.Since(began).Seconds())
	}
}

// forgetGone has a segment no longer claim runs whose bytes are not in the packs: what this node claims to have it has.
func (t *Target) forgetGone(seg *Segment) error {
	kept, err := t.Holdings.Kept(seg.Task, seg.Number)
	if err != nil {
		return err
	}
	var gone []int
	for _, h := range kept {
		there, err := hasAll(t.ctx, t.Keeping, h.Needed())
		if err != nil {
			return err
		}
		if !there {
			gone = append(gone, h.Number)
		}
	}
	if len(gone) > 0 {
		t.loop.Ask(func(s *State) { s.forgetRuns(seg.ID(), gone) })
	}
	return nil
}

// WithoutGone takes the hash of every run out of a list whose bytes are not in the packs: nobody is told that it is
// kept here, and lists page by position.
func (t *Target) WithoutGone(files []core.File) {
	for i := range files {
		held, err := t.Holdings.Run(files[i].Hash)
		there := false
		if err == nil {
			there, err = hasAll(t.ctx, t.Keeping, held.Needed())
		}
		if err != nil || !there {
			files[i].Hash = core.Hash{}
		}
	}
}
