// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/zeebo/blake3"
)

// prefix is the first half of a hash or id. Two with the same one are taken for equal until their record is read:
// making a second hash for a given prefix takes 2^128 tries.
type prefix [16]byte

func prefixOf(h core.Hash) prefix { return prefix(h[:16]) }

// place is where a record's header stands.
type place struct{ pack, offset uint32 }

// index finds records by hash and by id.
type index struct {
	hashes map[prefix]place
	ids    map[prefix]place
}

func newIndex() index {
	return index{hashes: map[prefix]place{}, ids: map[prefix]place{}}
}

// add takes a record in. One that is condemned or damaged takes nobody's place.
func (x index) add(p *pack, r row) {
	at := place{pack: p.number, offset: r.offset}
	if _, twice := x.hashes[prefixOf(r.hash)]; !twice || p.trusts(r.offset) {
		x.hashes[prefixOf(r.hash)] = at
	}
	if _, twice := x.ids[prefixOf(r.id)]; !r.id.IsZero() && (!twice || p.trusts(r.offset)) {
		x.ids[prefixOf(r.id)] = at
	}
}

// remove takes a record out that is at this place.
func (x index) remove(at place, r row) {
	if x.hashes[prefixOf(r.hash)] == at {
		delete(x.hashes, prefixOf(r.hash))
	}
	if x.ids[prefixOf(r.id)] == at {
		delete(x.ids, prefixOf(r.id))
	}
}

// at finds the record of a hash, in memory or in the merged tables; one that nobody may lean on only
// where there is no other.
func (s *Store) at(hash core.Hash) (at place, ok bool, err error) {
	err = s.search(func() (lost bool, err error) {
		s.mu.RLock()
		at, ok = s.index.hashes[prefixOf(hash)]
		s.mu.RUnlock()
		if ok && s.trusts(at) {
			return false, nil
		}
		there, found, lost, err := s.lookTables(hash)
		if found && (!ok || s.trusts(there)) {
			at, ok = there, true
		}
		return lost, err
	})
	return at, ok, err
}

// search looks once more where tables were lost meanwhile.
func (s *Store) search(look func() (lost bool, err error)) error {
	for range 5 {
		if lost, err := look(); err != nil || !lost {
			return err
		}
	}
	return errors.New("the index changes faster than it can be read")
}

// look finds the record of a hash, also one that another process has added since the store was last looked through.
func (s *Store) look(ctx context.Context, hash core.Hash) (at place, ok bool, err error) {
	if err := s.begin(ctx); err != nil {
		return at, false, err
	}
	if at, ok, err = s.at(hash); ok || err != nil {
		return at, ok, err
	}
	if err := s.refresh(false); err != nil {
		return at, false, err
	}
	return s.at(hash)
}

// record calls read with the record that has this hash and its pack open.
func (s *Store) record(ctx context.Context, hash core.Hash, read func(packReader, row) error) error {
	for again := false; ; again = true {
		at, ok, err := s.look(ctx, hash)
		if !ok && err == nil {
			err = core.ErrNotFound
		}
		if err != nil {
			return err
		}
		err = s.use(at, func(f packReader) error {
			r, err := header(f, at)
			if err == nil && r.hash != hash {
				err = core.Fail(core.CodeWrong, "pack %s has chunk %s at %d instead", f.pack.name, r.hash, at.offset)
			}
			if err != nil {
				return err
			}
			return read(f, r)
		})
		if errors.Is(err, fs.ErrNotExist) && !again { // swept by another process
			if err = s.refresh(true); err == nil {
				continue
			}
		}
		if s.wrongHere(err, at) && s.distrust(at) && s.refresh(false) == nil {
			if other, ok, _ := s.at(hash); ok && other != at {
				continue // it was put again after somebody noticed
			}
		}
		if errors.Is(err, fs.ErrNotExist) || core.CodeOf(err) == core.CodeWrong && s.comes(at) {
			err = core.ErrNotFound
		}
		return err
	}
}

// comes reports whether the pack of a record is being written by another process: what is not whole there may become
// so.
func (s *Store) comes(at place) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return !s.ours(at)
}

func (s *Store) readHeader(at place) (r row, err error) {
	err = s.use(at, func(f packReader) error {
		r, err = header(f, at)
		return err
	})
	return r, err
}

// use calls f with the pack of a record open.
func (s *Store) use(at place, f func(packReader) error) error {
	s.mu.RLock()
	p := s.packs[at.pack]
	s.mu.RUnlock()
	return s.files.use(at.pack, func() (*os.File, error) { return openEither(s.dir, p.name) },
		func(file *os.File) error { return f(packReader{s, p, file}) })
}

func header(f packReader, at place) (row, error) {
	var b [recordHeader]byte
	if _, err := f.ReadAt(b[:], int64(at.offset)); err != nil {
		return row{}, core.Fail(core.CodeWrong, "pack %s: record at %d: %w", f.pack.name, at.offset, err)
	}
	r, ok := parseRecord(b[:], int64(at.offset))
	if !ok {
		return row{}, core.Fail(core.CodeWrong, "pack %s: record at %d is damaged", f.pack.name, at.offset)
	}
	return r, nil
}

// namedReader is a pack, whoever reads it.
type namedReader interface {
	io.ReaderAt
	Name() string
}

// readData appends a record's data to dst and holds it against its hash.
func readData(f namedReader, r row, dst []byte) ([]byte, error) {
	start := len(dst)
	dst = slices.Grow(dst, int(r.size))[:start+int(r.size)]
	if _, err := f.ReadAt(dst[start:], int64(r.offset)+recordHeader); err != nil {
		return nil, core.Fail(core.CodeWrong, "pack %s: data at %d: %w", f.Name(), r.offset, err)
	}
	if got := core.Hash(blake3.Sum256(dst[start:])); got != r.hash {
		return nil, core.Fail(core.CodeWrong, "pack %s: data at %d has hash %s", f.Name(), r.offset, got)
	}
	return dst, nil
}

// refresh looks for packs that came, grew, were finished or went since the last time. Unless forced, it first asks the
// directory whether there is anything to look for.
func (s *Store) refresh(force bool) error {
	info, err := os.Stat(s.dir)
	if err != nil {
		return fmt.Errorf("read packs: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !force && s.changed == info.ModTime().UnixNano() {
		return s.follow()
	}
	there, err := listPacks(s.dir)
	if err != nil {
		return err
	}
	if err := s.take(there); err != nil {
		return err
	}
	if time.Since(info.ModTime()) > settled {
		s.changed = info.ModTime().UnixNano()
	}
	return nil
}

// take brings what is known of packs up to what there is. mu is held.
func (s *Store) take(there map[string]bool) error {
	for name, p := range s.names {
		if _, ok := there[name]; !ok && s.mine[p.number] == nil {
			s.forget()
			break
		}
	}
	if !s.noTables {
		s.loadTables()
		s.cover(there)
	}
	for name, finished := range there {
		if err := s.load(name, finished); err != nil {
			return err
		}
	}
	s.settle()
	return nil
}

// listPacks is the names of all packs, and whether they are finished. There may be many: nobody sorts them.
func listPacks(dir string) (map[string]bool, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("read packs: %w", err)
	}
	defer d.Close()
	files, err := d.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("read packs: %w", err)
	}
	there := make(map[string]bool, len(files))
	for _, file := range files {
		if name, finished, ok := packName(file); ok {
			there[name] = there[name] || finished
		}
	}
	return there, nil
}

// settled is how old a modification time must be before it proves that there was no later one: file systems count in
// ticks, and two changes within a tick look like one.
const settled = 100 * time.Millisecond

// packName tells a pack by the name of its file.
func packName(file string) (name string, finished, ok bool) {
	const digits = 32
	if len(file) != digits+len(".pack") {
		return "", false, false
	}
	name = file[:digits]
	switch file[digits:] {
	case ".pack":
		return name, true, true
	case ".open":
		return name, false, true
	}
	return "", false, false
}
