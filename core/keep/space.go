// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bkp-tool/bkp/core"
)

const (
	// lookAtDisk is how often the target looks how much room its disk has. Between two looks it counts what it keeps
	// itself; others write there, too.
	lookAtDisk = 3 * time.Second
	// promiseLife is how long room stays promised to a segment for which nothing arrives.
	promiseLife = 10 * time.Minute
	// orphanLife is how long where its source cannot be reached either. Who comes back is promised room anew when it
	// applies.
	orphanLife = time.Minute
)

// use is how much the store holds, for the loop, which does not ask the store. It is looked at after every put, before
// the loop hears of that, and after every collection: so a byte that was promised and has come is counted as promised,
// as used, or for a moment as both.
type use struct {
	looking sync.Mutex   // so that the last look is the one that counts
	bytes   atomic.Int64 // negative where the store cannot tell
}

// lookAtUse asks the store how much it holds.
func (t *Target) lookAtUse() (core.Size, error) {
	t.use.looking.Lock()
	defer t.use.looking.Unlock()
	used, err := t.Keeping.Used(t.ctx)
	if err != nil {
		t.use.bytes.Store(-1)
		return 0, err
	}
	t.use.bytes.Store(int64(used))
	return used, nil
}

// put stores a chunk that is pinned; id is zero where unknown.
func (t *Target) put(ctx context.Context, c core.Chunk, id core.Hash, data []byte) error {
	_, err := t.Keeping.Put(ctx, c, id, data)
	t.lookAtUse()
	return err
}

// watchSpace keeps what the loop knows of the disk up to date.
func (t *Target) watchSpace() {
	for t.pause(lookAtDisk) {
		if keeps, ok := t.measureSpace(); ok {
			t.loop.Post(func(s *State) { s.keeps = keeps })
		}
	}
}

const spaceKey = "space"

// measureSpace looks how much can be kept in all: the capacity, or less where the disk has less room beside what is
// kept; ok is false where that cannot be told.
func (t *Target) measureSpace() (keeps core.Size, ok bool) {
	if t.Room == nil {
		t.lookAtUse()
		return t.Capacity, true
	}
	room, err := t.Room()
	used, usedErr := t.lookAtUse()
	if usedErr != nil {
		err = usedErr
	}
	keeps = t.Capacity
	switch {
	case errors.Is(err, errors.ErrUnsupported):
	case err != nil: // a disk that does not say how much is free does not take more either
		t.Health.Degrade(spaceKey, fmt.Sprintf("its disk does not answer: %v", err), true)
		return 0, false
	default:
		keeps = min(keeps, used+room)
	}
	t.Health.Recover(spaceKey)
	return keeps, true
}

// remaining is the room that is neither used nor promised; none where the store cannot tell.
func (s *State) remaining() core.Size {
	used := s.target.use.bytes.Load()
	if used < 0 {
		return 0
	}
	return max(0, s.keeps-core.Size(used)-s.reserved)
}

// Offered is the room that peers are told of: none while nothing new can be kept, so that plans go elsewhere.
func (s *State) Offered() core.Size {
	if s.target.refuses() != nil {
		return 0
	}
	return s.remaining()
}

// Reserved is the room that is promised to accepted segments.
func (s *State) Reserved() core.Size { return s.reserved }

// promise keeps so much room for what is to come of a segment.
func (s *State) promise(seg *Segment, room core.Size) error {
	more := room - seg.promised
	if more <= 0 {
		return nil
	}
	if s.may(seg.Owner, more) != nil {
		s.dropDead(seg)
	}
	if err := s.may(seg.Owner, more); err != nil {
		return err
	}
	free := s.remaining()
	if more > free {
		s.dropDead(seg)
		free = s.remaining()
	}
	if more > free {
		signal(s.target.released.need)
		return refuse(core.ReasonSpace, "%s are needed here, %s are free", more, free)
	}
	seg.promised += more
	s.reserved += more
	s.account(seg.Owner).promised += more
	seg.touched = time.Now()
	return nil
}

// dropDead takes back what is promised to other tasks of a segment's owner that seem dead: their source cannot be
// reached, and nothing arrives for them. It is the owner's to use again.
func (s *State) dropDead(seg *Segment) {
	for _, other := range s.segments {
		if other.Owner == seg.Owner && other.Task != seg.Task && s.orphan(other) {
			s.dropPromises(other)
		}
	}
}

// orphan reports whether nothing arrives for a segment, and its source cannot be reached.
func (s *State) orphan(seg *Segment) bool {
	return len(seg.arriving) == 0 && !s.peers.Reachable(seg.Source)
}

// DropOutlived takes back promises that nobody came for.
func (s *State) DropOutlived() {
	s.dropOldRecords()
	for _, seg := range s.segments {
		quiet := time.Since(seg.touched)
		if quiet > promiseLife || quiet > orphanLife && s.orphan(seg) {
			s.dropPromises(seg)
		}
	}
}

// Restarted takes back what was promised to a node's placements before it started anew: they ended with it. What it
// goes on with is promised room again when its runs are offered.
func (s *State) Restarted(source core.ID) {
	for _, seg := range s.segments {
		if seg.Source == source && len(seg.arriving) == 0 {
			s.dropPromises(seg)
		}
	}
}

// dropPromise takes a run's bytes out of what is promised.
func (s *State) dropPromise(seg *Segment, run int) {
	s.unpromise(seg, min(seg.promised, seg.File(run).Size))
	seg.touched = time.Now()
}

// trimPromise takes back what a segment no longer needs: its runs turned out to be here.
func (s *State) trimPromise(seg *Segment) { s.unpromise(seg, max(0, seg.promised-seg.Missing())) }

// dropPromises takes back all that is promised to a segment.
func (s *State) dropPromises(seg *Segment) { s.unpromise(seg, seg.promised) }

func (s *State) unpromise(seg *Segment, room core.Size) {
	seg.promised -= room
	s.reserved -= room
	s.account(seg.Owner).promised -= room
}
