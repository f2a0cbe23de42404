// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"github.com/bkp-tool/bkp/core"
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
	pack  *pack
	start int64 // in the pack; a multiple of blockSize
	again bool  // begins with a block that the buffer before has, too

	// Guarded by Store.mu.
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
// what is in the packs, so that the store takes nothing more.
func (s *Store) write(jobs <-chan writeJob) {
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
			s.finishLater(s.written(j.buffer, j.buffer.write()))
			<-turns
		})
	}
	under.Wait()
}

// write puts the buffer where it belongs, padded with zeros.
func (b *buffer) write() error {
	whole := (b.n + blockSize - 1) &^ (blockSize - 1)
	clear(b.mem[b.n:whole])
	direct := b.pack.direct.Load() // before: another buffer's write may find out meanwhile
	_, err := b.pack.file.WriteAt(b.mem[:whole], b.start)
	if errors.Is(err, syscall.EINVAL) && direct { // it seemed to be able to
		b.pack.file.SetDirect(false)
		b.pack.direct.Store(false)
		_, err = b.pack.file.WriteAt(b.mem[:whole], b.start)
	}
	return err
}

// written takes a buffer out of its pack, which has the bytes now, as soon as those before it are out: what is left are
// the last ones. The caller finishes the pack that is full and written.
func (s *Store) written(b *buffer, err error) (full *pack) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := b.pack
	b.written = true
	for len(p.buffers) > 0 && p.buffers[0].written {
		s.free <- p.buffers[0] // there is room for all of them
		p.buffers = p.buffers[1:]
	}
	if err != nil {
		s.fail(fmt.Errorf("write pack %s: %w", p.name, withRoom(err, s.dir)))
	}
	if s.current != p && len(p.buffers) == 0 && s.broken == nil {
		return p
	}
	return nil
}

// fill copies b to the end of a pack's buffers, which is byte at of the pack. appending is held.
func (s *Store) fill(p *pack, at int64, b []byte) {
	for len(b) > 0 {
		last := s.lastBuffer(p)
		if last == nil {
			last = s.addBuffer(p, at)
		}
		n := copy(last.mem[last.n:], b)
		s.mu.Lock()
		last.n += n
		s.mu.Unlock()
		at, b = at+int64(n), b[n:]
		if last.n == len(last.mem) {
			s.give(last)
		}
	}
}

// give has a buffer written.
func (s *Store) give(b *buffer) {
	s.mu.Lock()
	b.given = true
	s.mu.Unlock()
	s.jobs <- writeJob{buffer: b}
}

// lastBuffer is the one that takes what comes next; nil where there is none.
func (s *Store) lastBuffer(p *pack) *buffer {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if n := len(p.buffers); n > 0 && !p.buffers[n-1].given {
		return p.buffers[n-1]
	}
	return nil
}

// addBuffer waits for a buffer that nobody uses. appending is held.
func (s *Store) addBuffer(p *pack, start int64) *buffer {
	if s.jobs == nil {
		s.free, s.jobs = make(chan *buffer, bufferCount), make(chan writeJob, bufferCount)
		jobs := s.jobs
		s.writing.Go(func() { s.write(jobs) })
	}
	var b *buffer
	select {
	case b = <-s.free:
	default:
		if s.buffers < bufferCount {
			s.buffers++
			b = newBuffer(s.packSize)
		} else {
			b = <-s.free
		}
	}
	s.mu.Lock()
	b.pack, b.start, b.n, b.again, b.given, b.written = p, start, 0, false, false, false
	p.buffers = append(p.buffers, b)
	s.mu.Unlock()
	return b
}

// flush gives what is in the last buffer of a pack to be written. Where more may follow, the block that it ends in is
// taken over into another buffer, to be written again with what comes. appending is held.
func (s *Store) flush(p *pack, more bool) {
	last := s.lastBuffer(p)
	if last == nil {
		return
	}
	if begun := last.n &^ (blockSize - 1); more && begun < last.n {
		next := s.addBuffer(p, last.start+int64(begun))
		n := copy(next.mem, last.mem[begun:last.n])
		next.again = true
		s.mu.Lock()
		next.n = n
		s.mu.Unlock()
	}
	s.give(last)
}

// drain returns when all that was given to be written is. appending is held.
func (s *Store) drain() {
	if s.jobs == nil {
		return
	}
	done := make(chan struct{})
	s.jobs <- writeJob{done: done}
	<-done
}

// readAt reads from a pack that this store writes: what is not there yet is in its buffers.
func (s *Store) readAt(p *pack, f io.ReaderAt, dst []byte, at int64) error {
	s.mu.RLock()
	end := at + int64(len(dst)) // from here on all is read
	for i := len(p.buffers) - 1; i >= 0 && end > at; i-- {
		b := p.buffers[i]
		if b.start >= end || b.start+int64(b.n) < end {
			continue
		}
		from := max(at, b.start)
		copy(dst[from-at:end-at], b.mem[from-b.start:])
		end = from
	}
	s.mu.RUnlock()
	if end == at {
		return nil
	}
	_, err := f.ReadAt(dst[:end-at], at)
	return err
}

// packReader reads from one pack, its buffers included.
type packReader struct {
	store *Store
	pack  *pack
	file  *os.File
}

// Name makes it a namedReader.
func (r packReader) Name() string { return r.file.Name() }

func (r packReader) ReadAt(dst []byte, at int64) (int, error) {
	if err := r.store.readAt(r.pack, r.file, dst, at); err != nil {
		return 0, err
	}
	return len(dst), nil
}

// reserve makes sure that there is room in the file up to end, so that a full disk is met before anything depends on
// it.
func (s *Store) reserve(p *pack, end int64) error {
	if end <= p.reserved {
		return nil
	}
	dir := s.dir
	if err := s.checkFloor(end - p.reserved); err != nil && !s.sweeping {
		return err
	}
	want := max(end, 2*p.reserved, min(firstRoom, s.packSize))
	if s.filled {
		want = max(end, s.packSize) // this one will be full, too; the file system is asked once, since it lets us wait
	}
	err := p.file.Allocate(p.reserved, want-p.reserved)
	if (errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EFBIG)) && want > end {
		want = (end + blockSize - 1) &^ (blockSize - 1)
		err = p.file.Allocate(p.reserved, want-p.reserved)
	}
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		want = 1 << 62 // this file system has no such thing: do not ask again
	case err != nil:
		return withRoom(err, dir)
	}
	p.reserved = want
	return nil
}

// leastFree is what writing leaves free on a disk, or a hundredth of a small one: others die without it.
const leastFree = 256 * core.MiB

func floorOf(all core.Size) core.Size { return min(leastFree, all/100) }

// Room is how much more may be written to the disk of a directory until no more than what Put leaves free is free;
// errors.ErrUnsupported where the system does not tell.
func Room(dir string) (core.Size, error) {
	free, all, err := diskSpace(dir)
	if err != nil {
		return 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return max(0, free-floorOf(all)), nil
}

// checkFloor refuses to make a nearly full disk full.
func (s *Store) checkFloor(more int64) error {
	free, all, err := s.space(s.dir)
	if err != nil {
		return nil // who cannot tell does not refuse
	}
	if floor := floorOf(all); free-core.Size(more) < floor {
		return core.WithHint(fmt.Errorf("%s more would leave less than %s free: %w", core.Size(more), floor,
			syscall.ENOSPC), "%s", fullHint)
	}
	return nil
}

const fullHint = "free some space on its disk, or let go of what is no longer needed: bkp rm, then bkp gc"

// withRoom adds the next step to the error of a full disk.
func withRoom(err error, dir string) error {
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return err
	}
	return core.WithHint(fmt.Errorf("%s: %w", dir, err), "%s", fullHint)
}
