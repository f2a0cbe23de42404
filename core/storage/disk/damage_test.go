// SPDX-License-Identifier: Apache-2.0

package disk_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/storage/disk"
	"github.com/bkp-tool/bkp/core/storage/disk/check"
)

// damageData flips a bit in the data of a piece, wherever in the store that stands first.
func damageData(t testing.TB, dir string, p piece) {
	t.Helper()
	for _, path := range packFiles(t, dir, ".pack") {
		pack, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if at := bytes.Index(pack, p.data); at >= 0 {
			pack[at+len(p.data)/2] ^= 1
			if err := os.WriteFile(path, pack, 0o600); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatal("no pack has the piece")
}

func notes(t testing.TB, dir string) int {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "damaged", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return len(found)
}

// Somebody notices that a piece is damaged: by reading it, or by looking through the packs. Who puts it again makes the
// store whole, for readers old and new; then a sweep takes the damaged record away, and the note of it.
func TestADamagedPieceIsPutAgain(t *testing.T) {
	for _, merged := range []bool{false, true} {
		for by, notice := range map[string]func(testing.TB, string, piece){
			"a reader": func(t testing.TB, dir string, p piece) {
				reader, err := disk.OpenRead(dir)
				if err != nil {
					t.Fatal(err)
				}
				defer closeStore(t, reader)
				if _, err := reader.Get(bg, p.Hash, nil); core.CodeOf(err) != core.CodeWrong {
					t.Errorf("a damaged piece: %v", err)
				}
			},
			"a check": func(t testing.TB, dir string, _ piece) {
				err := check.Packs(t.Context(), dir, "", func(core.Hash) bool { return true },
					func(c check.Checked) error {
						for _, d := range c.Damage {
							check.Note(dir, d)
						}
						return nil
					})
				if err != nil {
					t.Fatal(err)
				}
			},
		} {
			t.Run(fmt.Sprintf("noticed by %s, merged %v", by, merged), func(t *testing.T) {
				dir := t.TempDir()
				fill(t, dir, 0, 40, 4)
				merge := func(s *disk.Store) {
					if err := s.Compact(); merged && err != nil {
						t.Fatal(err)
					}
				}
				s := open(t, dir)
				merge(s)
				closeStore(t, s)
				old, err := disk.OpenRead(dir)
				if err != nil {
					t.Fatal(err)
				}
				defer closeStore(t, old)
				p := makePiece(17, 200)
				damageData(t, dir, p)
				notice(t, dir, p)

				s = open(t, dir)
				if finds(s, p) {
					t.Error("the damaged piece counts as known")
				}
				if !put(t, s, p) || put(t, s, p) {
					t.Error("it is not put again once")
				}
				wantPiece(t, s, p)
				closeStore(t, s)
				wantPiece(t, old, p)
				for range 5 { // packs are read in any order
					s = open(t, dir)
					merge(s)
					if !finds(s, p) {
						t.Error("it is not found")
					}
					for n := range 40 {
						wantPiece(t, s, makePiece(n, 200))
					}
					closeStore(t, s)
				}

				s = open(t, dir)
				defer closeStore(t, s)
				sweep(t, s, func(core.Hash) bool { return true })
				wantAll(t, s, 40)
				if found := named(t, dir); len(found) > 0 || notes(t, dir) > 0 {
					t.Errorf("after a sweep %v are damaged, and %d notes are left", found, notes(t, dir))
				}
			})
		}
	}
}

// A process that has the store open when another notes a damaged piece no longer says that it has it, and puts it
// again.
func TestANoteReachesWhoHasTheStoreOpen(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 0, 8, 4)
	s := open(t, dir)
	defer closeStore(t, s)
	for _, n := range []int{2, 5, 6} {
		p := makePiece(n, 200)
		if has, err := s.Has(bg, p.Hash); err != nil || !has {
			t.Fatalf("piece %d: %v, %v", n, has, err)
		}
		damageData(t, dir, p)
		check.Packs(t.Context(), dir, "", func(h core.Hash) bool { return h == p.Hash }, func(c check.Checked) error {
			for _, d := range c.Damage {
				check.Note(dir, d)
			}
			return nil
		})
		time.Sleep(150 * time.Millisecond) // within a tick of the file system's clock two notes look like one
		has, err := s.Has(bg, p.Hash)
		damaged, derr := s.Damaged(bg, p.Hash)
		if err != nil || derr != nil || has || !damaged {
			t.Errorf("piece %d is noted as damaged: has %v (%v), damaged %v (%v)", n, has, err, damaged, derr)
		}
		if finds(s, p) || !put(t, s, p) || put(t, s, p) {
			t.Errorf("piece %d is not put again once", n)
		}
		wantPiece(t, s, p)
	}
}

// As long as nobody has put it again, a sweep leaves the damaged record, its pack and the note.
func TestADamagedPieceThatIsNowhereElse(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 0, 8, 4)
	damageData(t, dir, makePiece(2, 200))
	damageData(t, dir, makePiece(3, 200))
	s := open(t, dir)
	defer closeStore(t, s)
	for _, n := range []int{2, 3} {
		if _, err := s.Get(bg, makePiece(n, 200).Hash, nil); core.CodeOf(err) != core.CodeWrong {
			t.Fatal(err)
		}
	}
	put(t, s, makePiece(2, 200))
	before := packFiles(t, dir, ".pack")
	sweep(t, s, func(core.Hash) bool { return true })
	if after := packFiles(t, dir, ".pack"); len(after) != len(before)+1 || notes(t, dir) != 2 {
		t.Errorf("packs %v became %v, with %d notes", before, after, notes(t, dir))
	}
	wantPiece(t, s, makePiece(2, 200))
	if _, err := s.Get(bg, makePiece(3, 200).Hash, nil); core.CodeOf(err) != core.CodeWrong {
		t.Error(err)
	}
}

// A pack is cut off though a merged table covers it. What was put again is found, and a sweep gives the rest its table.
func TestACutPackUnderAMergedTable(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 0, 12, 12)
	s := open(t, dir)
	if err := s.Compact(); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	if err := os.Truncate(packFiles(t, dir, ".pack")[0], 16+5*280+100); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	for n := range 12 {
		_, err := s.Get(bg, makePiece(n, 200).Hash, nil)
		if whole := n < 5; whole != (err == nil) || !whole && core.CodeOf(err) != core.CodeWrong {
			t.Errorf("piece %d: %v", n, err)
		}
		if isNew := put(t, s, makePiece(n, 200)); isNew != (n >= 5) {
			t.Errorf("piece %d is new: %v", n, isNew)
		}
	}
	closeStore(t, s)
	s = open(t, dir)
	defer closeStore(t, s)
	sweep(t, s, func(core.Hash) bool { return true })
	for n := range 12 {
		wantPiece(t, s, makePiece(n, 200))
	}
	if found := named(t, dir); len(found) > 0 {
		t.Errorf("after a sweep %v are damaged", found)
	}
}
