// SPDX-License-Identifier: Apache-2.0

package index

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/storage/disk/pack"
	"github.com/bkp-tool/bkp/core/storage/disk/table"
)

const maxTables = 16

// MergeAt sets how many rows stand in memory, about, before they are merged.
func (x *Index) MergeAt(rows int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.loose.most = rows
}

// WantsMerge reports whether the index is worth merging, or making anew.
func (x *Index) WantsMerge() bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.loose.many() || x.tables.mend
}

// Counts is how many merged tables there are, and how many records stand in memory.
func (x *Index) Counts() (tables, loose int) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.tables.open), len(x.loose.hashes)
}

// Compact turns the loose packs into a merged table, together with tables that are not much larger, so that a look-up
// has few to ask and every row is written again few times. Where another process does the same it leaves that to it.
func (x *Index) Compact() error {
	if err := durable.MkdirAll(x.dir); err != nil {
		return err
	}
	lock := durable.NewLock(filepath.Join(x.dir, "lock"))
	if got, err := lock.TryLock(); err != nil || !got {
		return err
	}
	defer lock.Close()
	if err := x.Refresh(true); err != nil {
		return err
	}
	x.mu.Lock()
	in, mend := x.chooseMerge(), x.tables.mend
	x.mu.Unlock()
	if len(in.loose) == 0 && mend {
		return SetCurrent(x.dir, names(in.keep)) // there is nothing to say any more
	}
	if len(in.loose) == 0 {
		return nil
	}
	t, err := x.writeTable(&in)
	if err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	open := append(slices.Clone(in.keep), t)
	if err := SetCurrent(x.dir, names(open)); err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	x.tables = tables{open: open}
	for i, p := range in.loose {
		for _, r := range in.rows[i].Rows {
			x.loose.remove(p, r)
		}
	}
	x.settle()
	x.removeTables(names(open))
	return nil
}

// Remake reads the packs again and makes all tables anew.
func (x *Index) Remake() error {
	if err := x.forgetTables(true); err != nil {
		return err
	}
	return x.Compact()
}

// merge is what becomes one table.
type merge struct {
	loose  []*known
	rows   []table.Loose // of these
	tables []*merged
	keep   []*merged // stay as they are
}

// chooseMerge takes the loose packs and the smallest tables. mu is held.
func (x *Index) chooseMerge() (m merge) {
	rows := 0
	for _, p := range x.names {
		if p.finished && !p.covered && p.loose > 0 {
			m.loose = append(m.loose, p)
			rows += p.loose
		}
	}
	slices.SortFunc(m.loose, func(a, b *known) int { return strings.Compare(a.name, b.name) })
	m.keep = slices.Clone(x.tables.open)
	slices.SortFunc(m.keep, func(a, b *merged) int { return cmp.Compare(b.Rows(), a.Rows()) })
	for n := len(m.keep); n > 0 && (m.keep[n-1].Rows() <= 2*rows || n >= maxTables || m.keep[n-1].mostlyGone()); n-- {
		rows += m.keep[n-1].Rows()
		m.tables, m.keep = append(m.tables, m.keep[n-1]), m.keep[:n-1]
	}
	return m
}

// writeTable writes the merged table, durably.
func (x *Index) writeTable(m *merge) (*merged, error) {
	var random [16]byte
	rand.Read(random[:]) // never fails
	name := hex.EncodeToString(random[:])
	out, err := durable.Create(TablePath(x.dir, name), 0o600)
	if err != nil {
		return nil, err
	}
	if err = x.mergeInto(io.NewOffsetWriter(out, 0), m); err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err == nil {
		err = durable.SyncDir(x.dir) // before CURRENT names it
	}
	if err != nil {
		_ = durable.Remove(TablePath(x.dir, name))
		return nil, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	t := x.openTable(name)
	if t == nil {
		return nil, fmt.Errorf("table %s is not what was written", name)
	}
	for i, covered := range t.Packs {
		if p := x.names[covered.Name()]; p != nil {
			t.numbers[i] = p.number
		}
	}
	return t, nil
}

func (x *Index) mergeInto(out io.Writer, m *merge) error {
	var old []table.Old
	for _, t := range m.tables {
		f, err := os.Open(TablePath(x.dir, t.name))
		if err != nil {
			return err
		}
		defer f.Close()
		old = append(old, table.Old{Table: t.Table, File: f, Gone: func(i int) bool { return t.numbers[i] == noPack }})
	}
	for _, p := range m.loose {
		rows, err := pack.Rows(x.packs, p.name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // swept by another process: a pack of no rows
			return err
		}
		m.rows = append(m.rows, table.Loose{Name: p.name, Rows: rows})
	}
	return table.Merge(out, old, m.rows)
}

// removeTables removes every table file but these. The index is locked.
func (x *Index) removeTables(but []string) {
	found, _ := filepath.Glob(TablePath(x.dir, "*"))
	for _, path := range found {
		if !slices.Contains(but, strings.TrimSuffix(filepath.Base(path), ".idx")) {
			_ = durable.Remove(path)
		}
	}
}

// Tidy removes what processes that were killed left beside the tables.
func (x *Index) Tidy() {
	lock := durable.LockOf(filepath.Join(x.dir, "lock"))
	if got, err := lock.TryLock(); err != nil || !got {
		return // there is no index, or somebody merges
	}
	defer lock.Close()
	current, err := Current(x.dir)
	if err != nil {
		return
	}
	x.removeTables(current)
	half, _ := filepath.Glob(filepath.Join(x.dir, ".CURRENT*"))
	for _, path := range half {
		_ = durable.Remove(path)
	}
}
