// SPDX-License-Identifier: Apache-2.0

package pack

import (
	"fmt"
	"sync"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/storage/disk/space"
)

// maxFinishing is how many packs are finished in the background at a time.
const maxFinishing = 2

// Owner hears what becomes of a Writer's packs, from several goroutines.
type Owner interface {
	Began(pack string)
	Finished(pack string) // it has its table, and its final name
}

// Writer appends records to packs of its own in a directory: to one at a time, while those that are full are finished
// in the background. One goroutine at a time may append, flush, rotate or close; any number may read meanwhile. After
// a write or sync that failed nobody knows what is durable, so that nothing is any more.
type Writer struct {
	dir   string
	owner Owner

	// Guarded by who appends.
	size    int64 // a pack takes no record that would make it longer, but its first
	space   func(dir string) (free, all core.Size, err error)
	room    bool          // what is appended now makes some: nothing is left to others
	filled  bool          // a pack: the next will be full as well
	jobs    chan writeJob // to the goroutine that writes; nil until the first record
	free    chan *buffer  // that nobody uses
	buffers int           // that there are

	writing   sync.WaitGroup // the goroutine that writes
	finishing sync.WaitGroup // packs that are being finished in the background

	mu         sync.RWMutex     // guards what follows; held for no longer than it takes to look something up
	current    *file            // where new records go; nil until the first; changed by who appends too
	mine       map[string]*file // every pack that is not finished
	background int              // packs being finished in the background
	begun      bool             // there are packs whose names may not be durable
	broken     error            // a write or sync failed
}

// NewWriter makes a writer of packs of about size bytes in a directory.
func NewWriter(dir string, size int64, owner Owner) *Writer {
	return &Writer{dir: dir, size: size, owner: owner, space: space.Of, mine: map[string]*file{}}
}

// SetSize makes the writer finish its packs sooner, or later.
func (w *Writer) SetSize(size int64) { w.size = size }

// SetSpace makes the writer believe in another disk.
func (w *Writer) SetSpace(of func(dir string) (free, all core.Size, err error)) { w.space = of }

// MakesRoom says whether what is appended from now on makes room, so that nothing of the disk is left to others.
func (w *Writer) MakesRoom(yes bool) { w.room = yes }

// Append adds a record to the current pack and says which that is, and where the record stands there. r tells its
// names. It can be read at once by ReadAt.
func (w *Writer) Append(r Row, data []byte) (pack string, at Row, err error) {
	if len(data) > MaxData {
		return "", r, fmt.Errorf("%d bytes are more than a record holds", len(data))
	}
	f, err := w.fileFor(len(data))
	if err != nil {
		return "", r, err
	}
	r.Offset, r.Size = uint32(f.end), uint32(len(data))
	if err := w.reserve(f, r.End()); err != nil {
		return "", r, err
	}
	header := r.header()
	w.fill(f, int64(r.Offset), header[:])
	w.fill(f, r.data(), data)
	w.mu.Lock()
	defer w.mu.Unlock()
	f.end = r.End()
	f.rows = append(f.rows, r)
	f.dirty = true
	return f.name, r, nil
}

// fileFor is the pack that takes a record of so many bytes, a new one where the current one is full.
func (w *Writer) fileFor(size int) (*file, error) {
	if f := w.current; f != nil && f.end+RecordHeader+int64(size) > w.size {
		w.filled = true
		w.finishLater(w.retire())
	}
	if w.current != nil {
		return w.current, nil
	}
	f, err := create(w.dir)
	if err != nil {
		return nil, err
	}
	w.owner.Began(f.name)
	w.mu.Lock()
	w.mine[f.name] = f
	w.current, w.begun = f, true
	w.mu.Unlock()
	var header [HeaderSize]byte
	copy(header[:], magic)
	w.fill(f, 0, header[:])
	return f, nil
}

// retire takes no more records into the current pack. It returns the pack where nothing of it is left to be written;
// else who writes the last of it will finish it.
func (w *Writer) retire() *file {
	f := w.current
	w.flush(f, false)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.current = nil
	if len(f.buffers) > 0 || w.broken != nil {
		return nil
	}
	return f
}

// finishLater finishes a pack in the background, or at once where enough are being finished already.
func (w *Writer) finishLater(f *file) {
	if f == nil {
		return
	}
	w.mu.Lock()
	background := w.background < maxFinishing
	if background {
		w.background++
	}
	w.mu.Unlock()
	if !background {
		w.finish(f)
		return
	}
	w.finishing.Go(func() {
		w.finish(f)
		w.mu.Lock()
		w.background--
		w.mu.Unlock()
	})
}

// finish gives a pack that takes no more records, and has them all, its table. Where that fails it goes on without:
// a flush makes its records durable all the same, and who opens the store next finds them.
func (w *Writer) finish(f *file) {
	w.mu.RLock()
	rows, end := f.rows, f.end
	w.mu.RUnlock()
	err := f.finish(w.dir, rows, end)
	w.mu.Lock()
	if f.file.Poisoned() != nil {
		w.fail(err)
	}
	if err == nil {
		f.rows, f.dirty = nil, false
		delete(w.mine, f.name)
	}
	w.mu.Unlock()
	if err == nil {
		w.owner.Finished(f.name)
	}
}

// Rotate finishes the current pack and waits for those before.
func (w *Writer) Rotate() error {
	if w.current != nil {
		w.finishLater(w.retire())
		<-w.afterAll()
	}
	w.finishing.Wait()
	return w.Broken()
}

// Flush has all written that was appended before, and returns what makes it durable: the packs, and where they are new,
// or names tells so, their directory. That may be called while others append.
func (w *Writer) Flush(names bool) (makeDurable func() error) {
	if w.current != nil {
		w.flush(w.current, true)
	}
	var dirty []*file
	w.mu.Lock()
	for _, f := range w.mine {
		if f.dirty {
			dirty = append(dirty, f)
			f.dirty = false
		}
	}
	names = names || w.begun
	w.begun = false
	w.mu.Unlock()
	written := w.afterAll()
	return func() error {
		<-written
		return w.makeDurable(dirty, names)
	}
}

// makeDurable syncs packs that are written, and their directory.
func (w *Writer) makeDurable(dirty []*file, names bool) error {
	err := w.Broken()
	for _, f := range dirty {
		if err == nil {
			err = f.sync()
		}
	}
	if err == nil && names {
		err = durable.SyncDir(w.dir)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fail(err)
	return w.broken // whatever failed while the disk was waited for
}

// fail makes the writer refuse everything from now on; the first reason stays. mu is held.
func (w *Writer) fail(err error) {
	if w.broken == nil {
		w.broken = err
	}
}

// Fail makes the writer refuse everything from now on, as a failed sync does.
func (w *Writer) Fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fail(err)
}

// Broken is why the writer takes nothing any more; nil while it does.
func (w *Writer) Broken() error {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.broken
}

// Close ends the use of the writer. What was rotated and flushed stays.
func (w *Writer) Close() {
	if w.jobs != nil {
		close(w.jobs)
		w.writing.Wait()
		w.jobs, w.free, w.buffers = nil, nil, 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range w.mine {
		f.abandon() // could not be finished; its records are durable, and who opens the store next finds them
	}
	w.mine = nil
}
