// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/license"
)

// quietLife is how long nothing may come for a task before it can count as abandoned: a placement may outlast its
// licence.
const quietLife = 24 * time.Hour

// Collect frees what no holding needs. Whoever calls it has seen to it that the records agree.
func (t *Target) Collect(ctx context.Context) (core.Collected, error) {
	t.collecting.Lock()
	defer t.collecting.Unlock()
	if err := t.releaseAbandoned(); err != nil {
		return core.Collected{}, fmt.Errorf("abandoned tasks: %w", err)
	}
	return t.sweep(ctx)
}

// collectReleased frees what was released, if anything was; it returns when that is done, whoever does it.
func (t *Target) collectReleased() {
	t.collecting.Lock()
	defer t.collecting.Unlock()
	if !t.released.wait() || t.hasDamage.Load() {
		return
	}
	found, err := t.check(t.ctx)
	var freed core.Collected
	if err = cmp.Or(err, found.Err()); err == nil {
		freed, err = t.sweep(t.ctx)
	}
	if freed.Waiting > 0 {
		t.released.add() // again later
	}
	if freed.Freed > 0 {
		t.Log.Info("freed what was released", "bytes", freed.Freed, "waiting", freed.Waiting)
	}
	if err != nil {
		t.Log.Error("free what was released", "error", err)
	}
}

// sweep marks what is needed and sweeps the rest, while nothing can be pinned. The caller holds collecting.
func (t *Target) sweep(ctx context.Context) (freed core.Collected, err error) {
	released := t.released.seen.Load()
	err = t.pins.Sweep(func() error {
		needed := t.pins.Pinned()
		if err := t.Holdings.Live(func(c core.Chunk) { needed.Add(c.Hash) }); err != nil {
			return err
		}
		return t.freeing(func() (err error) {
			freed, err = t.Keeping.Collect(ctx, func(h core.Hash) (bool, error) { return needed.Has(h), nil }, nil)
			return err
		})
	})
	t.lookAtUse()
	if freed.Locked > 0 {
		time.AfterFunc(time.Until(freed.LockedUntil)+time.Second, t.released.add) // once the first of it can go
	}
	if err == nil {
		t.released.freed.Store(released)
		t.released.before.Store(false)
	}
	return freed, err
}

// freeing carries out what frees space, on a full disk in room that was set aside for that.
func (t *Target) freeing(do func() error) error {
	if t.Freeing == nil {
		return do()
	}
	return t.Freeing(do)
}

// ReleaseAbandoned lets go of tasks whose ref never came and whose licence has expired, and of those whose owner asked
// to be kept only until a time that has passed: their coordinator died, or has forgotten them.
func (t *Target) ReleaseAbandoned() error {
	t.collecting.Lock()
	defer t.collecting.Unlock()
	return t.releaseAbandoned()
}

func (t *Target) releaseAbandoned() error {
	now := time.Now()
	if err := t.Holdings.ForgetTombstones(now.Unix()); err != nil {
		return err
	}
	var quiet []core.Segment
	t.loop.Ask(func(s *State) {
		for _, seg := range s.segments {
			if now.Sub(seg.touched) > quietLife {
				quiet = append(quiet, seg.Segment)
			}
		}
	})
	for _, s := range quiet {
		expires, err := t.expiry(s)
		if err != nil {
			return err
		}
		if now.Before(expires) || now.Unix() < s.LockedUntil {
			continue
		}
		t.Log.Info("task abandoned", "task", s.Task, "owner", s.Owner.Short())
		_, _, err = t.letGo(s.Owner, s.Task, func() error {
			return t.discharge(core.Discharge{Why: core.WhyExpired, Owner: s.Owner, Task: s.Task})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// expiry is when a segment may go by itself.
func (t *Target) expiry(s core.Segment) (time.Time, error) {
	refs, err := t.Holdings.Refs(s.Owner)
	if err != nil {
		return time.Time{}, err
	}
	if slices.ContainsFunc(refs, func(r core.HeldRef) bool { return r.Task == s.Task }) {
		return time.Unix(s.RetainUntil, 0), nil
	}
	l, _, _, err := license.Open(s.License)
	if err != nil {
		return time.Time{}, fmt.Errorf("licence of task %s: %w", s.Task, err)
	}
	return time.Unix(l.Expires, 0), nil
}
