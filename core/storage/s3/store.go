// SPDX-License-Identifier: Apache-2.0

package s3

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/storage/disk"
	"github.com/bkp-tool/bkp/core/storage/disk/pack"
	"github.com/bkp-tool/bkp/core/storage/disk/writers"
)

const lockPause = 50 * time.Millisecond

// closePatience is how long Close, and who is to end, wait for a bucket that does not answer. Tests have less.
var closePatience = 30 * time.Second

// Options say which store to open.
type Options struct {
	Place Place
	Dir   string  // of what is known of the packs; may be removed while nobody has the store open
	Node  core.ID // whose packs they are

	// Until ends when nobody wants to wait any more: a bucket that does not answer is given up soon after. Nil: never.
	Until context.Context
	// Say is told what a person should know; nil: nobody is.
	Say func(format string, args ...any)
	// Trouble is told of a bucket that does not answer, or has no time, and is asked again: once, and nil when it did.
	Trouble func(error)

	packSize int64 // 0: packSize
}

// Store is an open store. Any number of goroutines may use it.
type Store struct {
	*disk.Store
	packs   *packs
	leaning sync.Mutex  // held by who locks packs that are leaned on, and by who may remove some
	unwatch func() bool // Options.Until; nil where there is none
}

// Open opens the store for reading and writing, and mends what a process that died left behind. The first in a place
// takes it for its node.
func Open(ctx context.Context, o Options) (*Store, error) {
	s, err := open(ctx, o, true)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	return s, nil
}

// OpenRead opens the store for reading only. It asks the bucket for what is read, and for what stands in it only where
// nothing of that is known here.
func OpenRead(ctx context.Context, o Options) (*Store, error) {
	s, err := open(ctx, o, false)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	return s, nil
}

func open(ctx context.Context, o Options, write bool) (*Store, error) {
	if o.Say == nil {
		o.Say = func(string, ...any) {}
	}
	if o.packSize == 0 {
		o.packSize = packSize
	}
	b, err := dial(o.Place, o.Trouble)
	dir := filepath.Join(o.Dir, "packs")
	known := false
	if _, lacks := os.Stat(completePath(dir)); lacks == nil {
		known = true
	}
	if err != nil && (write || !known) {
		return nil, err
	}
	if err != nil {
		b = &bucket{place: o.Place, unusable: err}
	}
	if write || !known {
		if err := prepare(ctx, o, b, dir, write); err != nil {
			return nil, err
		}
	}
	s := &Store{}
	on := func(owner pack.Owner) disk.Packs {
		s.packs = newPacks(b, dir, o.packSize, owner)
		return s.packs
	}
	if write {
		s.Store, err = disk.OpenOn(o.Dir, o.packSize, on)
	} else {
		s.Store, err = disk.OpenReadOn(o.Dir, on)
	}
	if err != nil {
		s.packs.Close()
		return nil, err
	}
	if o.Until != nil {
		s.unwatch = context.AfterFunc(o.Until, func() { time.AfterFunc(closePatience, s.packs.cancel) })
	}
	return s, nil
}

// prepare finds out what stands in the bucket.
func prepare(ctx context.Context, o Options, b *bucket, dir string, write bool) error {
	b.patience = startPatience
	err := b.claim(ctx, o.Node, write)
	if err == nil && write && o.Place.Lock > 0 {
		err = b.canLock(ctx)
	}
	b.patience = patience
	if err != nil {
		return err
	}
	list := writers.Dir(filepath.Join(o.Dir, "writers"))
	if err := errors.Join(durable.MkdirAll(dir), list.Make()); err != nil {
		return err
	}
	s := &syncer{packs: newPacks(b, dir, o.packSize, nil), writers: list, say: o.Say}
	defer s.packs.Close()
	return s.run(ctx, write)
}

// Where is that of storage.Remote.
func (s *Store) Where() (url string, lock time.Duration) {
	place := s.Place()
	lock, place.Lock = max(0, place.Lock), 0
	return place.String(), lock
}

// Place is where the packs stand.
func (s *Store) Place() Place { return s.packs.bucket.place }

// Close is that of storage.Store. A bucket that does not answer is waited for only a while.
func (s *Store) Close() error {
	late := time.AfterFunc(closePatience, s.packs.cancel)
	defer late.Stop()
	if s.unwatch != nil {
		defer s.unwatch()
	}
	err := s.Store.Close()
	s.packs.Close()
	return err
}
