// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/storage/disk/files"
	"github.com/bkp-tool/bkp/core/storage/disk/index"
	"github.com/bkp-tool/bkp/core/storage/disk/pack"
	"github.com/bkp-tool/bkp/core/storage/disk/writers"
)

// Store is an open store. Any number of goroutines may use it.
type Store struct {
	dir      string
	readOnly bool
	closed   atomic.Bool
	files    *files.Cache // packs and tables that are read
	index    *index.Index
	writers  writers.Dir
	self     *writers.Writer // for as long as the store is open for writing

	collecting sync.Mutex // one collection at a time

	appending sync.Mutex // held by who appends to packs
	packs     Packs
	packSize  int64
	barrier   sync.Mutex // one Barrier at a time; those that wait find their work done

	stepped func(string) // nil but in tests
}

// Open opens the store in dir for reading and writing, making it where there is none, and mends what a process that
// died left behind. Until Close, no other process sweeps away what was to be found here.
func Open(dir string) (*Store, error) { return openSized(dir, pack.Size) }

func openSized(dir string, packSize int64) (*Store, error) {
	return newStore(dir, false, packSize, nil).open()
}

// OpenOn is Open of a store whose packs, of about packSize, are not files of dir: on makes what has them, of which the
// owner hears as it does of pack.Writer's.
func OpenOn(dir string, packSize int64, on func(owner pack.Owner) Packs) (*Store, error) {
	return newStore(dir, false, packSize, on).open()
}

func (s *Store) open() (*Store, error) {
	err := durable.MkdirAll(s.packsDir())
	if err == nil {
		err = s.writers.Make()
	}
	var list writers.Condemned
	if err == nil {
		s.self, list, err = s.writers.Enter()
	}
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if err = s.index.Condemn(list.Packs); err == nil {
		s.appending.Lock()
		err = s.adopt()
		s.appending.Unlock()
	}
	if err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("open store: %w", err)
	}
	s.mergeWanted() // what is not merged now is merged by the next one
	return s, nil
}

// OpenRead opens the store in dir for reading only: it sees what others write, locks nothing,
// and changes nothing but notes of what it finds damaged and, at Close, an index that is lost.
func OpenRead(dir string) (*Store, error) { return newStore(dir, true, pack.Size, nil).read() }

// OpenReadOn is OpenRead as OpenOn is Open.
func OpenReadOn(dir string, on func(owner pack.Owner) Packs) (*Store, error) {
	return newStore(dir, true, pack.Size, on).read()
}

func (s *Store) read() (*Store, error) {
	if err := s.index.Refresh(true); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	return s, nil
}

func newStore(dir string, readOnly bool, packSize int64, on func(pack.Owner) Packs) *Store {
	open := &files.Cache{}
	s := &Store{dir: dir, readOnly: readOnly, files: open, index: index.New(dir, readOnly, open),
		packSize: packSize, writers: writers.Dir(filepath.Join(dir, "writers"))}
	if on == nil {
		s.packs = &local{pack.NewWriter(s.packsDir(), packSize, s.index), s.packsDir(), open}
		return s
	}
	s.packs = on(s.index)
	s.index.RebuildBy(s.packs.Rebuild)
	return s
}

func (s *Store) packsDir() string { return filepath.Join(s.dir, "packs") }

func (s *Store) mergeWanted() {
	if s.index.WantsMerge() {
		_ = s.index.Compact()
	}
}

// Compact merges the tables of all finished packs.
func (s *Store) Compact() error { return s.index.Compact() }

// Close finishes what is being written. What was put after the last Barrier is durable when Close returns nil.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	defer s.files.Forget()
	if s.readOnly {
		s.mergeWanted() // else every reader would read all packs' tables again; it may not be allowed to
		return nil
	}
	s.collecting.Lock() // a collection ends first
	defer s.collecting.Unlock()
	s.barrier.Lock()
	defer s.barrier.Unlock()
	s.appending.Lock()
	defer s.appending.Unlock()
	err := errors.Join(s.barrierHere(), s.rotate())
	s.mergeWanted()
	s.packs.Close()
	return errors.Join(err, s.self.Leave())
}

// Broken is why the store takes nothing any more: the disk failed, or it is closed. nil while it does.
func (s *Store) Broken() error { return s.packs.Broken() }

// Used is the stored bytes of all chunks, those that nobody needs any more included until they are swept.
func (s *Store) Used(ctx context.Context) (core.Size, error) { return s.index.Used(), s.usable(ctx) }

// usable is why a call is not begun: its context has ended, or the store is closed.
func (s *Store) usable(ctx context.Context) error {
	if s.closed.Load() {
		return os.ErrClosed
	}
	return context.Cause(ctx)
}
