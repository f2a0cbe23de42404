// SPDX-License-Identifier: Apache-2.0

package datadir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/commands"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/staging"
	"github.com/bkp-tool/bkp/core/storage"
	"github.com/bkp-tool/bkp/core/storage/disk"
)

// maxKnown bounds how many chunks of a backup are remembered, so that memory does not grow with the file. One that
// comes again after that is sealed again, and may be placed twice.
const maxKnown = 1 << 20

// windows is where a backup's cutting puts what it seals: a store for each window of the file, which goes when the
// window is placed. What in it is no placed chunk, as the tree nodes of the manifest, moves to staging first.
type windows struct {
	dir       string
	staging   storage.Store
	notes     staging.Away // of what peers keep; nil: none
	offloaded *Offloaded
	covered   func(core.Hash) bool
	keep      func(core.Chunk, core.Hash, []byte) error

	mu    sync.Mutex
	open  []*window // oldest first; the last takes what is new
	next  int
	known map[[16]byte]core.Chunk // chunks of this backup by the first half of their ids
}

// window is one store. gate is held shared while a chunk is put, so that who holds it alone may close the store.
type window struct {
	dir   string
	end   core.Size // of the file, when it took its last chunk; 0 while it takes more; guarded by windows.mu
	gate  sync.RWMutex
	store *disk.Store // nil once it went

	mu  sync.Mutex
	put map[core.Hash]core.Hash // what must not be lost with it: its hash and id
}

// openWindows makes the first window below dir, and removes those of a backup that was interrupted.
func openWindows(dir string, in commands.Cutting, off *Offloaded) (*windows, error) {
	w := &windows{dir: dir, staging: in.Staging, notes: in.Away, offloaded: off, covered: in.Covered, keep: in.Keep,
		known: map[[16]byte]core.Chunk{}}
	if err := durable.RemoveAll(dir); err != nil {
		return nil, fmt.Errorf("remove old windows: %w", err)
	}
	return w, w.rotate(0)
}

// rotate begins a new window where the file has come to end.
func (w *windows) rotate(end core.Size) error {
	dir := filepath.Join(w.dir, strconv.Itoa(w.next))
	s, err := disk.Open(dir)
	if err != nil {
		return fmt.Errorf("open window: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.open) > 0 {
		w.open[len(w.open)-1].end = end
	}
	w.open = append(w.open, &window{dir: dir, store: s, put: map[core.Hash]core.Hash{}})
	w.next++
	return nil
}

func (w *windows) list() []*window {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]*window(nil), w.open...)
}

// Find knows what this backup sealed, what is staged, and what connected peers keep.
func (w *windows) Find(ctx context.Context, id core.Hash) (c core.Chunk, found bool, err error) {
	w.mu.Lock()
	c, found = w.known[[16]byte(id[:16])]
	w.mu.Unlock()
	if found {
		return c, true, nil
	}
	if c, found, err = w.staging.Find(ctx, id); found || err != nil {
		return c, found, err
	}
	c, found, err = w.offloaded.find(ctx, id)
	return c, found && w.covered(c.Hash), err
}

// Put keeps a chunk unless peers do already.
func (w *windows) Put(ctx context.Context, c core.Chunk, id core.Hash, data []byte) (isNew bool, err error) {
	if !w.covered(c.Hash) {
		for stored := false; !stored; {
			all := w.list()
			if stored, isNew, err = all[len(all)-1].add(ctx, c, id, data); err != nil {
				return false, err
			}
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.known) < maxKnown {
		w.known[[16]byte(id[:16])] = c
	}
	return isNew, nil
}

func (x *window) add(ctx context.Context, c core.Chunk, id core.Hash, data []byte) (stored, isNew bool, err error) {
	x.gate.RLock()
	defer x.gate.RUnlock()
	if x.store == nil {
		return false, false, nil // it went since: there is a newer one
	}
	x.mu.Lock()
	x.put[c.Hash] = id
	x.mu.Unlock()
	isNew, err = x.store.Put(ctx, c, id, data)
	return err == nil, isNew, err
}

// Barrier has nothing to do: a window's bytes are in the file still, and tree nodes are made durable in staging.
func (w *windows) Barrier(context.Context) error { return nil }

// Get appends the bytes of a chunk of a window, or of what is staged.
func (w *windows) Get(ctx context.Context, hash core.Hash, dst []byte) ([]byte, error) {
	for _, x := range w.list() {
		data, err := x.get(ctx, hash, dst)
		if !errors.Is(err, core.ErrNotFound) {
			return data, err
		}
	}
	return w.staging.Get(ctx, hash, dst)
}

func (x *window) get(ctx context.Context, hash core.Hash, dst []byte) ([]byte, error) {
	x.gate.RLock()
	defer x.gate.RUnlock()
	if x.store == nil {
		return dst, core.ErrNotFound
	}
	return x.store.Get(ctx, hash, dst)
}

// Has reports whether a chunk is here or at peers.
func (w *windows) Has(ctx context.Context, hash core.Hash) (bool, error) {
	for _, x := range w.list() {
		x.mu.Lock()
		_, ok := x.put[hash]
		x.mu.Unlock()
		if ok {
			return true, nil
		}
	}
	if w.covered(hash) {
		return true, nil
	}
	return w.staging.Has(ctx, hash)
}

// placed forgets chunks of which peers keep so many copies, and notes them for versions to come.
func (w *windows) placed(ctx context.Context, chunks []core.Chunk, copies int) error {
	for _, x := range w.list() {
		ids := make([]core.Hash, len(chunks))
		x.mu.Lock()
		for i, c := range chunks {
			ids[i] = x.put[c.Hash]
			delete(x.put, c.Hash)
		}
		x.mu.Unlock()
		for i, c := range chunks {
			if w.notes == nil || ids[i].IsZero() {
				continue
			}
			if err := w.notes.Note(ctx, c, ids[i], copies); err != nil {
				return err
			}
		}
	}
	return nil
}

// drop closes the windows that took their last chunk before the file had come to at, once what is left in them is
// staged.
func (w *windows) drop(ctx context.Context, at core.Size) error {
	for x := w.over(at); x != nil; x = w.over(at) {
		if err := w.remove(ctx, x); err != nil {
			return err
		}
		w.mu.Lock()
		w.open = w.open[1:]
		w.mu.Unlock()
	}
	return nil
}

// over is the oldest window where it took its last chunk before the file had come to at.
func (w *windows) over(at core.Size) *window {
	w.mu.Lock()
	defer w.mu.Unlock()
	if x := w.open[0]; x.end > 0 && x.end <= at {
		return x
	}
	return nil
}

func (w *windows) remove(ctx context.Context, x *window) error {
	x.gate.Lock()
	defer x.gate.Unlock()
	for hash, id := range x.put {
		data, err := x.store.Get(ctx, hash, nil)
		if err == nil {
			err = w.keep(core.Chunk{Hash: hash, Size: core.Size(len(data))}, id, data)
		}
		if err != nil {
			return fmt.Errorf("stage what is left of a window: %w", err)
		}
	}
	err := x.store.Close()
	x.store = nil
	return errors.Join(err, durable.RemoveAll(x.dir))
}

// stageAll closes every window.
func (w *windows) stageAll(ctx context.Context) error {
	for _, x := range w.list() {
		if err := w.remove(ctx, x); err != nil {
			return err
		}
	}
	return nil
}

// Close removes everything; what was not placed or staged is lost, and stands in the file.
func (w *windows) Close() error {
	var errs []error
	for _, x := range w.list() {
		x.gate.Lock()
		if x.store != nil {
			errs = append(errs, x.store.Close())
			x.store = nil
		}
		x.gate.Unlock()
	}
	return errors.Join(append(errs, durable.RemoveAll(w.dir))...)
}

// stage copies a chunk to staging.
func (w *windows) stage(ctx context.Context, c core.Chunk) error {
	id := core.Hash{}
	for _, x := range w.list() {
		x.mu.Lock()
		if known, ok := x.put[c.Hash]; ok {
			id = known
		}
		x.mu.Unlock()
	}
	data, err := w.Get(ctx, c.Hash, nil)
	if err != nil {
		return err
	}
	return errors.Join(w.keep(c, id, data), context.Cause(ctx))
}

// clearWindows removes what backups left that were killed: no living one holds their lock.
func (d Dir) clearWindows() (freed core.Size, err error) {
	dirs, err := filepath.Glob(d.Path("backup", "*"))
	for _, dir := range dirs {
		var n core.Size
		if n, err = clearWindow(dir); err != nil {
			return freed, fmt.Errorf("remove old windows: %w", err)
		}
		freed += n
	}
	return freed, err
}

func clearWindow(dir string) (freed core.Size, err error) {
	windows := filepath.Join(dir, "windows")
	if _, err := os.Stat(windows); err != nil {
		return 0, nil
	}
	lock := durable.NewLock(filepath.Join(dir, "lock"))
	if got, err := lock.TryLock(); err != nil || !got {
		return 0, err
	}
	defer lock.Close()
	err = filepath.WalkDir(windows, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			freed += core.Size(info.Size())
		}
		return err
	})
	return freed, errors.Join(err, durable.RemoveAll(windows))
}
