// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/bkp-tool/bkp/core/durable"
)

// Overlay is a version with what was written over it: a disk, as far as who reads and writes it can tell. Safe for many
// goroutines; of writes to the same bytes at the same time either may be there in the end.
type Overlay struct {
	base io.ReaderAt // the version; its bytes never change
	size int64
	file *durable.File
	lock *durable.Lock // nil where the file is temporary: nothing has to be durable then
	data int64         // where the blocks begin in the file

	writing sync.Mutex // held while blocks are written: one that becomes there must have all that was written to it
	syncing sync.Mutex
	mu      sync.RWMutex // guards there
	there   bitmap
}

func over(f *durable.File, u Under, base io.ReaderAt) *Overlay {
	blocks, data, _ := layout(u.Size)
	return &Overlay{base: base, size: int64(u.Size), file: f, data: data, there: newBitmap(blocks)}
}

// Path is the file; of a temporary one it is gone.
func (o *Overlay) Path() string { return o.file.Name() }

// run is up to where, from a byte on, all blocks are there, or are all not there; end bounds it.
func (o *Overlay) run(at, end int64) (to int64, there bool) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	first := at / unit
	count, there := o.there.run(first, (end+unit-1)/unit)
	return min((first+count)*unit, end), there
}

// ReadAt makes it an io.ReaderAt.
func (o *Overlay) ReadAt(p []byte, at int64) (n int, err error) {
	if at < 0 {
		return 0, errors.New("read before the beginning")
	}
	end := min(at+int64(len(p)), o.size)
	for at < end {
		to, there := o.run(at, end)
		part := p[n : n+int(to-at)]
		got := 0
		if there {
			got, err = o.file.ReadAt(part, o.data+at)
		} else {
			got, err = o.base.ReadAt(part, at)
		}
		n += got
		if got < len(part) {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return n, err
		}
		at = to
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt makes it an io.WriterAt. It does not grow.
func (o *Overlay) WriteAt(p []byte, at int64) (int, error) {
	end := at + int64(len(p))
	if at < 0 || end > o.size {
		return 0, fmt.Errorf("write %d bytes at %d: the disk has %d", len(p), at, o.size)
	}
	if len(p) == 0 {
		return 0, nil
	}
	before, after, err := o.around(at, end)
	if err != nil {
		return 0, err
	}
	o.writing.Lock()
	defer o.writing.Unlock()
	if _, err := o.file.WriteAt(p, o.data+at); err != nil {
		return 0, err
	}
	return len(p), o.complete(at, end, before, after)
}

// around reads of the version what stands beside bytes in the first and the last block that they touch. It may come
// from far, so nothing is locked; that bytes of the version never change makes it true later too.
func (o *Overlay) around(at, end int64) (before, after []byte, err error) {
	first, last := at/unit*unit, min((end+unit-1)/unit*unit, o.size)
	read := func(from, to int64) (b []byte) {
		if _, there := o.run(from/unit*unit, from/unit*unit+1); there || from == to || err != nil {
			return nil
		}
		b = make([]byte, to-from)
		var n int
		if n, err = o.base.ReadAt(b, from); n == len(b) {
			err = nil
		}
		return b
	}
	before, after = read(first, at), read(end, last)
	return before, after, err
}

// complete makes blocks, between two bytes of which all is in the file, whole, and notes that they are there. Of those
// that were not there already, around has read the rest. o.writing is held.
func (o *Overlay) complete(at, end int64, before, after []byte) error {
	write := func(b []byte, from int64) error {
		if _, there := o.run(from/unit*unit, from/unit*unit+1); there || len(b) == 0 {
			return nil
		}
		_, err := o.file.WriteAt(b, o.data+from)
		return err
	}
	if err := errors.Join(write(before, at-int64(len(before))), write(after, end)); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.there.set(at/unit, (end+unit-1)/unit)
	return nil
}

// Zero makes bytes zeros, which take no room where the file system can.
func (o *Overlay) Zero(at, length int64) error {
	end := at + length
	if at < 0 || length < 0 || end > o.size {
		return fmt.Errorf("write %d zeros at %d: the disk has %d", length, at, o.size)
	}
	if length == 0 {
		return nil
	}
	before, after, err := o.around(at, end)
	if err != nil {
		return err
	}
	o.writing.Lock()
	defer o.writing.Unlock()
	if err := o.file.Zero(o.data+at, length); err != nil {
		return err
	}
	return o.complete(at, end, before, after)
}

// Trim gives back the room of blocks that nobody needs any more; those of the version are as before.
func (o *Overlay) Trim(at, length int64) error {
	end := min(at+length, o.size)
	if at < 0 || length < 0 {
		return fmt.Errorf("trim %d bytes at %d: not on the disk", length, at)
	}
	o.writing.Lock()
	defer o.writing.Unlock()
	for at < end {
		to, there := o.run(at, end)
		if there {
			if err := o.file.Zero(o.data+at, to-at); err != nil {
				return err
			}
		}
		at = to
	}
	return nil
}

// Fill puts bytes of the version where nothing was written, so that they are read from the file from then on; p are
// those at a place, which is a multiple of the block, and so is their number but at the end.
func (o *Overlay) Fill(p []byte, at int64) error {
	o.writing.Lock()
	defer o.writing.Unlock()
	for end := at + int64(len(p)); at < end; {
		to, there := o.run(at, end)
		part := p[:to-at]
		if !there {
			var err error
			if isZero(part) {
				err = o.file.Zero(o.data+at, int64(len(part)))
			} else {
				_, err = o.file.WriteAt(part, o.data+at)
			}
			if err == nil {
				err = o.complete(at, to, nil, nil)
			}
			if err != nil {
				return err
			}
		}
		p, at = p[len(part):], to
	}
	return nil
}

// Lacks tells whether any byte between two places is still the version's.
func (o *Overlay) Lacks(at, end int64) bool {
	to, there := o.run(at, end)
	return !there || to < end
}

func isZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

// Flush returns nil when all that was written before is durable; a temporary overlay has nothing to keep.
func (o *Overlay) Flush() error {
	if o.lock == nil {
		return nil
	}
	o.syncing.Lock()
	defer o.syncing.Unlock()
	o.mu.Lock()
	pages := o.there.take()
	o.mu.Unlock()
	if err := o.file.Sync(); err != nil || len(pages) == 0 {
		return err
	}
	for _, p := range pages {
		if _, err := o.file.WriteAt(p.page[:], unit+p.number*unit); err != nil {
			o.redo(pages)
			return err
		}
	}
	return o.file.Sync()
}

// redo has pages written again, by the next Flush.
func (o *Overlay) redo(pages []numbered) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, p := range pages {
		o.there.dirty[p.number] = true
	}
}

// Close makes all durable and closes the overlay.
func (o *Overlay) Close() error {
	err := errors.Join(o.Flush(), o.file.Close())
	if o.lock != nil {
		err = errors.Join(err, o.lock.Close())
	}
	return err
}
