// SPDX-License-Identifier: Apache-2.0

package file

import (
	"slices"
	"sync"
	"unsafe"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
)

const (
	directBlock = 1 << 20 // written at once; a multiple of what any disk wants for alignment
	directAlign = 4096
	directOpen  = 64 // blocks that may be partly filled; beyond, the oldest is written through the page cache
)

// direct writes a file past the page cache, in whole aligned blocks: fresh memory for the cache costs more than the
// disk does, and what was just restored is seldom read at once. Bytes that never make a whole block go through the
// cache.
type direct struct {
	raw    *durable.File // past the page cache
	cached *durable.File

	mu    sync.Mutex
	open  []*page // partly filled, oldest first
	spare [][]byte
}

// page is the memory of one block. Its number, filled, writers and ranges are guarded by the mutex of direct.
type page struct {
	number  int64 // of the block in the file
	bytes   []byte
	filled  int
	writers int          // that copy into it at this moment
	ranges  []core.Range // of bytes, as they came
}

// openDirect opens path for direct writes beside cached; nil where the file system does not allow it.
func openDirect(path string, cached *durable.File) *direct {
	raw, err := durable.Open(path)
	if err != nil {
		return nil
	}
	if !raw.SetDirect(true) {
		raw.Close()
		return nil
	}
	return &direct{raw: raw, cached: cached}
}

// write takes bytes of which each comes once. Safe for many goroutines.
func (d *direct) write(p []byte, at int64) error {
	for len(p) > 0 {
		number, offset := at/directBlock, int(at%directBlock)
		n := min(len(p), directBlock-offset)
		if err := d.fill(number, offset, p[:n]); err != nil {
			return err
		}
		p, at = p[n:], at+int64(n)
	}
	return nil
}

func (d *direct) fill(number int64, offset int, p []byte) error {
	b := d.enter(number)
	copy(b.bytes[offset:], p)
	ready := d.leave(b, core.Range{Start: offset, Length: len(p)})
	if ready == nil {
		return nil
	}
	err := d.flush(ready)
	d.mu.Lock()
	d.spare = append(d.spare, ready.bytes)
	d.mu.Unlock()
	return err
}

// enter finds or makes the page of a block, and keeps it open until leave.
func (d *direct) enter(number int64) *page {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.IndexFunc(d.open, func(b *page) bool { return b.number == number })
	if i < 0 {
		i = len(d.open)
		d.open = append(d.open, &page{number: number, bytes: d.take()})
	}
	d.open[i].writers++
	return d.open[i]
}

// leave notes what was copied, and takes out the page that is to be written now: the one that is whole, or the oldest
// where too many are open; nil for none.
func (d *direct) leave(b *page, r core.Range) *page {
	d.mu.Lock()
	defer d.mu.Unlock()
	b.writers--
	b.filled += r.Length
	b.ranges = append(b.ranges, r)
	i := -1
	if b.filled == directBlock {
		i = slices.Index(d.open, b)
	} else if len(d.open) > directOpen {
		i = slices.IndexFunc(d.open, func(b *page) bool { return b.writers == 0 })
	}
	if i < 0 {
		return nil
	}
	ready := d.open[i]
	d.open = slices.Delete(d.open, i, i+1)
	return ready
}

func (d *direct) take() []byte {
	if last := len(d.spare) - 1; last >= 0 {
		b := d.spare[last]
		d.spare = d.spare[:last]
		return b
	}
	raw := make([]byte, directBlock+directAlign)
	shift := int(uintptr(unsafe.Pointer(&raw[0])) % directAlign)
	return raw[directAlign-shift:][:directBlock]
}

// flush writes a block: whole past the cache, else what there is of it through the cache.
func (d *direct) flush(b *page) error {
	at := b.number * directBlock
	if b.filled == directBlock {
		if _, err := d.raw.WriteAt(b.bytes, at); err == nil {
			return nil
		}
	}
	for _, r := range b.ranges {
		if _, err := d.cached.WriteAt(b.bytes[r.Start:r.Start+r.Length], at+int64(r.Start)); err != nil {
			return err
		}
	}
	return nil
}

// finish writes what is left. No write may follow.
func (d *direct) finish() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, b := range d.open {
		if err := d.flush(b); err != nil {
			return err
		}
	}
	d.open = nil
	return nil
}

func (d *direct) close() { d.raw.Close() }
