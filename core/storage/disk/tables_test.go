// SPDX-License-Identifier: Apache-2.0

package disk_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/storage/disk"
)

// fill puts pieces into packs of about per pieces each.
func fill(t testing.TB, dir string, from, to, per int) {
	t.Helper()
	for ; from < to; from += per {
		s := open(t, dir)
		for n := from; n < min(from+per, to); n++ {
			put(t, s, makePiece(n, 200))
		}
		closeStore(t, s)
	}
}

func wantAll(t testing.TB, s *disk.Store, n int) {
	t.Helper()
	for i := range n {
		p := makePiece(i, 200)
		wantPiece(t, s, p)
		if c, ok := found(s, p.id); !ok || c != p.Chunk {
			t.Fatalf("piece %d is found as %v, %v", i, c, ok)
		}
	}
	for i := n; i < n+20; i++ {
		p := makePiece(i, 200)
		if _, ok := found(s, p.id); ok || has(s, p.Hash) {
			t.Fatalf("has piece %d", i)
		}
	}
	if want := core.Size(200 * n); used(s) != want {
		t.Errorf("used %d, want %d", used(s), want)
	}
}

func TestTablesTakeOverFromMemory(t *testing.T) {
	dir := t.TempDir()
	total := 0
	for round := range 12 {
		fill(t, dir, total, total+30*(round%4+1), 25)
		total += 30 * (round%4 + 1)
		s := open(t, dir)
		if err := s.Compact(); err != nil {
			t.Fatal(err)
		}
		if tables, loose := s.Tables(); tables == 0 || tables > 6 || loose != 0 {
			t.Errorf("round %d: %d tables, %d rows in memory", round, tables, loose)
		}
		wantAll(t, s, total)
		closeStore(t, s)
		if s = open(t, dir); round%3 == 0 {
			wantAll(t, s, total)
		}
		if _, loose := s.Tables(); loose != 0 {
			t.Errorf("round %d: %d rows in memory after opening", round, loose)
		}
		closeStore(t, s)
	}
	reader, err := disk.OpenRead(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, reader)
	wantAll(t, reader, total)
	// Others go on while the tables are merged below them.
	fill(t, dir, total, total+200, 50)
	writer := open(t, dir)
	defer closeStore(t, writer)
	if err := writer.Compact(); err != nil {
		t.Fatal(err)
	}
	wantAll(t, reader, total+200)
}

func TestManyLoosePacksAreMergedByThemselves(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	s.SetPackSize(2000)
	s.SetMaxLoose(50)
	for n := range 300 {
		put(t, s, makePiece(n, 200))
	}
	wantAll(t, s, 300)
	closeStore(t, s)
	if files, _ := filepath.Glob(filepath.Join(dir, "index", "*.idx")); len(files) == 0 {
		t.Error("nothing was merged")
	}
	s = open(t, dir)
	wantAll(t, s, 300)
	closeStore(t, s)
}

// Where nobody writes, the first reader that finds the index lost makes it anew; another finds it there.
func TestAReaderMakesALostIndexAnew(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 0, 70, 1)
	current := filepath.Join(dir, "index", "CURRENT")
	for _, lose := range []func() error{
		func() error { return os.RemoveAll(filepath.Join(dir, "index")) },
		func() error { return os.WriteFile(current, []byte("nonsense"), 0o600) },
	} {
		if err := lose(); err != nil {
			t.Fatal(err)
		}
		reader, err := disk.OpenRead(dir)
		if err != nil {
			t.Fatal(err)
		}
		wantAll(t, reader, 70)
		closeStore(t, reader)
		if found := named(t, dir); len(found) > 0 {
			t.Errorf("still named: %v", found)
		}
		if reader, err = disk.OpenRead(dir); err != nil {
			t.Fatal(err)
		}
		if tables, loose := reader.Tables(); tables != 1 || loose > 0 {
			t.Errorf("%d tables, and %d rows in memory", tables, loose)
		}
		wantAll(t, reader, 70)
		closeStore(t, reader)
	}
}

// Whatever happens to the index, the packs say it all again.
func TestALostIndexIsRebuilt(t *testing.T) {
	const n = 120
	made := t.TempDir()
	fill(t, made, 0, n, 40)
	s := open(t, made)
	if err := s.Compact(); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	table := func(dir string) string {
		files, _ := filepath.Glob(filepath.Join(dir, "index", "*.idx"))
		return files[0]
	}
	size := int64(n * (48 + 72))
	for name, hurt := range map[string]func(dir string){
		"all of it":         func(dir string) { os.RemoveAll(filepath.Join(dir, "index")) },
		"CURRENT":           func(dir string) { os.Remove(filepath.Join(dir, "index", "CURRENT")) },
		"a bit of CURRENT":  func(dir string) { flipBit(t, filepath.Join(dir, "index", "CURRENT"), 20) },
		"a table":           func(dir string) { os.Remove(table(dir)) },
		"a table's end":     func(dir string) { os.Truncate(table(dir), 5000) },
		"a bit of its tail": func(dir string) { flipBit(t, table(dir), size+100) },
		"a bit of a hash":   func(dir string) { flipBit(t, table(dir), 20*48+3) },
		"a bit of a place":  func(dir string) { flipBit(t, table(dir), 50*48+37) },
		"a bit of an id":    func(dir string) { flipBit(t, table(dir), n*48+60*72+10) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := afterCrash(t, made)
			hurt(dir)
			reader, err := disk.OpenRead(dir)
			if err != nil {
				t.Fatal(err)
			}
			wantAll(t, reader, n)
			closeStore(t, reader)
			s := open(t, dir)
			wantAll(t, s, n)
			if err := s.Compact(); err != nil {
				t.Fatal(err)
			}
			closeStore(t, s)
			s = open(t, dir)
			wantAll(t, s, n)
			if _, loose := s.Tables(); loose != 0 {
				t.Errorf("%d rows in memory: the index was not rebuilt", loose)
			}
			closeStore(t, s)
		})
	}
}
