// SPDX-License-Identifier: Apache-2.0

package pack

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
	"unsafe"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/storage/disk/space"
)

const (
	bufferSize = 4 << 20 // of one write
	// so that the disk has the next one while a busy machine comes to know that the one before is done
	maxWriting  = 2
	bufferCount = 5       // one being filled, those being written, two between
	blockSize   = 4096    // what writes past the page cache are aligned to
	firstRoom   = 1 << 20 // reserved for the first pack; each time it is full, as much again
)

// buffer holds records on their way to their pack, in memory that is aligned for writing past the page cache.
type buffer struct {
	mem   []byte // a multiple of blockSize
	file  *file
	start int64 // in the pack; a multiple of blockSize
	again bool  // begins with a block that the buffer before has, too

	// Guarded by Writer.mu.
	n       int  // bytes of records
	given   bool // to be written: nothing may be added
	written bool
}

func newBuffer(packSize int64) *buffer {
	size := int(min(bufferSize, max(1, packSize/2/blockSize)*blockSize))
	mem := make([]byte, size+blockSize)
	skip := -int(uintptr(unsafe.Pointer(&mem[0]))) & (blockSize - 1)
	return &buffer{mem: mem[skip:][:size]}
}

// writeJob is for the goroutine that has buffers written: a buffer, and whom to tell when all before is written.
type writeJob struct {
	buffer *buffer
	done   chan<- struct{}
}

// write writes the buffers, maxWriting of them at a time, until the channel is closed. After a failure nobody knows
// what is in the packs, so that the writer takes nothing more.
func (w *Writer) write(jobs <-chan writeJob) {
	var under sync.WaitGroup
	turns := make(chan struct{}, maxWriting)
	for j := range jobs {
		if j.buffer == nil || j.buffer.again {
			under.Wait()
		}
		if j.buffer == nil {
			close(j.done)
			continue
		}
		turns <- struct{}{}
		under.Go(func() {
			w.finishLater(w.written(j.buffer, j.buffer.write()))
			<-turns
		})
	}
	under.Wait()
}

// write puts the buffer where it belongs, padded with zeros.
func (b *buffer) write() error {
	whole := (b.n + blockSize - 1) &^ (blockSize - 1)
	clear(b.mem[b.n:whole])
	direct := b.file.direct.Load() // before: another buffer's write may find out meanwhile
	_, err := b.file.file.WriteAt(b.mem[:whole], b.start)
	if errors.Is(err, syscall.EINVAL) && direct { // it seemed to be able to
		b.file.file.SetDirect(false)
		b.file.direct.Store(false)
		_, err = b.file.file.WriteAt(b.mem[:whole], b.start)
	}
	return err
}

// written takes a buffer out of its pack, which has the bytes now, as soon as those before it are out: what is left are
// the last ones. The caller finishes the pack that is full and written.
func (w *Writer) written(b *buffer, err error) (full *file) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := b.file
	b.written = true
	for len(f.buffers) > 0 && f.buffers[0].written {
		w.free <- f.buffers[0] // there is room for all of them
		f.buffers = f.buffers[1:]
	}
	if err != nil {
		w.fail(fmt.Errorf("write pack %s: %w", f.name, space.Explain(err, w.dir)))
	}
	if w.current != f && len(f.buffers) == 0 && w.broken == nil {
		return f
	}
	return nil
}

// fill copies b to the end of a pack's buffers, which is byte at of the pack.
func (w *Writer) fill(f *file, at int64, b []byte) {
	for len(b) > 0 {
		last := w.lastBuffer(f)
		if last == nil {
			last = w.addBuffer(f, at)
		}
		n := copy(last.mem[last.n:], b)
		w.mu.Lock()
		last.n += n
		w.mu.Unlock()
		at, b = at+int64(n), b[n:]
		if last.n == len(last.mem) {
			w.give(last)
		}
	}
}

// give has a buffer written.
func (w *Writer) give(b *buffer) {
	w.mu.Lock()
	b.given = true
	w.mu.Unlock()
	w.jobs <- writeJob{buffer: b}
}

// lastBuffer is the one that takes what comes next; nil where there is none.
func (w *Writer) lastBuffer(f *file) *buffer {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if n := len(f.buffers); n > 0 && !f.buffers[n-1].given {
		return f.buffers[n-1]
	}
	return nil
}

// addBuffer waits for a buffer that nobody uses.
func (w *Writer) addBuffer(f *file, start int64) *buffer {
	if w.jobs == nil {
		w.free, w.jobs = make(chan *buffer, bufferCount), make(chan writeJob, bufferCount)
		jobs := w.jobs
		w.writing.Go(func() { w.write(jobs) })
	}
	var b *buffer
	select {
	case b = <-w.free:
	default:
		if w.buffers < bufferCount {
			w.buffers++
			b = newBuffer(w.size)
		} else {
			b = <-w.free
		}
	}
	w.mu.Lock()
	b.file, b.start, b.n, b.again, b.given, b.written = f, start, 0, false, false, false
	f.buffers = append(f.buffers, b)
	w.mu.Unlock()
	return b
}

// flush gives what is in the last buffer of a pack to be written. Where more may follow, the block that it ends in is
// taken over into another buffer, to be written again with what comes.
func (w *Writer) flush(f *file, more bool) {
	last := w.lastBuffer(f)
	if last == nil {
		return
	}
	if begun := last.n &^ (blockSize - 1); more && begun < last.n {
		next := w.addBuffer(f, last.start+int64(begun))
		n := copy(next.mem, last.mem[begun:last.n])
		next.again = true
		w.mu.Lock()
		next.n = n
		w.mu.Unlock()
	}
	w.give(last)
}

// afterAll is closed when all that was given to be written is.
func (w *Writer) afterAll() <-chan struct{} {
	done := make(chan struct{})
	if w.jobs != nil {
		w.jobs <- writeJob{done: done}
	} else {
		close(done)
	}
	return done
}

// ReadAt reads from a pack, which f is: what of one of the writer's own is not there yet is in its buffers.
func (w *Writer) ReadAt(pack string, f io.ReaderAt, dst []byte, at int64) error {
	w.mu.RLock()
	end := at + int64(len(dst)) // from here on all is read
	if own := w.mine[pack]; own != nil {
		end = own.readBuffers(dst, at)
	}
	w.mu.RUnlock()
	if end == at {
		return nil
	}
	_, err := f.ReadAt(dst[:end-at], at)
	return err
}

// readBuffers reads the end of a stretch that stands in buffers, and says where that begins. Writer.mu is held.
func (f *file) readBuffers(dst []byte, at int64) (end int64) {
	end = at + int64(len(dst))
	for i := len(f.buffers) - 1; i >= 0 && end > at; i-- {
		b := f.buffers[i]
		if b.start >= end || b.start+int64(b.n) < end {
			continue
		}
		from := max(at, b.start)
		copy(dst[from-at:end-at], b.mem[from-b.start:])
		end = from
	}
	return end
}

// reserve makes sure that there is room in the file up to end, so that a full disk is met before anything depends on
// it.
func (w *Writer) reserve(f *file, end int64) error {
	if end <= f.reserved {
		return nil
	}
	if free, all, err := w.space(w.dir); err == nil && !w.room { // who cannot tell does not refuse
		if err := space.Admit(free, all, core.Size(end-f.reserved)); err != nil {
			return err
		}
	}
	want := max(end, 2*f.reserved, min(firstRoom, w.size))
	if w.filled {
		want = max(end, w.size) // this one will be full, too; the file system is asked once, since it lets us wait
	}
	err := f.file.Allocate(f.reserved, want-f.reserved)
	if (errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EFBIG)) && want > end {
		want = (end + blockSize - 1) &^ (blockSize - 1)
		err = f.file.Allocate(f.reserved, want-f.reserved)
	}
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		want = 1 << 62 // this file system has no such thing: do not ask again
	case err != nil:
		return space.Explain(err, w.dir)
	}
	f.reserved = want
	return nil
}
