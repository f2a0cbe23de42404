// SPDX-License-Identifier: Apache-2.0

// Package storagetest holds an implementation of storage.Store to what that package promises.
package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/zeebo/blake3"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/storage"
)

// Place is one place for chunks, empty at first.
type Place interface {
	// Open opens it, once more where it is open already, as another process does.
	Open() (storage.Collector, error)
}

// Locking is a Place where nothing can be removed that was put in the last hour.
type Locking interface {
	Place
	Locks()
}

// Test tries everything on places that newPlace makes.
func Test(t *testing.T, newPlace func(t *testing.T) Place) {
	for _, test := range []struct {
		name string
		run  func(*trial)
	}{
		{"what was put comes back", comesBack},
		{"what is not there", isNotThere},
		{"nothing is changed by putting it again", again},
		{"many goroutines", many},
		{"another process", another},
		{"collection", collection},
		{"a collection that cannot tell", cannotTell},
		{"a collection waits for who holds", held},
		{"a context that has ended", ended},
		{"after Close", closed},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(&trial{t, newPlace(t)}) })
	}
}

type trial struct {
	*testing.T
	place Place
}

func (t *trial) open() storage.Collector {
	t.Helper()
	s, err := t.place.Open()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (t *trial) ok(err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// chunk is made-up stored bytes.
type chunk struct {
	core.Chunk
	id   core.Hash
	data []byte
}

func makeChunk(n int) chunk {
	data := bytes.Repeat(fmt.Appendf(nil, "chunk %d ", n), 1+n*n)
	return chunk{core.Chunk{Hash: blake3.Sum256(data), Size: core.Size(len(data))},
		blake3.Sum256(fmt.Appendf(nil, "id %d", n)), data}
}

// some is chunks of different sizes, an empty one among them.
func some() []chunk {
	all := []chunk{{core.Chunk{Hash: blake3.Sum256(nil)}, core.Hash{1}, nil}}
	for n := range 12 {
		all = append(all, makeChunk(n))
	}
	return all
}

func (t *trial) put(s storage.Store, c chunk) (isNew bool) {
	t.Helper()
	lent := bytes.Clone(c.data)
	isNew, err := s.Put(t.Context(), c.Chunk, c.id, lent)
	t.ok(err)
	clear(lent)
	return isNew
}

func (t *trial) barrier(s storage.Store) {
	t.Helper()
	t.ok(s.Barrier(t.Context()))
}

func (t *trial) close(s storage.Store) {
	t.Helper()
	t.ok(s.Close())
}

// want is that a chunk is there, whole, under its hash and its id.
func (t *trial) want(s storage.Store, c chunk) {
	t.Helper()
	got, err := s.Get(t.Context(), c.Hash, []byte("before"))
	t.ok(err)
	if string(got) != "before"+string(c.data) {
		t.Fatalf("chunk %s comes back as %d other bytes", c.Hash, len(got))
	}
	if has, err := s.Has(t.Context(), c.Hash); err != nil || !has {
		t.Fatalf("has %s: %v, %v", c.Hash, has, err)
	}
	if found, ok, err := s.Find(t.Context(), c.id); err != nil || !ok || found != c.Chunk {
		t.Fatalf("found by id: %v, %v, %v", found, ok, err)
	}
	if doubter, is := s.(storage.Doubter); is {
		if damaged, err := doubter.Damaged(t.Context(), c.Hash); err != nil || damaged {
			t.Fatalf("damaged %s: %v, %v", c.Hash, damaged, err)
		}
	}
}

// wantNot is that a chunk is not there, which is no error.
func (t *trial) wantNot(s storage.Store, c chunk) {
	t.Helper()
	if got, err := s.Get(t.Context(), c.Hash, nil); !errors.Is(err, core.ErrNotFound) {
		t.Fatalf("get %s: %d bytes, %v", c.Hash, len(got), err)
	}
	if has, err := s.Has(t.Context(), c.Hash); err != nil || has {
		t.Fatalf("has %s: %v, %v", c.Hash, has, err)
	}
	if found, ok, err := s.Find(t.Context(), c.id); err != nil || ok {
		t.Fatalf("found by id: %v, %v, %v", found, ok, err)
	}
}

func (t *trial) wantUsed(s storage.Store, chunks ...chunk) {
	t.Helper()
	var want core.Size
	for _, c := range chunks {
		want += c.Size
	}
	if used, err := s.Used(t.Context()); err != nil || used != want {
		t.Errorf("used %d, %v; want %d", used, err, want)
	}
}

func comesBack(t *trial) {
	s := t.open()
	all := some()
	for _, c := range all {
		if !t.put(s, c) {
			t.Errorf("%s is not new", c.Hash)
		}
		t.want(s, c) // before any barrier
	}
	t.barrier(s)
	t.barrier(s) // there is nothing to do
	t.close(s)
	s = t.open()
	defer t.close(s)
	for _, c := range all {
		t.want(s, c)
	}
	t.wantUsed(s, all...)
}

func isNotThere(t *trial) {
	s := t.open()
	defer t.close(s)
	t.wantNot(s, makeChunk(1))
	if _, ok, err := s.Find(t.Context(), core.Hash{}); ok || err != nil {
		t.Errorf("the id that stands for none: %v, %v", ok, err)
	}
	c := makeChunk(2)
	if _, err := s.Put(t.Context(), c.Chunk, c.id, c.data[1:]); err == nil {
		t.Error("put fewer bytes than the chunk has")
	}
	t.wantNot(s, c)
	c.id = core.Hash{}
	t.put(s, c)
	if _, ok, err := s.Find(t.Context(), core.Hash{}); ok || err != nil {
		t.Errorf("a chunk without an id was found by none: %v, %v", ok, err)
	}
	t.wantUsed(s, c)
}

func again(t *trial) {
	s := t.open()
	c := makeChunk(1)
	t.put(s, c)
	for range 2 {
		if t.put(s, c) {
			t.Error("it was new twice")
		}
		t.wantUsed(s, c)
		t.close(s)
		s = t.open()
	}
	t.close(s)
}

func many(t *trial) {
	s := t.open()
	defer t.close(s)
	all := some()
	var fresh sync.Map
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for _, c := range all {
				isNew, err := s.Put(t.Context(), c.Chunk, c.id, c.data)
				if err == nil && isNew {
					if _, twice := fresh.LoadOrStore(c.Hash, true); twice {
						err = errors.New("it was new to two goroutines")
					}
				}
				if err == nil {
					err = s.Barrier(t.Context())
				}
				if got, getErr := s.Get(t.Context(), c.Hash, nil); err == nil &&
					(getErr != nil || !bytes.Equal(got, c.data)) {
					err = fmt.Errorf("got %d bytes, %w", len(got), getErr)
				}
				if err != nil {
					t.Errorf("chunk %s: %v", c.Hash, err)
				}
			}
		})
	}
	wg.Wait()
	t.wantUsed(s, all...)
}

func another(t *trial) {
	s, other := t.open(), t.open()
	c := makeChunk(1)
	t.put(other, c)
	t.barrier(other)
	if got, err := s.Get(t.Context(), c.Hash, nil); err != nil || !bytes.Equal(got, c.data) {
		t.Errorf("what another made durable: %d bytes, %v", len(got), err)
	}
	t.close(other)
	t.put(s, c)
	t.barrier(s)
	t.want(s, c)
	t.close(s)
}

// notes remembers what it is told, and that it was to be durable.
type notes struct {
	told    map[core.Hash]core.Hash
	durable bool
}

func (n *notes) Note(_ context.Context, c core.Chunk, id core.Hash) error {
	n.told[c.Hash], n.durable = id, false
	return nil
}

func (n *notes) Barrier(context.Context) error {
	n.durable = true
	return nil
}

func collection(t *trial) {
	s := t.open()
	all := some()
	live := map[core.Hash]bool{}
	for i, c := range all {
		t.put(s, c)
		live[c.Hash] = i%3 == 0
	}
	t.barrier(s)
	gone := &notes{told: map[core.Hash]core.Hash{}}
	got, err := s.Collect(t.Context(), func(h core.Hash) (bool, error) {
		if _, err := s.Has(t.Context(), h); err != nil { // it may use the store
			return false, err
		}
		return live[h], nil
	}, gone)
	t.ok(err)
	if got.Waiting > 0 || len(got.Writers) > 0 || len(gone.told) > 0 && !gone.durable {
		t.Errorf("nobody else is there: %+v, told durably: %v", got, gone.durable)
	}
	for range 2 {
		for _, c := range all {
			has, err := s.Has(t.Context(), c.Hash)
			t.ok(err)
			switch {
			case live[c.Hash]:
				t.want(s, c)
			case !has && gone.told[c.Hash] != c.id:
				t.Errorf("%s went, and nobody was told", c.Hash)
			}
		}
		t.close(s)
		s = t.open()
	}
	for _, c := range all {
		t.put(s, c) // what went comes again
		t.want(s, c)
	}
	got, err = s.Collect(t.Context(), func(core.Hash) (bool, error) { return false, nil }, nil)
	t.ok(err)
	t.close(s)
	s = t.open()
	defer t.close(s)
	if t.locks() {
		t.wantLocked(s, got, all...)
		return
	}
	t.wantUsed(s)
}

func (t *trial) locks() bool {
	_, is := t.place.(Locking)
	return is
}

// wantLocked is that chunks which nobody needs are there all the same, counted as locked.
func (t *trial) wantLocked(s storage.Store, got core.Collected, chunks ...chunk) {
	t.Helper()
	var want core.Size
	for _, c := range chunks {
		want += c.Size
		t.want(s, c)
	}
	if got.Locked != want || got.Freed > 0 || got.Waiting > 0 || !got.LockedUntil.After(time.Now()) ||
		got.AllLockedUntil.Before(got.LockedUntil) {
		t.Errorf("nothing of it can go: %+v", got)
	}
	t.wantUsed(s, chunks...)
}

func cannotTell(t *trial) {
	s := t.open()
	defer t.close(s)
	all := some()
	for _, c := range all {
		t.put(s, c)
	}
	t.barrier(s)
	wrong, asked := errors.New("a tree node cannot be read"), 0
	_, err := s.Collect(t.Context(), func(core.Hash) (bool, error) {
		if asked++; asked == 3 {
			return false, wrong
		}
		return false, nil
	}, nil)
	if !errors.Is(err, wrong) {
		t.Errorf("collect: %v", err)
	}
	for _, c := range all {
		t.want(s, c)
	}
	t.put(s, makeChunk(20))
	t.barrier(s)
}

func held(t *trial) {
	s := t.open()
	defer t.close(s)
	c := makeChunk(1)
	t.put(s, c)
	t.barrier(s)
	release, err := s.Hold(t.Context())
	t.ok(err)
	nothing := func(core.Hash) (bool, error) { return false, nil }
	got, err := s.Collect(t.Context(), nothing, nil)
	t.ok(err)
	if !t.locks() && (got.Waiting != c.Size || len(got.Writers) != 1) {
		t.Errorf("held: %+v", got)
	}
	if data, err := s.Get(t.Context(), c.Hash, nil); err != nil || !bytes.Equal(data, c.data) {
		t.Errorf("held: %d bytes, %v", len(data), err)
	}
	t.ok(release())
	for range 2 {
		got, err = s.Collect(t.Context(), nothing, nil)
		t.ok(err)
	}
	if t.locks() {
		t.wantLocked(s, got, c)
		return
	}
	t.wantNot(s, c)
}

// calls is every call on a store, with a context.
func calls(s storage.Collector, c chunk) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"Put":     func(ctx context.Context) error { _, err := s.Put(ctx, c.Chunk, c.id, c.data); return err },
		"Barrier": s.Barrier,
		"Find":    func(ctx context.Context) error { _, _, err := s.Find(ctx, c.id); return err },
		"Get":     func(ctx context.Context) error { _, err := s.Get(ctx, c.Hash, nil); return err },
		"Has":     func(ctx context.Context) error { _, err := s.Has(ctx, c.Hash); return err },
		"Used":    func(ctx context.Context) error { _, err := s.Used(ctx); return err },
		"Hold":    func(ctx context.Context) error { _, err := s.Hold(ctx); return err },
		"Collect": func(ctx context.Context) error {
			_, err := s.Collect(ctx, func(core.Hash) (bool, error) { return true, nil }, nil)
			return err
		},
	}
}

func ended(t *trial) {
	s := t.open()
	defer t.close(s)
	c := makeChunk(1)
	t.put(s, c)
	cause := errors.New("nobody waits any more")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	for name, call := range calls(s, c) {
		if err := call(ctx); !errors.Is(err, cause) {
			t.Errorf("%s: %v", name, err)
		}
	}
	t.barrier(s) // a barrier that was not waited for breaks nothing
	t.want(s, c)
}

func closed(t *trial) {
	s := t.open()
	c := makeChunk(1)
	t.put(s, c)
	t.barrier(s)
	t.close(s)
	for name, call := range calls(s, c) {
		if err := call(t.Context()); err == nil || errors.Is(err, core.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
