// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
)

// forget drops the index, but for packs that this Store writes; refresh reads the others again. Packs keep their
// numbers, since goroutines hold places without a lock. mu is held.
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
		if rows, err = s.rebuild(p.name); err != nil {
			return err
		}
	}
	p.finished = true
	s.newNames = true // whoever finished it may have died before it was durable
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

// rebuild reads through a finished pack whose table is lost, and gives it a new one in its place where it can.
func (s *Store) rebuild(name string) (rows []row, err error) {
	f, err := os.Open(packPath(s.dir, name))
	if err != nil {
		return nil, fmt.Errorf("rebuild the table of pack %s: %w", name, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("rebuild the table of pack %s: %w", name, err)
	}
	seen := map[core.Hash]bool{}
	end, err := salvage(f, info.Size(), func(r row, _ []byte) error {
		if !seen[r.hash] {
			seen[r.hash], rows = true, append(rows, r)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("rebuild the table of pack %s: %w", name, err)
	}
	if s.readOnly || len(rows) == 0 {
		return rows, nil
	}
	p, err := claimPack(packPath(s.dir, name))
	if p == nil || err != nil {
		return rows, nil // another process does the same, or it goes on without
	}
	defer p.abandon()
	header := append([]byte(packMagic), make([]byte, packHeader-len(packMagic))...) // it may be lost as well
	if _, err := p.file.WriteAt(header, 0); err == nil {
		_ = p.seal(rows, end)
	}
	return rows, nil
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

// adopt puts anew what processes that died left in packs of their own, and removes those packs once it is durable. They
// are never finished as they are: of what can be read there some may stand in memory alone, since their writer may have
// ended because a sync failed. Where there is no room they stay, and can be read. appending is held, and barrier, but
// in Open.
func (s *Store) adopt() error {
	there, err := listPacks(s.dir)
	if err != nil {
		return err
	}
	gone := false
	for name, finished := range there {
		if finished {
			continue
		}
		p, err := claimPack(openPath(s.dir, name))
		if p == nil && err == nil {
			continue // somebody writes it
		}
		if err == nil {
			err = s.takeOver(p)
			p.abandon()
		}
		if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
			break
		}
		if err != nil {
			return fmt.Errorf("rescue pack %s: %w", name, err)
		}
		gone = true
	}
	if !gone {
		return nil
	}
	return s.refresh(true)
}

// takeOver puts what is whole in a claimed pack anew, and removes it.
func (s *Store) takeOver(p *pack) error {
	info, err := p.file.Stat()
	if err != nil {
		return err
	}
	found := false
	_, err = salvage(p.file, info.Size(), func(r row, data []byte) error {
		found = true
		if known, err := s.known(r.hash); known || err != nil {
			return err
		}
		return s.append(r, data)
	})
	if err == nil && found {
		err = s.barrierHere()
	}
	if err != nil {
		return err
	}
	return durable.Remove(openPath(s.dir, p.name))
}

// claimPack opens the pack at path for writing; nil where another process has it locked or it is gone.
func claimPack(path string) (*pack, error) {
	file, err := durable.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	name, _, _ := packName(filepath.Base(path))
	p := &pack{name: name, file: file}
	if claimed, err := p.claim(path); err != nil || !claimed {
		file.Close()
		return nil, err
	}
	return p, nil
}
