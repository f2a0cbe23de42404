// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
)

// ErrLocked is what a sweep meets while another one is under way. It is core.CodeBusy.
var ErrLocked = errors.New("the store is in use by another process")

func locked(doing string) error {
	return core.WithHint(core.Fail(core.CodeBusy, "%s: %w", doing, ErrLocked),
		"try again when the other command has ended")
}

// Store is an open store. Any number of goroutines may use it.
type Store struct {
	dir      string // PACKS
	packSize int64  // a pack takes no record that would make it longer, but its first
	readOnly bool
	self     *writer // for as long as the store is open for writing

	// appending is held while a record is added, and guards current, jobs, filled and the number of buffers.
	appending sync.Mutex
	filled    bool          // a pack: the next will be full as well
	jobs      chan writeJob // to the goroutine that writes; nil until the first record
	free      chan *buffer  // that nobody uses
	buffers   int           // that there are
	sweeping  bool          // what is put now makes room: the floor is not kept
	stepped   func(string)  // nil but in tests
	space     func(dir string) (free, all core.Size, err error)
	writing   sync.WaitGroup

	mu         sync.RWMutex // guards what follows; held for no longer than it takes to look something up or make a pack
	index      index
	packs      []*pack // by number; numbers are this Store's own
	names      map[string]*pack
	condemned  map[string]uint64          // packs that nobody here may lean on, though they can be read
	bad        map[string]map[uint32]bool // offsets of records that are damaged, by pack
	notes      int                        // how many of them this Store has found
	tables     []*merged                  // on disk; a slice is never changed, only replaced
	tableCount uint32                     // that were ever opened
	noTables   bool                       // the index on disk is damaged
	mend       bool                       // it is worth making anew
	loose      int                        // rows of finished packs that no merged table covers
	loosePacks int                        // finished ones that no merged table covers
	merging    bool                       // compact is under way
	maxLoose   int
	changed    int64 // modification time of the directory when it was last read
	used       core.Size
	current    *pack            // where new records go; nil until the first; changed with appending held too
	mine       map[uint32]*pack // every pack of this Store that is not finished
	growing    map[string]*pack // packs that other processes are writing
	background int              // packs being finished in the background
	newNames   bool             // there are packs, made here or by others, whose names may not be durable
	broken     error            // a write or sync failed: nobody knows what is durable, so nothing is any more
	closed     bool

	barrier   sync.Mutex     // one Barrier at a time; those that wait find their work done
	finishing sync.WaitGroup // packs that are being finished in the background
	files     files
}

// Open opens the store in dir for reading and writing, making it where there is none, and mends what a process that
// died left behind. Until Close, no other process sweeps away what was to be found here.
func Open(dir string) (*Store, error) { return openSized(dir, packSize) }

func openSized(dir string, packSize int64) (*Store, error) {
	s := newStore(filepath.Join(dir, "packs"))
	s.packSize = packSize
	err := s.makeDirs()
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	var list condemned
	if s.self, list, err = s.enter(); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s.condemned = list.packs
	if err = s.refresh(true); err == nil {
		s.appending.Lock()
		err = s.adopt()
		s.appending.Unlock()
	}
	if err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("open store: %w", err)
	}
	if s.wantsMerge() {
		_ = s.compact() // what is not merged now is merged by the next one
	}
	return s, nil
}

// makeDirs makes the directories of a store where they are not there.
func (s *Store) makeDirs() error {
	if err := durable.MkdirAll(s.dir); err != nil {
		return err
	}
	// lost with the power, it is made again
	if err := durable.Mkdir(s.writersDir()); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// OpenRead opens the store in dir for reading only: it sees what others write, locks nothing,
// and changes nothing but notes of what it finds damaged and, at Close, an index that is lost.
func OpenRead(dir string) (*Store, error) {
	s := newStore(filepath.Join(dir, "packs"))
	s.readOnly = true
	if err := s.refresh(true); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	return s, nil
}

func newStore(packs string) *Store {
	return &Store{dir: packs, maxLoose: maxLoose, space: diskSpace, packSize: packSize, names: map[string]*pack{},
		mine:    map[uint32]*pack{},
		growing: map[string]*pack{}, index: newIndex(), bad: noted(filepath.Dir(packs))}
}

// Close finishes what is being written. What was put after the last Barrier is durable when Close returns nil.
func (s *Store) Close() error {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.mu.Unlock()
	if closed {
		return nil
	}
	if s.readOnly {
		if s.wantsMerge() {
			_ = s.compact() // else every reader would read all packs' tables again; it may not be allowed to
		}
		s.files.forget()
		return nil
	}
	s.barrier.Lock()
	defer s.barrier.Unlock()
	s.appending.Lock()
	defer s.appending.Unlock()
	err := errors.Join(s.barrierHere(), s.rotate())
	if s.wantsMerge() {
		_ = s.compact()
	}
	if s.jobs != nil {
		close(s.jobs)
		s.writing.Wait()
		s.jobs, s.free, s.buffers = nil, nil, 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.mine {
		p.abandon() // could not be finished; its records are durable, and the next Open finds them
	}
	s.mine = nil
	s.files.forget()
	return errors.Join(err, s.leave(s.self))
}

// Broken is why the store takes nothing any more: the disk failed, or it is closed. nil while it does.
func (s *Store) Broken() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.broken
}

// Used is the stored bytes of all chunks, those that nobody needs any more included until they are swept.
func (s *Store) Used(ctx context.Context) (core.Size, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.used, s.usable(ctx)
}

// usable is why a call is not begun: its context has ended, or the store is closed. mu is held.
func (s *Store) usable(ctx context.Context) error {
	if s.closed {
		return os.ErrClosed
	}
	return context.Cause(ctx)
}

func (s *Store) begin(ctx context.Context) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.usable(ctx)
}

// Has reports whether the store has a chunk with this hash, condemned or not, that is not known to be damaged.
func (s *Store) Has(ctx context.Context, hash core.Hash) (bool, error) {
	at, ok, err := s.look(ctx, hash)
	return ok && !s.isDamaged(at), err
}

// Damaged reports whether the store has a chunk, and has it damaged as far as it knows.
func (s *Store) Damaged(ctx context.Context, hash core.Hash) (bool, error) {
	at, ok, err := s.look(ctx, hash)
	return ok && s.isDamaged(at), err
}

// Find is the chunk whose plain content has the given id, where the store knows, the next Barrier covers it, and no
// collection had condemned it when the store was opened. It does not look for what other processes added since: missing
// an equal chunk costs space, and every new chunk of a split is a miss.
func (s *Store) Find(ctx context.Context, id core.Hash) (c core.Chunk, found bool, err error) {
	if err := s.begin(ctx); id.IsZero() || err != nil {
		return core.Chunk{}, false, err
	}
	err = s.search(func() (lost bool, err error) {
		if c, found = s.findLoose(id); !found {
			c, found, lost, err = s.findTables(id)
		}
		return lost, err
	})
	return c, found, err
}

// findLoose finds an id in memory.
func (s *Store) findLoose(id core.Hash) (core.Chunk, bool) {
	s.mu.RLock()
	at, ok := s.index.ids[prefixOf(id)]
	ok = ok && s.reliable(at)
	s.mu.RUnlock()
	if !ok {
		return core.Chunk{}, false
	}
	r, err := s.readHeader(at)
	if err != nil || r.id != id {
		return core.Chunk{}, false
	}
	return core.Chunk{Hash: r.hash, Size: core.Size(r.size)}, true
}

// Get appends the stored bytes of a chunk to dst, durable or not. Bytes that do not match the hash are core.CodeWrong;
// a chunk that is not here is core.ErrNotFound.
func (s *Store) Get(ctx context.Context, hash core.Hash, dst []byte) ([]byte, error) {
	var data []byte
	err := s.record(ctx, hash, func(f packReader, r row) (err error) {
		data, err = readData(f, r, dst)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("get chunk %s: %w", hash, err)
	}
	return data, nil
}
