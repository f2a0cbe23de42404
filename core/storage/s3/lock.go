// SPDX-License-Identifier: Apache-2.0

package s3

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bkp-tool/bkp/core"
)

// locks is until when the packs of a store cannot be removed, as far as it is known, and what is leaned on. The server
// lets nobody shorten a lock, whatever credentials he has: what is known holds, and only what has passed is asked for.
type locks struct {
	span time.Duration // from when a pack is put, or leaned on; 0: no pack is locked from now on
	now  func() time.Time

	mu     sync.Mutex
	until  map[string]time.Time
	leaned map[core.Hash]bool // since the last barrier
	proved bool               // the server locks what it is told to
}

func newLocks(span time.Duration) *locks {
	return &locks{span: max(0, span), now: time.Now, until: map[string]time.Time{}, leaned: map[core.Hash]bool{}}
}

// mostSlack is how much longer than the span a pack is locked at most.
const mostSlack = 24 * time.Hour

// next is until when a pack is locked from now: a 32nd of the span longer than that, so that not each version that leans
// on a pack asks for it again. Zero where nothing is locked. Servers know whole seconds.
func (l *locks) next() time.Time {
	if l.span == 0 {
		return time.Time{}
	}
	return l.now().Add(l.span + min(l.span/32, mostSlack) + time.Second).Truncate(time.Second)
}

// known is until when a pack is locked at least; zero where that is not known.
func (l *locks) known(name string) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.until[name]
}

func (l *locks) learn(name string, until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until[name] = until
}

func (l *locks) forget(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.until, name)
}

// lean has the next barrier lock the packs of chunks for as long as one that is put then.
func (l *locks) lean(chunks ...core.Hash) {
	if l.span == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, hash := range chunks {
		l.leaned[hash] = true
	}
}

// take is what is leaned on since the last time.
func (l *locks) take() map[core.Hash]bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	taken := l.leaned
	l.leaned = map[core.Hash]bool{}
	return taken
}

// prove has the server say, of the first pack that this process wrote, that it is locked: one that does not know what a
// lock is takes the pack all the same.
func (p *packs) prove(name string, until time.Time) error {
	p.locks.mu.Lock()
	proved := p.locks.proved
	p.locks.mu.Unlock()
	if proved || until.IsZero() {
		return nil
	}
	said, err := p.bucket.lockedUntil(p.ctx, packKey(name), "")
	if err == nil && said.Before(until) {
		err = core.WithHint(core.Fail(core.CodeRefused, "%s: the server took a pack and did not lock it",
			p.bucket.place.Short()), "it knows no Object Lock: start the node with --lock off")
	}
	if err == nil {
		p.locks.mu.Lock()
		p.locks.proved = true
		p.locks.mu.Unlock()
	}
	return err
}

// Locked is until when a pack cannot be removed; zero where it can. It makes packs a disk.LockedPacks.
func (p *packs) Locked(name string) (time.Time, error) {
	if !p.bucket.place.byVersion() {
		return time.Time{}, nil
	}
	now := p.locks.now()
	if until := p.locks.known(name); now.Before(until) {
		return until, nil
	}
	// Most often the newest version is the one, and locked: that is one request. Only what seems to be free is looked at
	// whole.
	until, err := p.bucket.lockedUntil(p.ctx, packKey(name), "")
	if err == nil && now.Before(until) {
		p.locks.learn(name, until)
		return until, nil
	}
	versions, err := p.bucket.versionsOf(p.ctx, packKey(name))
	for _, v := range versions.put {
		if err != nil {
			break
		}
		var of time.Time
		if of, err = p.bucket.lockedUntil(p.ctx, packKey(name), v.id); of.After(until) {
			until = of
		}
	}
	if err != nil || !now.Before(until) {
		return time.Time{}, err
	}
	p.locks.learn(name, until)
	return until, nil
}

// extend has a pack locked for as long as one that is put now.
func (p *packs) extend(ctx context.Context, name string) error {
	p.mu.RLock()
	_, mine := p.mine[name]
	p.mu.RUnlock()
	least := p.locks.now().Add(p.locks.span)
	if mine || !p.locks.known(name).Before(least) { // what is not up yet is locked when it goes up
		return nil
	}
	key := packKey(name)
	versions, err := p.bucket.versionsOf(ctx, key)
	if err != nil {
		return err
	}
	written, is := versions.written()
	if !is {
		return core.Fail(core.CodeWrong, "pack %s is gone from the bucket", name)
	}
	if _, err := p.bucket.uncover(ctx, key, versions); err != nil {
		return err
	}
	until, err := p.bucket.lockedUntil(ctx, key, written.id)
	if err == nil && until.Before(least) {
		until = p.locks.next()
		err = p.bucket.lock(ctx, key, written.id, until)
	}
	if err == nil {
		p.locks.learn(name, until)
	}
	return err
}

// extendAll has the packs that chunks stand in locked for as long as those that are put now.
func (s *Store) extendAll(ctx context.Context, chunks map[core.Hash]bool) error {
	packs := map[string]bool{}
	for hash := range chunks {
		name, err := s.PackOf(ctx, hash)
		if err == nil && name == "" {
			err = fmt.Errorf("chunk %s is not here any more", hash)
		}
		if err != nil {
			return err
		}
		packs[name] = true
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(mostRequests)
	for name := range packs {
		group.Go(func() error { return s.packs.extend(ctx, name) })
	}
	return group.Wait()
}

// Put is that of storage.Store. What is here already is leaned on.
func (s *Store) Put(ctx context.Context, c core.Chunk, id core.Hash, data []byte) (isNew bool, err error) {
	if isNew, err = s.Store.Put(ctx, c, id, data); err == nil && !isNew {
		s.packs.locks.lean(c.Hash)
	}
	return isNew, err
}

// Lean is that of storage.Leaner.
func (s *Store) Lean(ctx context.Context, hash core.Hash) (bool, error) {
	there, err := s.Has(ctx, hash)
	if there && err == nil {
		s.packs.locks.lean(hash)
	}
	return there, err
}

// Barrier is that of storage.Store. Where packs are locked, those that were leaned on are locked anew before it returns.
func (s *Store) Barrier(ctx context.Context) error {
	if s.packs.locks.span == 0 {
		return s.Store.Barrier(ctx)
	}
	s.leaning.Lock()
	defer s.leaning.Unlock()
	leaned := s.packs.locks.take()
	err := s.Store.Barrier(ctx)
	if err == nil {
		if err = s.extendAll(ctx, leaned); err != nil && ctx.Err() == nil {
			err = fmt.Errorf("lock what is leaned on: %w", err)
			s.packs.fail(err)
		}
	}
	if err != nil && ctx.Err() != nil {
		for hash := range maps.Keys(leaned) {
			s.packs.locks.lean(hash)
		}
		err = errors.Join(context.Cause(ctx), err)
	}
	return err
}

// Collect is that of storage.Collector. What is locked stays, and no chunk moves to another pack while that of another is
// being locked.
func (s *Store) Collect(ctx context.Context, live func(core.Hash) (bool, error), gone core.Notes) (core.Collected, error) {
	s.leaning.Lock()
	defer s.leaning.Unlock()
	return s.Store.Collect(ctx, live, gone)
}
