// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"maps"
	"slices"
)

// page is a unit of the bitmap: 32768 blocks, 128 MiB of the version.
type page [unit]byte

// inPage is how many blocks a page tells of.
const inPage = unit * 8

// bitmap is the blocks that the file has. Pages without any are nil: a version of 10 TiB has 80,000.
type bitmap struct {
	pages []*page
	dirty map[int64]bool // pages that were not written yet
}

func newBitmap(blocks int64) bitmap {
	return bitmap{make([]*page, (blocks+inPage-1)/inPage), map[int64]bool{}}
}

func (b *bitmap) has(block int64) bool {
	p := b.pages[block/inPage]
	return p != nil && p[block%inPage/8]>>(block%8)&1 == 1
}

// run is how many blocks from one on are all there, or are all not there, and which of the two; end bounds them.
func (b *bitmap) run(block, end int64) (count int64, there bool) {
	there = b.has(block)
	for count = 1; block+count < end && b.has(block+count) == there; count++ {
	}
	return count, there
}

// set notes blocks from one on up to end.
func (b *bitmap) set(block, end int64) {
	for ; block < end; block++ {
		number := block / inPage
		p := b.pages[number]
		if p == nil {
			p = new(page)
			b.pages[number] = p
		}
		if bit := byte(1) << (block % 8); p[block%inPage/8]&bit == 0 {
			p[block%inPage/8] |= bit
			b.dirty[number] = true
		}
	}
}

// numbered is a page with its place.
type numbered struct {
	number int64
	page   page
}

// take is copies of the pages that were not written yet, which count as written then.
func (b *bitmap) take() (taken []numbered) {
	for _, number := range slices.Sorted(maps.Keys(b.dirty)) {
		taken = append(taken, numbered{number, *b.pages[number]})
	}
	clear(b.dirty)
	return taken
}

// last is the highest block that is there; -1 without any.
func (b *bitmap) last() int64 {
	for number := int64(len(b.pages)) - 1; number >= 0; number-- {
		if b.pages[number] == nil {
			continue
		}
		for block := (number+1)*inPage - 1; block >= number*inPage; block-- {
			if b.has(block) {
				return block
			}
		}
	}
	return -1
}
