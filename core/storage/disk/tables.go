// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/zeebo/blake3"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
)

const (
	maxTables     = 16
	maxLoose      = 1 << 16 // rows in memory, about, before they become a table
	maxLoosePacks = 64      // packs whose tables are read one by one, about, before they do
	tableNumbers  = 1 << 31 // numbers of table files begin here, those of packs end
	currentHead   = "bkp index 1\n"
)

func (s *Store) indexDir() string             { return filepath.Join(filepath.Dir(s.dir), "index") }
func (s *Store) tablePath(name string) string { return filepath.Join(s.indexDir(), name+".idx") }

// useTable calls f with a merged table open.
func (s *Store) useTable(t *merged, f func(*os.File) error) error {
	return s.files.use(t.number, func() (*os.File, error) { return os.Open(s.tablePath(t.name)) }, f)
}

// readCurrent is the names in index/CURRENT: none where there is no index.
func (s *Store) readCurrent() (names []string, err error) {
	text, err := os.ReadFile(filepath.Join(s.indexDir(), "CURRENT"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(text, []byte(currentHead)) || len(text) < len(currentHead)+65 {
		return nil, damaged("CURRENT is of another form")
	}
	body, sum := text[:len(text)-65], text[len(text)-65:]
	if want := blake3.Sum256(body); string(sum) != hex.EncodeToString(want[:])+"\n" {
		return nil, damaged("CURRENT does not match its hash")
	}
	return strings.Fields(string(body[len(currentHead):])), nil
}

// writeCurrent makes these the tables of the index.
func (s *Store) writeCurrent(tables []*merged) error {
	body := currentHead
	for _, t := range tables {
		body += t.name + "\n"
	}
	sum := blake3.Sum256([]byte(body))
	return durable.Replace(filepath.Join(s.indexDir(), "CURRENT"), []byte(body+hex.EncodeToString(sum[:])+"\n"), 0o600)
}

// loadTables opens the tables that CURRENT names, where these are not open already. There may be none: a table that
// cannot be read is as good as lost, and its packs are read one by one. mu is held.
func (s *Store) loadTables() {
	names, err := s.readCurrent()
	if err != nil {
		s.mend = true
		return
	}
	if slices.EqualFunc(names, s.tables, func(n string, t *merged) bool { return n == t.name }) {
		return
	}
	var tables []*merged
	for _, name := range names {
		t := s.openTable(name)
		if t == nil {
			s.mend = true
			return // another process took its place a moment ago, or it is damaged
		}
		tables = append(tables, t)
	}
	s.tables = tables
}

func (s *Store) openTable(name string) *merged {
	for _, t := range s.tables {
		if t.name == name {
			return t
		}
	}
	f, err := os.Open(s.tablePath(name))
	if err != nil {
		return nil
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil
	}
	t, err := openMerged(f, info.Size())
	if err != nil {
		return nil
	}
	t.name, t.number = name, tableNumbers+s.tableCount
	s.tableCount++
	return t
}

// cover registers the packs that the tables cover and that are there; the others are gone. Look-ups go on with the
// tables as they were. mu is held.
func (s *Store) cover(there map[string]bool) {
	tables := slices.Clone(s.tables)
	for i, t := range tables {
		packs := slices.Clone(t.packs)
		for k := range packs {
			packs[k].number = s.covered(packs[k], there)
		}
		if !slices.Equal(packs, t.packs) {
			now := *t
			now.packs = packs
			tables[i] = &now
		}
	}
	s.tables = tables
}

// covered is the number of a pack that a table covers.
func (s *Store) covered(m mergedPack, there map[string]bool) uint32 {
	var text [32]byte
	hex.Encode(text[:], m.name[:])
	name := string(text[:])
	finished, ok := there[name]
	if !ok {
		return noPack
	}
	p := s.names[name]
	if p == nil && finished {
		p = &pack{name: name, finished: true, covered: true}
		s.register(p)
		s.newNames = true
		s.used += m.bytes
	}
	if p == nil {
		return noPack
	}
	return p.number
}

// settle notes which packs were covered by another process after they were read here. mu is held.
func (s *Store) settle() {
	for _, t := range s.tables {
		for _, m := range t.packs {
			if m.number == noPack {
				continue
			}
			if p := s.packs[m.number]; p.finished && !p.covered {
				s.loose -= p.loose
				s.loosePacks--
				p.covered, p.loose = true, 0
			}
		}
	}
}

// lookTables finds a hash in the merged tables, one that nobody may lean on only where there is no other. Where they
// are lost, all is in memory now.
func (s *Store) lookTables(hash core.Hash) (at place, ok, lost bool, err error) {
	lost, err = s.searchTables(hash, func(t *merged) *section { return &t.hashes }, func(t *merged, row []byte) bool {
		n := binary.LittleEndian.Uint32(row[32:])
		if int(n) >= len(t.packs) || t.packs[n].number == noPack {
			return false
		}
		at, ok = place{t.packs[n].number, binary.LittleEndian.Uint32(row[36:])}, true
		return s.trusts(at)
	})
	return at, ok, lost, err
}

// findTables finds an id in the merged tables.
func (s *Store) findTables(id core.Hash) (c core.Chunk, ok, lost bool, err error) {
	var innerLost bool
	var innerErr error
	lost, err = s.searchTables(id, func(t *merged) *section { return &t.ids }, func(_ *merged, row []byte) bool {
		hash := core.Hash(row[32:64])
		var at place
		if at, ok, innerLost, innerErr = s.lookTables(hash); innerErr != nil || innerLost {
			return true
		}
		if ok = ok && s.trusts(at); ok {
			c = core.Chunk{Hash: hash, Size: core.Size(binary.LittleEndian.Uint32(row[64:]))}
		}
		return ok
	})
	if err == nil {
		err = innerErr
	}
	return c, ok, lost || innerLost, err
}

// searchTables calls visit for rows with this key until it returns true. Where a table is lost or damaged the store
// forgets the index and reads its packs' own tables.
func (s *Store) searchTables(key core.Hash, which func(*merged) *section,
	visit func(*merged, []byte) bool) (lost bool, err error) {
	s.mu.RLock()
	tables := s.tables
	s.mu.RUnlock()
	for _, t := range tables {
		found := false
		err := s.useTable(t, func(f *os.File) error {
			return which(t).search(f, key, func(row []byte) bool {
				found = visit(t, row)
				return found
			})
		})
		switch {
		case errors.Is(err, fs.ErrNotExist): // another process has merged it
			return true, s.forgetTables(false)
		case errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE):
			return false, err
		case err != nil:
			return true, s.forgetTables(true)
		case found:
			return false, nil
		}
	}
	return false, nil
}

// forgetTables reads the index anew; a damaged one is done without from now on.
func (s *Store) forgetTables(damaged bool) error {
	s.mu.Lock()
	if damaged {
		s.noTables, s.mend = true, true
	}
	s.forget()
	s.mu.Unlock()
	return s.refresh(true)
}

// compact turns the loose packs into a merged table, together with tables that are not much larger, so that a look-up
// has few to ask and every row is written again few times. Where another process does the same it leaves that to it.
func (s *Store) compact() error {
	if err := durable.MkdirAll(s.indexDir()); err != nil {
		return err
	}
	lock := durable.NewLock(filepath.Join(s.indexDir(), "lock"))
	if got, err := lock.TryLock(); err != nil || !got {
		return err
	}
	defer lock.Close()
	if err := s.refresh(true); err != nil {
		return err
	}
	s.mu.Lock()
	in, mend := s.chooseMerge(), s.mend
	s.mu.Unlock()
	if len(in.loose) == 0 && mend {
		return s.writeCurrent(in.keep) // there is nothing to say any more
	}
	if len(in.loose) == 0 {
		return nil
	}
	t, err := s.writeTable(&in)
	if err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	tables := append(slices.Clone(in.keep), t)
	if err := s.writeCurrent(tables); err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	s.tables, s.noTables, s.mend = tables, false, false
	for _, r := range in.rows {
		p := in.loose[int(r.pack)-in.first]
		s.index.remove(place{p.number, r.offset}, r.row)
	}
	s.settle()
	s.removeTables(tables)
	return nil
}

// merge is what becomes one table.
type merge struct {
	loose  []*pack
	tables []*merged
	keep   []*merged // stay as they are
	rows   []looseRow
	first  int // number of the first loose pack in the new table
}

// chooseMerge takes the loose packs and the smallest tables. mu is held.
func (s *Store) chooseMerge() (m merge) {
	rows := 0
	for _, p := range s.names {
		if p.finished && !p.covered && p.loose > 0 {
			m.loose = append(m.loose, p)
			rows += p.loose
		}
	}
	slices.SortFunc(m.loose, func(a, b *pack) int { return strings.Compare(a.name, b.name) })
	m.keep = slices.Clone(s.tables)
	slices.SortFunc(m.keep, func(a, b *merged) int { return cmp.Compare(b.hashes.rows, a.hashes.rows) })
	for n := len(m.keep); n > 0 && (m.keep[n-1].hashes.rows <= 2*rows || n >= maxTables ||
		m.keep[n-1].mostlyGone()); n-- {
		rows += m.keep[n-1].hashes.rows
		m.tables, m.keep = append(m.tables, m.keep[n-1]), m.keep[:n-1]
	}
	return m
}

// mostlyGone reports whether a table is about packs that were swept since.
func (t *merged) mostlyGone() bool {
	gone := 0
	for _, p := range t.packs {
		if p.number == noPack {
			gone++
		}
	}
	return 2*gone > len(t.packs)
}

// writeTable writes the merged table, durably.
func (s *Store) writeTable(m *merge) (*merged, error) {
	var random [16]byte
	rand.Read(random[:]) // never fails
	name := hex.EncodeToString(random[:])
	out, err := durable.Create(s.tablePath(name), 0o600)
	if err != nil {
		return nil, err
	}
	w := &mergedWriter{out: bufio.NewWriterSize(io.NewOffsetWriter(out, 0), 1<<20)}
	if err = s.mergeAll(w, m); err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err == nil {
		err = durable.SyncDir(s.indexDir()) // before CURRENT names it
	}
	if err != nil {
		_ = durable.Remove(s.tablePath(name))
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.openTable(name)
	if t == nil {
		return nil, fmt.Errorf("table %s is not what was written", name)
	}
	for i := range t.packs {
		if p := s.names[hex.EncodeToString(t.packs[i].name[:])]; p != nil {
			t.packs[i].number = p.number
		}
	}
	return t, nil
}

func (s *Store) mergeAll(w *mergedWriter, m *merge) error {
	var packs []mergedPack
	var kinds [2][]*cursor
	for _, t := range m.tables {
		f, err := os.Open(s.tablePath(t.name))
		if err != nil {
			return err
		}
		defer f.Close()
		renumber := make([]uint32, len(t.packs))
		for i, p := range t.packs {
			if renumber[i] = noPack; p.number != noPack {
				renumber[i] = uint32(len(packs))
				packs = append(packs, p)
			}
		}
		kinds[0] = append(kinds[0], newCursor(f, t.hashes, func(row []byte) bool {
			n := binary.LittleEndian.Uint32(row[32:])
			if int(n) >= len(renumber) || renumber[n] == noPack {
				return false
			}
			binary.LittleEndian.PutUint32(row[32:], renumber[n])
			return true
		}))
		kinds[1] = append(kinds[1], newCursor(f, t.ids, func([]byte) bool { return true }))
	}
	m.first = len(packs)
	for i, p := range m.loose {
		rows, err := s.rowsOf(p)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // swept by another process: a pack of no rows
			return err
		}
		entry := mergedPack{name: packID(p.name)}
		for _, r := range rows {
			m.rows = append(m.rows, looseRow{r, uint32(m.first + i)})
			entry.bytes += core.Size(r.size)
		}
		packs = append(packs, entry)
	}
	hashes, ids := encodeLoose(m.rows)
	every := func([]byte) bool { return true }
	kinds[0] = append(kinds[0], newCursor(bytes.NewReader(hashes), section{size: hashRow, rows: len(hashes) / hashRow},
		every))
	kinds[1] = append(kinds[1], newCursor(bytes.NewReader(ids), section{size: idRow, rows: len(ids) / idRow}, every))
	for kind, cursors := range kinds {
		if err := mergeRows(w, kind, cursors); err != nil {
			return err
		}
	}
	return w.finish(packs)
}

func packID(name string) (id [16]byte) {
	_, _ = hex.Decode(id[:], []byte(name)) // packName has looked at its form
	return id
}

// removeTables removes every table file but these. The index is locked.
func (s *Store) removeTables(but []*merged) {
	files, _ := filepath.Glob(s.tablePath("*"))
	for _, path := range files {
		if !slices.ContainsFunc(but, func(t *merged) bool { return s.tablePath(t.name) == path }) {
			_ = durable.Remove(path)
		}
	}
}

// tidyIndex removes what processes that were killed left beside the tables.
func (s *Store) tidyIndex() {
	lock := durable.LockOf(filepath.Join(s.indexDir(), "lock"))
	if got, err := lock.TryLock(); err != nil || !got {
		return // there is no index, or somebody merges
	}
	defer lock.Close()
	names, err := s.readCurrent()
	if err != nil {
		return
	}
	var named []*merged
	for _, n := range names {
		named = append(named, &merged{name: n})
	}
	s.removeTables(named)
	removeTemporary(s.indexDir(), "CURRENT")
}

// removeTemporary removes what is left of files that were to take the place of name.
func removeTemporary(dir, name string) {
	files, _ := filepath.Glob(filepath.Join(dir, "."+name+"*"))
	for _, path := range files {
		_ = durable.Remove(path)
	}
}
