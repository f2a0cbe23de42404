// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/wire"
)

// Release lets a task go for its owner, or all that is kept of a version that is removed, and answers.
func (s *State) Release(from core.ID, m wire.Release) {
	t := s.target
	s.peers.Act(func() {
		done := wire.ReleaseDone{Query: m.Query}
		if err := t.write(func() (err error) {
			done.Runs, done.Bytes, err = t.release(m)
			return err
		}); err != nil {
			done.Code, done.Reason = reasonOf(err)
		}
		t.loop.Post(func(s *State) { s.peers.Send(from, done) })
	})
}

// release carries a release out, and says what went with it.
func (t *Target) release(m wire.Release) (runs int, bytes core.Size, err error) {
	r, err := key.OpenRelease(m.Envelope)
	if err == nil {
		err = r.Allowed(time.Now())
	}
	if err == nil {
		err = t.stillMay(r.Owner, key.IDOf(r.Key))
	}
	if err != nil {
		return 0, 0, refuse(core.ReasonRights, "%v", err)
	}
	if d, l, is := r.Kept(); is && m.Tombstone == nil { // with one it passes on its owner's word
		if err := t.mayRelease(r, d, l); err != nil {
			return 0, 0, err
		}
	}
	tasks := []core.TaskID{r.Task}
	if m.Tombstone != nil {
		if tasks, err = t.bury(r, m.Tombstone); err != nil {
			return 0, 0, err
		}
	}
	var locked int64
	t.loop.Ask(func(s *State) { locked = s.lockedUntil(r.Owner, tasks[0]) })
	if time.Now().Unix() < locked {
		return 0, 0, refuse(core.ReasonLocked, "task %s is locked until %s", r.Task, dayOf(locked))
	}
	for _, task := range tasks {
		n, size, failed := t.letGo(r.Owner, task, func() error {
			if task == r.Task {
				return t.Ledger.AppendRelease(m.Envelope)
			}
			return t.discharge(core.Discharge{Why: core.WhyExpired, Owner: r.Owner, Task: task,
				Note: "its owner removed the version"})
		})
		runs, bytes, err = runs+n, bytes+size, errors.Join(err, failed)
	}
	return runs, bytes, err
}

// lockedUntil is until when nobody releases a task; 0: no lock.
func (s *State) lockedUntil(owner core.ID, task core.TaskID) (until int64) {
	for id, seg := range s.segments {
		if id.Task == task && seg.Owner == owner {
			until = max(until, seg.LockedUntil)
		}
	}
	return until
}

// letGo forgets what is kept for a task, once the ledger says durably why: enter is what does that. A task that is not
// known here is let go of already.
func (t *Target) letGo(owner core.ID, task core.TaskID, enter func() error) (runs int, bytes core.Size, err error) {
	err = t.freeing(func() error {
		if err := t.endReceipts(owner, task, enter); err != nil {
			return err
		}
		runs, bytes, err = t.Holdings.ReleaseTask(owner, task)
		return err
	})
	t.balance(owner, 0)
	if err == nil {
		t.released.add()
	}
	if errors.Is(err, core.ErrNotFound) {
		err = nil
	}
	return runs, bytes, err
}

// endReceipts enters what ends a task's receipts: after it none is entered any more.
func (t *Target) endReceipts(owner core.ID, task core.TaskID, enter func() error) error {
	t.entering.Lock()
	defer t.entering.Unlock()
	known, err := t.Holdings.HasTask(owner, task)
	if err != nil || !known {
		return err
	}
	t.loop.Ask(func(s *State) { s.forgetTask(owner, task) })
	if err := errors.Join(enter(), t.Ledger.Sync()); err != nil {
		return fmt.Errorf("enter in the ledger that task %s ends: %w", task, err)
	}
	return nil
}

const (
	// restAfterRelease is how long bytes that were released stay at most where nobody asks for room: most often more is
	// released a moment later, and one collection frees it all.
	restAfterRelease = 15 * time.Second
	// restShare keeps collections that nobody waits for to a tenth of the time: what arrives waits for each.
	restShare = 9
	// lookForExpired is how often the target looks for tasks whose time is over.
	lookForExpired = time.Hour
	// questionPatience is how long a question after the room waits for what was released to be freed.
	questionPatience = 2 * time.Second
)

// releases is what owners have released and no collection has freed yet.
type releases struct {
	seen, freed atomic.Uint64 // how many there were, and how many of them had come when the last collection began
	before      atomic.Bool   // there may be some of before the node started
	came        chan struct{} // holds one word once there are any
	need        chan struct{} // holds one word once somebody wants the room
}

func (r *releases) init() {
	r.before.Store(true)
	r.came, r.need = make(chan struct{}, 1), make(chan struct{}, 1)
}

// add says that something was released.
func (r *releases) add() {
	r.seen.Add(1)
	signal(r.came)
}

// wait reports whether something that was released is not freed yet.
func (r *releases) wait() bool { return r.seen.Load() != r.freed.Load() }

// freeReleased frees by itself what was released: soon, or at once where room is wanted.
func (t *Target) freeReleased() {
	expired := time.NewTicker(lookForExpired)
	defer expired.Stop()
	var took time.Duration // of the last collection
	for {
		select {
		case <-t.released.came:
		case <-expired.C:
			if err := t.ReleaseAbandoned(); err != nil {
				t.Log.Error("let go of abandoned tasks", "error", err)
			}
			continue
		case <-t.ctx.Done():
			return
		}
		rest := time.NewTimer(max(restAfterRelease, restShare*took))
		select {
		case <-rest.C:
		case <-t.released.need:
		case <-t.ctx.Done():
		}
		rest.Stop()
		if t.ctx.Err() != nil {
			return
		}
		began := time.Now()
		t.collectReleased()
		took = time.Since(began)
	}
}

// AfterReleases calls then in an event: at once, or where something was released, which most often who asks for the
// room wants to be room again, when it is freed or questionPatience is over.
func (s *State) AfterReleases(then func(*State)) {
	t := s.target
	if !t.released.wait() {
		then(s)
		return
	}
	s.peers.Act(func() {
		freed := make(chan struct{})
		t.loop.Act(func() {
			defer close(freed)
			t.collectReleased()
		})
		patience := time.NewTimer(questionPatience)
		defer patience.Stop()
		select {
		case <-freed:
		case <-patience.C:
		}
		t.loop.Post(then)
	})
}

// makeRoom frees what was released before do is tried once more, where do lacks room.
func (t *Target) makeRoom(do func() error) error {
	err := do()
	if r, is := errors.AsType[*refusal](err); !is || r.code != core.ReasonSpace {
		return err
	}
	if t.released.before.Swap(false) {
		t.released.add()
	}
	t.collectReleased()
	return do()
}
