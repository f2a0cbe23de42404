package node

import (
	"encoding/binary"
	"math/bits"

	"github.com/bkp-tool/bkp/core"
)

// marks is a set of chunks by the first 8 bytes of their hashes, in about 10 bytes each: collection marks millions. Of
// two chunks that share these both are marked with either, so that one stays for nothing. The zero value is empty.
type marks struct {
	parts [4096]markPart // by the first 12 bits, so that none grows by much at a time
}

type markPart struct {
	slots []uint64 // open addressing in the order of the keys; 0 is free
	count int
}

func (m *marks) part(h core.Hash) (p *markPart, key uint64) {
	key = binary.BigEndian.Uint64(h[:])
	return &m.parts[key>>52], max(key<<12, 1)
}

// add marks a chunk.
func (m *marks) add(h core.Hash) {
	p, key := m.part(h)
	if 8*(p.count+1) > 7*len(p.slots) {
		p.grow()
	}
	if at := p.find(key); p.slots[at] == 0 {
		p.slots[at] = key
		p.count++
	}
}

// has reports whether a chunk is marked.
func (m *marks) has(h core.Hash) bool {
	p, key := m.part(h)
	return p.count > 0 && p.slots[p.find(key)] == key
}

// find is where key stands, or the free place where it should.
func (p *markPart) find(key uint64) int {
	hi, _ := bits.Mul64(key, uint64(len(p.slots)))
	at := int(hi)
	for p.slots[at] != 0 && p.slots[at] != key {
		if at++; at == len(p.slots) {
			at = 0
		}
	}
	return at
}

func (p *markPart) grow() {
	old := p.slots
	p.slots = make([]uint64, max(8, len(old)+len(old)/4))
	for _, key := range old {
		if key != 0 {
			p.slots[p.find(key)] = key
		}
	}
}
