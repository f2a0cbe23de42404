// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
)

// maxNotes is how many damaged records are noted, about: where there are more, this disk is no place for a backup.
const maxNotes = 1 << 14

func notesDir(dir string) string { return filepath.Join(dir, "damaged") }

func notePath(dir, pack string, offset uint32) string {
	return filepath.Join(notesDir(dir), fmt.Sprintf("%s.%d", pack, offset))
}

// note makes it known to whoever opens the store from now on that a record is damaged. Where nothing can be written, or
// it is lost with the power, it stays unknown until somebody finds it again.
func note(dir, pack string, offset uint32) {
	_ = durable.Mkdir(notesDir(dir)) // it may be there
	if f, err := durable.OpenOrCreate(notePath(dir, pack, offset), 0o600); err == nil {
		f.Close()
	}
}

// Note makes a damaged record that Check found known to whoever opens the store in dir from now on: it is no reason not
// to put its chunk again.
func Note(dir string, d Damage) {
	pack, finished, ok := packName(strings.TrimPrefix(d.File, "packs/"))
	if ok && finished && !d.Chunk.IsZero() && 0 < d.Offset && d.Offset < 1<<32 {
		note(dir, pack, uint32(d.Offset))
	}
}

// noted is the damaged records that were noted, by pack.
func noted(dir string) map[string]map[uint32]bool {
	bad := map[string]map[uint32]bool{}
	files, _ := os.ReadDir(notesDir(dir)) // none, or not for us
	for _, f := range files {
		pack, text, _ := strings.Cut(f.Name(), ".")
		offset, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			continue
		}
		if bad[pack] == nil {
			bad[pack] = map[uint32]bool{}
		}
		bad[pack][uint32(offset)] = true
	}
	return bad
}

// distrust notes that the record at this place is damaged, and reports whether it was not known yet.
func (s *Store) distrust(at place) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.packs[at.pack]
	if p.bad[at.offset] || s.notes >= maxNotes {
		return false
	}
	if p.bad == nil {
		p.bad = map[uint32]bool{}
		s.bad[p.name] = p.bad
	}
	p.bad[at.offset] = true
	s.notes++
	note(filepath.Dir(s.dir), p.name, at.offset)
	return true
}

// trusts reports whether a record of a pack may be leaned on: neither is the pack condemned nor the record known to be
// damaged. Store.mu is held.
func (p *pack) trusts(offset uint32) bool { return !p.condemned && !p.bad[offset] }

// trusts is that for a place.
func (s *Store) trusts(at place) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.packs[at.pack].trusts(at.offset)
}

// isDamaged reports whether that is known of a record.
func (s *Store) isDamaged(at place) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.packs[at.pack].bad[at.offset]
}

// tidyNotes removes notes about packs that are gone.
func (s *Store) tidyNotes() {
	dir := filepath.Dir(s.dir)
	for name, records := range noted(dir) {
		if _, err := os.Stat(packPath(s.dir, name)); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		for offset := range records {
			_ = durable.Remove(notePath(dir, name, offset))
		}
	}
	_ = durable.Remove(notesDir(dir)) // where it is empty
}

// wrongHere reports an error that says of bytes of ours that they are not what they were.
func (s *Store) wrongHere(err error, at place) bool {
	return core.CodeOf(err) == core.CodeWrong && !s.comes(at)
}
