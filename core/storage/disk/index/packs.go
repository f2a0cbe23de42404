// SPDX-License-Identifier: Apache-2.0

package index

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/storage/disk/pack"
)

// Began takes in a pack that this process begins to write.
func (x *Index) Began(name string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.register(&known{name: name, mine: true})
}

// Add takes in a record of a pack that this process writes.
func (x *Index) Add(name string, r pack.Row) {
	x.mu.Lock()
	defer x.mu.Unlock()
	p := x.names[name]
	p.rows = append(p.rows, r)
	x.note(p, r)
}

// Finished says that a pack which this process wrote has its table and its final name. Where too much stands in memory
// now, it is merged in the background; what fails is tried again with the next pack, since the packs have all that the
// index has.
func (x *Index) Finished(name string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	p := x.names[name]
	x.loose.finish(p, len(p.rows))
	p.mine, p.rows = false, nil
	if !x.loose.many() || x.loose.merging {
		return
	}
	x.loose.merging = true
	x.merges.Go(func() {
		_ = x.Compact()
		x.mu.Lock()
		x.loose.merging = false
		x.mu.Unlock()
	})
}

// Writing is the records of a pack that this process writes; nil where it does not.
func (x *Index) Writing(name string) []pack.Row {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if p := x.names[name]; p != nil && p.mine {
		return slices.Clone(p.rows)
	}
	return nil
}

// Wait returns when what is merged in the background is.
func (x *Index) Wait() { x.merges.Wait() }

// TakeNames reports whether packs of others were found since the last time whose names may not be durable.
func (x *Index) TakeNames() (found bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	found, x.newNames = x.newNames, false
	return found
}

// Condemn lets nobody here lean on these packs from now on; those condemned before and not any more count again.
func (x *Index) Condemn(packs map[string]uint64) error {
	x.mu.Lock()
	x.condemned = maps.Clone(packs)
	x.forget()
	x.mu.Unlock()
	return x.Refresh(true)
}

// Packs is the names of the packs that are here, and whether they are finished.
func (x *Index) Packs() map[string]bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	there := make(map[string]bool, len(x.names))
	for name, p := range x.names {
		there[name] = p.finished
	}
	return there
}

// forget drops the index, but for packs that this process writes; a refresh reads the others again. Packs stay what
// they are for goroutines that hold places without a lock. mu is held.
func (x *Index) forget() {
	x.files.Forget()
	x.loose.forget()
	x.used, x.tables.open = 0, nil
	mine := x.names
	x.names, x.growing = map[string]*known{}, map[string]*known{}
	for name, p := range mine {
		if !p.mine {
			continue
		}
		x.names[name] = p
		for _, r := range p.rows {
			x.note(p, r)
		}
	}
}

// register gives a pack its number. mu is held.
func (x *Index) register(p *known) {
	p.number = uint32(len(x.known))
	_, p.condemned = x.condemned[p.name]
	p.bad = x.damaged.bad[p.name]
	x.known = append(x.known, p)
	x.names[p.name] = p
}

// note takes a record in. mu is held.
func (x *Index) note(p *known, r pack.Row) {
	x.loose.add(p, r)
	x.used += core.Size(r.Size)
}

// settled is how old a modification time must be before it proves that there was no later one: file systems count in
// ticks, and two changes within a tick look like one.
const settled = 100 * time.Millisecond

// Refresh looks for packs that came, grew, were finished or went since the last time. Unless forced, it first asks the
// directory whether there is anything to look for.
func (x *Index) Refresh(force bool) error {
	info, err := os.Stat(x.packs)
	if err != nil {
		return fmt.Errorf("read packs: %w", err)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if !force && x.changed == info.ModTime().UnixNano() {
		return x.follow()
	}
	there, err := pack.List(x.packs)
	if err != nil {
		return err
	}
	if err := x.take(there); err != nil {
		return err
	}
	if time.Since(info.ModTime()) > settled {
		x.changed = info.ModTime().UnixNano()
	}
	return nil
}

// take brings what is known of packs up to what there is. mu is held.
func (x *Index) take(there map[string]bool) error {
	for name, p := range x.names {
		if _, ok := there[name]; !ok && !p.mine {
			x.forget()
			break
		}
	}
	if !x.tables.damaged {
		x.loadTables()
		x.cover(there)
	}
	for name, finished := range there {
		if err := x.load(name, finished); err != nil {
			return err
		}
	}
	x.settle()
	return nil
}

// load reads what is new in a pack of another process, or of an earlier one. mu is held.
func (x *Index) load(name string, finished bool) error {
	p := x.names[name]
	if p != nil && (p.finished || p.mine) {
		return nil
	}
	f, err := pack.Open(x.packs, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it went while we looked
	}
	if err != nil {
		return fmt.Errorf("read pack: %w", err)
	}
	defer f.Close()
	if p == nil {
		p = &known{name: name, end: pack.HeaderSize}
		x.register(p)
	}
	if finished {
		delete(x.growing, name)
		return x.loadTable(p, f)
	}
	x.growing[name] = p
	return x.grow(p, f)
}

// loadTable reads a finished pack. One with a damaged table gets a new one, or, where we may not write, none.
func (x *Index) loadTable(p *known, f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("read pack: %w", err)
	}
	rows, err := pack.ReadTable(f, info.Size())
	if err != nil {
		if rows, err = x.rebuild(p.name, !x.readOnly); err != nil {
			return err
		}
	}
	x.newNames = true // whoever finished it may have died before it was durable
	x.loose.finish(p, len(rows))
	for _, r := range rows {
		if int64(r.Offset) >= p.end { // the rest was seen while it was written
			x.note(p, r)
		}
	}
	return nil
}

// grow reads the records that another process added to the pack that it writes. mu is held.
func (x *Index) grow(p *known, f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("read pack: %w", err)
	}
	if p.end, err = pack.Scan(f, p.end, info.Size(), func(r pack.Row) { x.note(p, r) }); err != nil {
		return fmt.Errorf("read pack %s: %w", p.name, err)
	}
	return nil
}

// follow reads on in every pack that another process is writing. mu is held.
func (x *Index) follow() error {
	for _, p := range x.growing {
		_, err := os.Stat(pack.Path(x.packs, p.name))
		if err := x.load(p.name, err == nil); err != nil {
			return err
		}
	}
	return nil
}
