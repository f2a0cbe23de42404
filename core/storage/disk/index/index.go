// SPDX-License-Identifier: Apache-2.0

// Package index finds where the records of a store stand.
//
// What packs say is found again in memory while it is little, and in at most 16 merged tables on disk beside the packs,
// so that memory does not grow with the number of chunks:
//
//	index/CURRENT  "bkp index 1", the name of every table, and the BLAKE3 of that in hex, each on a line; replaced by rename
//	index/N.idx    a table: see package table
//	index/lock     held by who merges
//
// A writer merges what stands in memory when it is 65,536 rows or 64 packs, with the tables that are not much larger.
// The index says nothing that the packs do not say: where it is lost or any of it is damaged, they are read again. A
// row whose pack is gone stands for nothing.
//
// A record that is damaged, or in a pack that a collection condemned, is found only where there is no other.
package index

import (
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/storage/disk/damage"
	"github.com/bkp-tool/bkp/core/storage/disk/files"
	"github.com/bkp-tool/bkp/core/storage/disk/pack"
)

const (
	// ManyLoose is how many packs whose tables are read one by one, about, are merged.
	ManyLoose = 64
	manyRows  = 1 << 16 // rows in memory, about, before they become a table
)

// Index is what one process knows of the packs of a store, which it may write itself or follow while others do. Any
// number of goroutines may use it.
type Index struct {
	dir      string // of the tables
	packs    string // their directory
	readOnly bool
	files    *files.Cache
	rebuild  func(name string, mend bool) ([]pack.Row, error)
	merges   sync.WaitGroup // in the background

	mu        sync.RWMutex // guards what follows; held for no longer than it takes to look something up or read a pack
	loose     loose
	tables    tables
	known     []*known          // packs by number; numbers are this Index's own
	names     map[string]*known // those that are there
	growing   map[string]*known // those that other processes are writing
	condemned map[string]uint64 // packs that nobody here may lean on, though they can be read
	damaged   damaged
	changed   int64 // modification time of the directory when it was last read
	used      core.Size
	newNames  bool // there are finished packs of others whose names may not be durable
}

// known is a pack. Its fields are guarded by Index.mu, but for those that never change.
type known struct {
	name   string // never changes
	number uint32 // in Index.known; never changes

	mine      bool            // this process writes it
	finished  bool            // has its final name and its table
	condemned bool            // nobody here may lean on it
	bad       map[uint32]bool // offsets of records that are damaged; nil for nearly every pack
	end       int64           // up to where the records are known of what another process writes
	rows      []pack.Row      // of what this process writes
	covered   bool            // by a merged table: nothing of it is in memory
	loose     int             // finished, not covered: its rows
}

// trusts reports whether a record of a pack may be leaned on: neither is the pack condemned nor the record known to be
// damaged. Index.mu is held.
func (p *known) trusts(offset uint32) bool { return !p.condemned && !p.bad[offset] }

// Place is where a record stands.
type Place struct {
	pack   *known
	Offset uint32 // of the record's header
}

// Pack is the name of the place's pack.
func (at Place) Pack() string { return at.pack.name }

// damaged is what is known of records that are.
type damaged struct {
	notes damage.Notes
	bad   map[string]map[uint32]bool // their offsets, by pack
	found int                        // by this Index
	read  atomic.Pointer[notesRead]
}

// notesRead is how recent the notes are that were read last.
type notesRead struct {
	changed time.Time // what Notes.Changed said before
	settled bool      // no later note can have the same time
}

// current reports whether there is no other note than those that were read when now they changed last at changed.
func (r *notesRead) current(changed time.Time) bool {
	return r.changed.Equal(changed) && (r.settled || time.Since(changed) <= settled)
}

// maxNotes is how many damaged records are noted, about: where there are more, this disk is no place for a backup.
const maxNotes = 1 << 14

// New is the index of the store in dir, of which it knows nothing before a Refresh. With readOnly nothing is mended but
// an index that is lost. It opens what it reads by way of open.
func New(dir string, readOnly bool, open *files.Cache) *Index {
	x := &Index{dir: Dir(dir), packs: filepath.Join(dir, "packs"), readOnly: readOnly, files: open,
		loose: newLoose(manyRows), names: map[string]*known{}, growing: map[string]*known{},
		damaged: damaged{notes: damage.Notes(filepath.Join(dir, "damaged")), bad: map[string]map[uint32]bool{}}}
	x.damaged.read.Store(&notesRead{settled: true})
	x.rebuild = func(name string, mend bool) ([]pack.Row, error) { return pack.Rebuild(x.packs, name, mend) }
	x.ReadNotes()
	return x
}

// RebuildBy has the records of a pack whose table is damaged found by another way than pack.Rebuild. It is called
// before the first Refresh.
func (x *Index) RebuildBy(rebuild func(name string, mend bool) ([]pack.Row, error)) {
	x.rebuild = rebuild
}

// ReadNotes takes in what other processes have noted as damaged since the last time. It costs a look at the directory.
func (x *Index) ReadNotes() {
	changed := x.damaged.notes.Changed()
	if x.damaged.read.Load().current(changed) {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.damaged.read.Load().current(changed) {
		return
	}
	x.damaged.read.Store(&notesRead{changed: changed, settled: time.Since(changed) > settled})
	for name, offsets := range x.damaged.notes.All() {
		for offset := range offsets {
			x.distrust(name, offset)
		}
	}
}

// distrust has nobody lean on a record from now on. mu is held.
func (x *Index) distrust(name string, offset uint32) {
	bad := x.damaged.bad[name]
	if bad == nil {
		bad = map[uint32]bool{}
		x.damaged.bad[name] = bad
	}
	bad[offset] = true
	if p := x.names[name]; p != nil {
		p.bad = bad
	}
}

// At finds the record of a hash; one that nobody may lean on only where there is no other.
func (x *Index) At(hash core.Hash) (at Place, ok bool, err error) {
	x.ReadNotes()
	err = x.search(func() (lost bool, err error) {
		x.mu.RLock()
		at, ok = x.placeOf(x.loose.hashes, hash)
		trusted := ok && at.pack.trusts(at.Offset)
		x.mu.RUnlock()
		if trusted {
			return false, nil
		}
		there, found, lost, err := x.inTables(hash)
		if found && (!ok || x.Trusts(there)) {
			at, ok = there, true
		}
		return lost, err
	})
	return at, ok, err
}

// placeOf looks a hash or an id up in memory. mu is held.
func (x *Index) placeOf(rows map[prefix]place, key core.Hash) (Place, bool) {
	at, ok := rows[prefixOf(key)]
	if !ok {
		return Place{}, false
	}
	return Place{x.known[at.pack], at.offset}, true
}

// search looks once more where tables were lost meanwhile.
func (x *Index) search(look func() (lost bool, err error)) error {
	for range 5 {
		if lost, err := look(); err != nil || !lost {
			return err
		}
	}
	return errors.New("the index changes faster than it can be read")
}

// Look finds the record of a hash, also one that another process has added since the packs were last looked through.
func (x *Index) Look(hash core.Hash) (at Place, ok bool, err error) {
	if at, ok, err = x.At(hash); err != nil || ok && !x.Damaged(at.Pack(), at.Offset) {
		return at, ok, err
	}
	if err := x.Refresh(false); err != nil {
		return at, false, err
	}
	return x.At(hash)
}

// Find is the chunk with this id, where a record of it is here that need not be put again; read reads the header of
// what stands in memory. It does not look for what other processes added since.
func (x *Index) Find(id core.Hash, read func(Place) (pack.Row, error)) (c core.Chunk, found bool, err error) {
	x.ReadNotes()
	err = x.search(func() (lost bool, err error) {
		if c, found = x.inMemory(id, read); !found {
			c, found, lost, err = x.idInTables(id)
		}
		return lost, err
	})
	return c, found, err
}

func (x *Index) inMemory(id core.Hash, read func(Place) (pack.Row, error)) (core.Chunk, bool) {
	x.mu.RLock()
	at, ok := x.placeOf(x.loose.ids, id)
	ok = ok && x.reliable(at)
	x.mu.RUnlock()
	if !ok {
		return core.Chunk{}, false
	}
	r, err := read(at)
	if err != nil || r.ID != id {
		return core.Chunk{}, false
	}
	return core.Chunk{Hash: r.Hash, Size: core.Size(r.Size)}, true
}

// reliable reports whether a chunk need not be put again for there is this record of it, which the next barrier covers:
// not one that another process is still writing; who only reads puts nothing, and takes those too. mu is held.
func (x *Index) reliable(at Place) bool {
	return (x.readOnly || at.pack.finished || at.pack.mine) && at.pack.trusts(at.Offset)
}

// Has reports whether a chunk need not be put again.
func (x *Index) Has(hash core.Hash) (bool, error) {
	at, ok, err := x.At(hash)
	if !ok || err != nil {
		return false, err
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.reliable(at), nil
}

// Grows reports whether the pack of a record is being written by another process: what is not whole there may become
// so.
func (x *Index) Grows(at Place) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return !at.pack.finished && !at.pack.mine
}

// Standing reports whether a record stands where others may lean on it, and whether it does in a pack that this process
// is writing.
func (x *Index) Standing(at Place) (firm, mine bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return at.pack.finished && at.pack.trusts(at.Offset), at.pack.mine
}

// Trusts reports whether a record may be leaned on.
func (x *Index) Trusts(at Place) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return at.pack.trusts(at.Offset)
}

// Distrust notes that a record is damaged, and reports whether it was not known yet.
func (x *Index) Distrust(at Place) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	p := at.pack
	if x.damaged.bad[p.name][at.Offset] || x.damaged.found >= maxNotes {
		return false
	}
	x.distrust(p.name, at.Offset)
	p.bad = x.damaged.bad[p.name] // the packs may have been read anew meanwhile
	x.damaged.found++
	x.damaged.notes.Add(p.name, at.Offset)
	return true
}

// Damaged reports whether a record is known to be damaged.
func (x *Index) Damaged(pack string, offset uint32) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.damaged.bad[pack][offset]
}

// Used is the bytes of data in all records.
func (x *Index) Used() core.Size {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.used
}
