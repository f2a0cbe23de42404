// SPDX-License-Identifier: Apache-2.0

// Package storage says what a place for sealed chunks promises, wherever it is. storage/disk keeps them in packs on a
// disk; storagetest holds every implementation to what is written here.
//
// A chunk is known by the hash of its stored bytes, and to its owner by the id of its plain content. It never changes:
// putting it again changes nothing, and getting it gives these bytes or an error.
//
// Every method takes a context and returns an error. A context that has ended makes a call fail with its cause, soon;
// what the call had done by then is done. "It is not here" is an answer and no error, except to Get; what could not be
// found out is an error and never an answer. Any number of goroutines may use a store, and any number of processes may
// have the same one open.
package storage

import (
	"context"
	"time"

	"github.com/bkp-tool/bkp/core"
)

// Store keeps sealed chunks. After Close every call fails.
type Store interface {
	// Put keeps the stored bytes of a chunk, which the caller has held against c.Hash and lends until Put returns; id
	// is zero where unknown. isNew is false where the chunk is here already and the next Barrier covers it. The chunk
	// can be read at once by this process, and is durable after a Barrier.
	Put(ctx context.Context, c core.Chunk, id core.Hash, data []byte) (isNew bool, err error)

	// Barrier returns nil when all is durable that was put, or that Put, Find or Has told to be here, before Barrier
	// was called. Only then may it be acknowledged. After a Barrier that failed for another reason than its context
	// nobody knows what is durable: every later Put and Barrier fails, and who goes on opens the store again and puts
	// anew what was not acknowledged.
	Barrier(ctx context.Context) error

	// Find is the chunk whose plain content has the given id; found is false where none is known that the next Barrier
	// covers. It need not know what other processes added since the store was opened: who misses an equal chunk pays
	// with space.
	Find(ctx context.Context, id core.Hash) (c core.Chunk, found bool, err error)

	// Get appends the stored bytes of a chunk to dst, held against their hash, durable or not. core.ErrNotFound where
	// it is not here, core.CodeWrong where it is here in no whole copy.
	Get(ctx context.Context, hash core.Hash, dst []byte) ([]byte, error)

	// Has reports whether the chunk is here and not known to be damaged.
	Has(ctx context.Context, hash core.Hash) (bool, error)

	// Used is the stored bytes of all chunks, those included that nobody needs until they are collected. It is answered
	// from memory.
	Used(ctx context.Context) (core.Size, error)

	Close() error
}

// Collector is a Store that can drop what nobody needs.
type Collector interface {
	Store

	// Collect removes chunks that are not live, as far as no other process may lean on them; it can end anywhere, and
	// the next one goes on. live may use the store, and is asked about a chunk once or more; an error of it ends the
	// collection, and nothing goes on its account. It must know of whatever this process found here, but not of what it
	// found under a Hold. Put and Barrier of this process wait. Of every chunk with a known id that is about to go,
	// gone is told, and its Barrier returns before the bytes go; nil: nobody is told. Another collection under way is
	// core.CodeBusy.
	Collect(ctx context.Context, live func(core.Hash) (bool, error), gone core.Notes) (core.Collected, error)

	// Hold makes every collection that ends after now wait with what it would remove until release is called, as
	// another process that has the store open does. It is for who finds chunks through a Store that lives longer than
	// the work that needs them.
	Hold(ctx context.Context) (release func() error, err error)
}

// Leaner is a Store that may keep what is in it from being removed for a time. Lean is Has of who is about to acknowledge
// that a chunk is here which others put: the next Barrier keeps it for as long as one that is put then.
type Leaner interface {
	Lean(ctx context.Context, hash core.Hash) (bool, error)
}

// Lean is that of s, where it can, or its Has.
func Lean(s Store) func(ctx context.Context, hash core.Hash) (bool, error) {
	if l, is := s.(Leaner); is {
		return l.Lean
	}
	return s.Has
}

// Remote is a Store that stands elsewhere than on a disk of this machine: where, as people write it, and for how long
// nobody can remove what is put there now; 0: anybody may who reaches it.
type Remote interface {
	Where() (url string, lock time.Duration)
}

// Doubter is a Store that can tell a chunk that it has damaged from one that it does not have.
type Doubter interface {
	// Damaged reports whether the chunk is here, and known to be damaged.
	Damaged(ctx context.Context, hash core.Hash) (bool, error)
}
