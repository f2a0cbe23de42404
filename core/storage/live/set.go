// SPDX-License-Identifier: Apache-2.0

// Package live says which chunks a collection must spare. storage.Collector asks about each.
//
//	set.go   a set of millions of chunks, in about 10 bytes each
//	pins.go  chunks in use that nothing durable names yet
package live

import (
	"encoding/binary"
	"math/bits"

	"github.com/bkp-tool/bkp/core"
)

// Set is a set of chunks by the first 8 bytes of their hashes, in about 10 bytes each. Of two chunks that share these
// both are in it with either, so that one stays for nothing. The zero value is empty.
type Set struct {
	parts [4096]part // by the first 12 bits, so that none grows by much at a time
}

type part struct {
	slots []uint64 // open addressing in the order of the keys; 0 is free
	count int
}

func (s *Set) part(h core.Hash) (p *part, key uint64) {
	key = binary.BigEndian.Uint64(h[:])
	return &s.parts[key>>52], max(key<<12, 1)
}

// Add adds a chunk.
func (s *Set) Add(h core.Hash) {
	p, key := s.part(h)
	if 8*(p.count+1) > 7*len(p.slots) {
		p.grow()
	}
	if at := p.find(key); p.slots[at] == 0 {
		p.slots[at] = key
		p.count++
	}
}

// Has reports whether a chunk is in the set.
func (s *Set) Has(h core.Hash) bool {
	p, key := s.part(h)
	return p.count > 0 && p.slots[p.find(key)] == key
}

// find is where key stands, or the free place where it should.
func (p *part) find(key uint64) int {
	hi, _ := bits.Mul64(key, uint64(len(p.slots)))
	at := int(hi)
	for p.slots[at] != 0 && p.slots[at] != key {
		if at++; at == len(p.slots) {
			at = 0
		}
	}
	return at
}

func (p *part) grow() {
	old := p.slots
	p.slots = make([]uint64, max(8, len(old)+len(old)/4))
	for _, key := range old {
		if key != 0 {
			p.slots[p.find(key)] = key
		}
	}
}
