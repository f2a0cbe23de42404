// SPDX-License-Identifier: Apache-2.0

package index

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/zeebo/blake3"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/storage/disk/table"
)

const currentHead = "bkp index 1\n"

// Dir is where the index of the store in a directory stands.
func Dir(store string) string { return filepath.Join(store, "index") }

// TablePath is where a table of the index in dir stands.
func TablePath(dir, name string) string { return filepath.Join(dir, name+".idx") }

// Current is the names in CURRENT of the index in dir: none where there is no index, core.CodeWrong where it is
// damaged.
func Current(dir string) (names []string, err error) {
	text, err := os.ReadFile(filepath.Join(dir, "CURRENT"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(text, []byte(currentHead)) || len(text) < len(currentHead)+65 {
		return nil, core.Fail(core.CodeWrong, "index: CURRENT is of another form")
	}
	body, sum := text[:len(text)-65], text[len(text)-65:]
	if want := blake3.Sum256(body); string(sum) != hex.EncodeToString(want[:])+"\n" {
		return nil, core.Fail(core.CodeWrong, "index: CURRENT does not match its hash")
	}
	return strings.Fields(string(body[len(currentHead):])), nil
}

// SetCurrent makes these the tables of the index in dir.
func SetCurrent(dir string, names []string) error {
	body := currentHead
	for _, name := range names {
		body += name + "\n"
	}
	sum := blake3.Sum256([]byte(body))
	return durable.Replace(filepath.Join(dir, "CURRENT"), []byte(body+hex.EncodeToString(sum[:])+"\n"), 0o600)
}

// tables is the merged tables of an index.
type tables struct {
	open    []*merged // a slice is never changed, only replaced
	damaged bool      // the index on disk is: it is done without
	mend    bool      // it is worth making anew
}

// merged is a table, on disk but for what helps to find a row in one read. It never changes.
type merged struct {
	*table.Table
	name    string
	numbers []uint32 // of its Packs in Index.known; noPack where one is gone
}

const noPack = ^uint32(0)

func names(tables []*merged) (names []string) {
	for _, t := range tables {
		names = append(names, t.name)
	}
	return names
}

// mostlyGone reports whether a table is about packs that were swept since.
func (t *merged) mostlyGone() bool {
	gone := 0
	for _, n := range t.numbers {
		if n == noPack {
			gone++
		}
	}
	return 2*gone > len(t.numbers)
}

// loadTables opens the tables that CURRENT names, where these are not open already. There may be none: a table that
// cannot be read is as good as lost, and its packs are read one by one. mu is held.
func (x *Index) loadTables() {
	current, err := Current(x.dir)
	if err != nil {
		x.tables.mend = true
		return
	}
	if slices.Equal(current, names(x.tables.open)) {
		return
	}
	var open []*merged
	for _, name := range current {
		t := x.openTable(name)
		if t == nil {
			x.tables.mend = true
			return // another process took its place a moment ago, or it is damaged
		}
		open = append(open, t)
	}
	x.tables.open = open
}

// openTable is a table that is open, or opened now; nil where it cannot be. mu is held.
func (x *Index) openTable(name string) *merged {
	for _, t := range x.tables.open {
		if t.name == name {
			return t
		}
	}
	t, err := table.Open(TablePath(x.dir, name))
	if err != nil {
		return nil
	}
	return &merged{Table: t, name: name, numbers: slices.Repeat([]uint32{noPack}, len(t.Packs))}
}

// cover registers the packs that the tables cover and that are there; the others are gone. Look-ups go on with the
// tables as they were. mu is held.
func (x *Index) cover(there map[string]bool) {
	open := slices.Clone(x.tables.open)
	for i, t := range open {
		numbers := make([]uint32, len(t.numbers))
		for k := range numbers {
			numbers[k] = x.coveredBy(t.Packs[k], there)
		}
		if !slices.Equal(numbers, t.numbers) {
			open[i] = &merged{t.Table, t.name, numbers}
		}
	}
	x.tables.open = open
}

// coveredBy is the number of a pack that a table covers.
func (x *Index) coveredBy(m table.Pack, there map[string]bool) uint32 {
	name := m.Name()
	finished, ok := there[name]
	if !ok {
		return noPack
	}
	p := x.names[name]
	if p == nil && finished {
		p = &known{name: name, finished: true, covered: true}
		x.register(p)
		x.newNames = true
		x.used += m.Bytes
	}
	if p == nil {
		return noPack
	}
	return p.number
}

// settle notes which packs were covered by another process after they were read here. mu is held.
func (x *Index) settle() {
	for _, t := range x.tables.open {
		for _, n := range t.numbers {
			if n == noPack {
				continue
			}
			if p := x.known[n]; p.finished && !p.covered {
				x.loose.cover(p)
			}
		}
	}
}

// inTables finds a hash in the tables, one that nobody may lean on only where there is no other. Where they are lost,
// all is in memory now.
func (x *Index) inTables(hash core.Hash) (at Place, ok, lost bool, err error) {
	lost, err = x.searchTables(func(t *merged, f *os.File) (done bool, err error) {
		err = t.Hash(f, hash, func(row table.Place) bool {
			n := t.numbers[row.Pack]
			if n == noPack {
				return false
			}
			x.mu.RLock()
			at, ok = Place{x.known[n], row.Offset}, true
			done = at.pack.trusts(at.Offset)
			x.mu.RUnlock()
			return done
		})
		return done, err
	})
	return at, ok, lost, err
}

// idInTables finds an id in the tables.
func (x *Index) idInTables(id core.Hash) (c core.Chunk, ok, lost bool, err error) {
	var innerLost bool
	var innerErr error
	lost, err = x.searchTables(func(t *merged, f *os.File) (done bool, err error) {
		err = t.ID(f, id, func(row core.Chunk) bool {
			var at Place
			if at, ok, innerLost, innerErr = x.inTables(row.Hash); innerErr == nil && !innerLost {
				if ok = ok && x.Trusts(at); ok {
					c = row
				}
			}
			done = ok || innerErr != nil || innerLost
			return done
		})
		return done, err
	})
	if err == nil {
		err = innerErr
	}
	return c, ok, lost || innerLost, err
}

// searchTables looks into one table after another until it is done. Where a table is lost or damaged the index is
// forgotten, and packs' own tables are read.
func (x *Index) searchTables(look func(*merged, *os.File) (done bool, err error)) (lost bool, err error) {
	x.mu.RLock()
	open := x.tables.open
	x.mu.RUnlock()
	for _, t := range open {
		done := false
		err := x.files.Use(t.name, func() (*os.File, error) { return os.Open(TablePath(x.dir, t.name)) },
			func(f *os.File) (err error) {
				done, err = look(t, f)
				return err
			})
		switch {
		case errors.Is(err, fs.ErrNotExist): // another process has merged it
			return true, x.forgetTables(false)
		case errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE):
			return false, err
		case err != nil:
			return true, x.forgetTables(true)
		case done:
			return false, nil
		}
	}
	return false, nil
}

// forgetTables reads the index anew; a damaged one is done without from now on.
func (x *Index) forgetTables(damaged bool) error {
	x.mu.Lock()
	if damaged {
		x.tables.damaged, x.tables.mend = true, true
	}
	x.forget()
	x.mu.Unlock()
	return x.Refresh(true)
}
