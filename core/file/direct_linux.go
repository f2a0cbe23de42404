package file

import (
	"os"
	"sync"
	"syscall"
	"unsafe"

	"github.com/bkp-tool/bkp/core"
)

const (
	directBlock = 1 << 20 // written at once; a multiple of what any disk wants for alignment
	directAlign = 4096
	directOpen  = 64 // blocks that may be partly filled; beyond, the oldest is written through the page cache
)

// direct writes a file past the page cache, in whole aligned blocks: fresh memory for the cache costs more than the disk
// does, and what was just restored is seldom read at once. Bytes that never make a whole block go through the cache.
type direct struct {
	raw    *os.File // opened with O_DIRECT
	cached *os.File

	mu     sync.Mutex
	blocks map[int64]*page // partly filled, by number
	order  []int64         // of blocks, oldest first
	spare  [][]byte
}

type page struct {
	bytes  []byte
	filled int
	ranges []core.Range // of bytes, as they came
}

// openDirect opens path for direct writes beside cached; nil where the file system does not allow it.
func openDirect(path string, cached *os.File) *direct {
	raw, err := os.OpenFile(path, os.O_WRONLY|syscall.O_DIRECT, 0)
	if err != nil {
		return nil
	}
	return &direct{raw: raw, cached: cached, blocks: map[int64]*page{}}
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
	d.mu.Lock()
	b := d.blocks[number]
	if b == nil {
		b = &page{bytes: d.take()}
		d.blocks[number] = b
		d.order = append(d.order, number)
	}
	copy(b.bytes[offset:], p)
	b.filled += len(p)
	b.ranges = append(b.ranges, core.Range{Start: offset, Length: len(p)})
	var ready *page
	var which int64
	switch {
	case b.filled == directBlock:
		ready, which = b, number
		delete(d.blocks, number)
	case len(d.blocks) > directOpen:
		ready, which = d.oldest()
	}
	d.mu.Unlock()
	if ready == nil {
		return nil
	}
	err := d.flush(ready, which)
	d.mu.Lock()
	d.spare = append(d.spare, ready.bytes)
	d.mu.Unlock()
	return err
}

// oldest takes out the block that has been open longest.
func (d *direct) oldest() (*page, int64) {
	for len(d.order) > 0 {
		number := d.order[0]
		d.order = d.order[1:]
		if b := d.blocks[number]; b != nil {
			delete(d.blocks, number)
			return b, number
		}
	}
	return nil, 0
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
func (d *direct) flush(b *page, number int64) error {
	if b.filled == directBlock {
		if _, err := d.raw.WriteAt(b.bytes, number*directBlock); err == nil {
			return nil
		}
	}
	for _, r := range b.ranges {
		if _, err := d.cached.WriteAt(b.bytes[r.Start:r.Start+r.Length], number*directBlock+int64(r.Start)); err != nil {
			return err
		}
	}
	return nil
}

// finish writes what is left. No write may follow.
func (d *direct) finish() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for number, b := range d.blocks {
		if err := d.flush(b, number); err != nil {
			return err
		}
	}
	d.blocks = nil
	return nil
}

func (d *direct) close() { d.raw.Close() }
