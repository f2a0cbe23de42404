// SPDX-License-Identifier: Apache-2.0

package index

import (
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/storage/disk/pack"
)

// prefix is the first half of a hash or id. Two with the same one are taken for equal until their record is read:
// making a second hash for a given prefix takes 2^128 tries.
type prefix [16]byte

func prefixOf(h core.Hash) prefix { return prefix(h[:16]) }

// place is where a record's header stands, without a pointer: there are many.
type place struct{ pack, offset uint32 }

// loose is the records in memory: those that no merged table covers.
type loose struct {
	hashes  map[prefix]place
	ids     map[prefix]place
	rows    int // of finished packs
	packs   int // finished ones
	most    int // rows before they are merged
	merging bool
}

func newLoose(most int) loose {
	return loose{hashes: map[prefix]place{}, ids: map[prefix]place{}, most: most}
}

// forget drops all records.
func (l *loose) forget() {
	l.hashes, l.ids, l.rows, l.packs = map[prefix]place{}, map[prefix]place{}, 0, 0
}

// add takes a record in. One that is condemned or damaged takes nobody's place.
func (l *loose) add(p *known, r pack.Row) {
	at := place{pack: p.number, offset: r.Offset}
	if _, twice := l.hashes[prefixOf(r.Hash)]; !twice || p.trusts(r.Offset) {
		l.hashes[prefixOf(r.Hash)] = at
	}
	if _, twice := l.ids[prefixOf(r.ID)]; !r.ID.IsZero() && (!twice || p.trusts(r.Offset)) {
		l.ids[prefixOf(r.ID)] = at
	}
}

// remove takes a record out that stands there.
func (l *loose) remove(p *known, r pack.Row) {
	at := place{pack: p.number, offset: r.Offset}
	if l.hashes[prefixOf(r.Hash)] == at {
		delete(l.hashes, prefixOf(r.Hash))
	}
	if l.ids[prefixOf(r.ID)] == at {
		delete(l.ids, prefixOf(r.ID))
	}
}

// finish counts the rows of a pack that is finished. It is what no table covers, for now.
func (l *loose) finish(p *known, rows int) {
	p.finished, p.loose = true, rows
	l.rows += rows
	l.packs++
}

// cover counts a finished pack no more: a table covers it.
func (l *loose) cover(p *known) {
	l.rows -= p.loose
	l.packs--
	p.covered, p.loose = true, 0
}

// many reports whether so much is in memory that it is worth merging.
func (l *loose) many() bool { return l.rows >= l.most || l.packs >= ManyLoose }
