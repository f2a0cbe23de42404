package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/bkp-tool/bkp/core"
)

// forget drops the index, but for packs that this Store writes; refresh reads the others again. Packs keep their numbers,
// since goroutines hold places without a lock. mu is held.
func (s *Store) forget() {
	s.files.forget()
	s.index, s.used = newIndex(), 0
	s.tables, s.loose, s.loosePacks = nil, 0, 0
	s.names, s.growing = map[string]*pack{}, map[string]*pack{}
	for _, p := range s.packs {
		if s.mine[p.number] == nil {
			continue
		}
		s.names[p.name] = p
		for _, r := range p.rows {
			s.note(p, r)
		}
	}
}

// register gives a pack its number. mu is held.
func (s *Store) register(p *pack) {
	p.number = uint32(len(s.packs))
	_, p.condemned = s.condemned[p.name]
	p.bad = s.bad[p.name]
	s.packs = append(s.packs, p)
	s.names[p.name] = p
}

// note adds a record to the index. mu is held.
func (s *Store) note(p *pack, r row) {
	s.index.add(p, r)
	s.used += core.Size(r.size)
}

// load reads what is new in a pack of another process, or of an earlier one. mu is held.
func (s *Store) load(name string, finished bool) error {
	p := s.names[name]
	if p != nil && (p.finished || s.mine[p.number] != nil) {
		return nil
	}
	f, err := openEither(s.dir, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it went while we looked
	}
	if err != nil {
		return fmt.Errorf("read pack: %w", err)
	}
	defer f.Close()
	if p == nil {
		p = &pack{name: name, end: packHeader}
		s.register(p)
	}
	if finished {
		delete(s.growing, name)
		return s.loadTable(p, f)
	}
	s.growing[name] = p
	return s.grow(p, f)
}

// loadTable reads a finished pack. One with a damaged table gets a new one, or, where we may not write, none.
func (s *Store) loadTable(p *pack, f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("read pack: %w", err)
	}
	rows, err := readTable(f, info.Size())
	if err != nil {
		if rows, err = s.rebuild(p.name, f, info.Size()); err != nil {
			return err
		}
	}
	p.finished = true
	p.loose = len(rows)
	s.loose += p.loose
	s.loosePacks++
	for _, r := range rows {
		if int64(r.offset) >= p.end { // the rest was seen while it was written
			s.note(p, r)
		}
	}
	return nil
}

// rebuild reads through a finished pack whose table is lost.
func (s *Store) rebuild(name string, f *os.File, size int64) (rows []row, err error) {
	if !s.readOnly {
		if rows, claimed, err := claimAndRescue(s.dir, packPath(s.dir, name)); claimed || err != nil {
			return rows, err
		}
	}
	if _, err = salvage(f, size, func(r row) { rows = append(rows, r) }); err != nil {
		return nil, fmt.Errorf("rebuild the table of pack %s: %w", name, err)
	}
	return dedupe(rows), nil
}

// grow reads the records that another process added to the pack that it writes. mu is held.
func (s *Store) grow(p *pack, f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("read pack: %w", err)
	}
	if p.end, err = scan(f, p.end, info.Size(), func(r row) { s.note(p, r) }); err != nil {
		return fmt.Errorf("read pack %s: %w", p.name, err)
	}
	return nil
}

// follow reads on in every pack that another process is writing. mu is held.
func (s *Store) follow() error {
	for _, p := range s.growing {
		_, err := os.Stat(packPath(s.dir, p.name))
		if err := s.load(p.name, err == nil); err != nil {
			return err
		}
	}
	return nil
}

// adopt rescues the packs of processes that died, and returns what packs there are then.
func (s *Store) adopt() (there map[string]bool, err error) {
	if there, err = listPacks(s.dir); err != nil {
		return nil, err
	}
	changed := false
	for name, finished := range there {
		if finished {
			continue
		}
		_, claimed, err := claimAndRescue(s.dir, openPath(s.dir, name))
		if err != nil {
			return nil, err
		}
		changed = changed || claimed
	}
	if changed {
		return listPacks(s.dir)
	}
	return there, nil
}

// claimAndRescue rescues the pack at path where no living process writes it.
func claimAndRescue(dir, path string) (rows []row, claimed bool, err error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("rescue pack: %w", err)
	}
	name, _, _ := packName(filepath.Base(path))
	p := &pack{name: name, file: file}
	if claimed, err = p.claim(path); err != nil || !claimed {
		file.Close()
		return nil, false, err
	}
	rows, err = p.rescue(dir)
	if err != nil {
		p.abandon()
	}
	return rows, true, err
}
