// SPDX-License-Identifier: Apache-2.0

package disk_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/storage/disk"
	"github.com/bkp-tool/bkp/core/storage/disk/check"
)

// named is every file of a store in which Check or CheckIndex finds damage.
func named(t testing.TB, dir string) (files []string) {
	t.Helper()
	err := check.Packs(t.Context(), dir, "", func(core.Hash) bool { return true }, func(c check.Checked) error {
		for _, d := range c.Damage {
			files = append(files, d.File)
		}
		return nil
	})
	index, _, indexErr := check.Index(t.Context(), dir, true)
	if err := errors.Join(err, indexErr); err != nil {
		t.Fatal(err)
	}
	for _, d := range index {
		files = append(files, d.File)
	}
	return files
}

// One bit is wrong, in any file of a store: what is looked at names that file; whoever reads gets the right bytes or
// none, and only from a pack none; and the next sweep makes the index whole again.
func TestOneWrongBitAnywhere(t *testing.T) {
	long(t)
	const n, each = 90, 200
	made := t.TempDir()
	fill(t, made, 0, n, 30)
	s := open(t, made)
	if err := s.Compact(); err != nil {
		t.Fatal(err)
	}
	early := open(t, made)
	sweep(t, s, nothing) // everything is condemned
	closeStore(t, early)
	closeStore(t, s)
	if found := named(t, made); len(found) > 0 {
		t.Fatalf("a whole store: %v", found)
	}
	var files []string
	for _, pattern := range []string{"packs/*.pack", "index/*.idx", "index/CURRENT", "writers/CONDEMNED"} {
		found, err := filepath.Glob(filepath.Join(made, pattern))
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %v, %v", pattern, found, err)
		}
		files = append(files, found[0])
	}
	for _, file := range files {
		file, _ := filepath.Rel(made, file)
		t.Run(strings.TrimLeft(filepath.Ext(file)+" "+filepath.Dir(file), ". "), func(t *testing.T) {
			whole, err := os.ReadFile(filepath.Join(made, file))
			if err != nil {
				t.Fatal(err)
			}
			var dir string
			for i := range 60 {
				dir = afterCrash(t, made)
				path := filepath.Join(dir, file)
				at := i * (len(whole) - 1) / 59
				whole[at] ^= 1 << (i % 8)
				if err := os.WriteFile(path, whole, 0o600); err != nil {
					t.Fatal(err)
				}
				whole[at] ^= 1 << (i % 8)
				if found := named(t, dir); len(found) == 0 || found[0] != file {
					t.Errorf("byte %d: %v are named", at, found)
				}
				reader, err := disk.OpenRead(dir)
				if err != nil {
					t.Fatal(err)
				}
				if err := lost(reader, n, each); err != nil && filepath.Dir(file) != "packs" {
					t.Errorf("byte %d: %v", at, err)
				}
				if i%20 == 7 && filepath.Dir(file) != "packs" {
					dir := afterCrash(t, dir)
					s := open(t, dir)
					sweep(t, s, func(core.Hash) bool { return true })
					closeStore(t, s)
					if found := named(t, dir); len(found) > 0 {
						t.Errorf("byte %d: after a sweep still named: %v", at, found)
					}
				}
				if i == 59 {
					defer closeStore(t, reader)
					break
				}
				closeStore(t, reader)
				if found := named(t, dir); len(found) > 0 && filepath.Base(file) == "CURRENT" {
					t.Errorf("byte %d: after a reader still named: %v", at, found)
				}
			}
			s := open(t, dir) // the last bit is wrong still
			if err := lost(s, n, each); err != nil && filepath.Dir(file) != "packs" {
				t.Error(err)
			}
			closeStore(t, s)
			if found := named(t, dir); len(found) > 0 && filepath.Dir(file) == "index" {
				t.Errorf("still named: %v", found)
			}
		})
	}
}

// lost says which of n pieces cannot be read: one of them, and only for a reason of its own.
func lost(s *disk.Store, n, size int) error {
	var errs []error
	for i := range n {
		p := makePiece(i, size)
		got, err := s.Get(bg, p.Hash, nil)
		switch {
		case err == nil && string(got) != string(p.data):
			panic("wrong bytes are returned")
		case err != nil && !errors.Is(err, core.ErrNotFound) && core.CodeOf(err) != core.CodeWrong:
			panic(fmt.Sprintf("the reason is another one: %v", err))
		case err != nil:
			errs = append(errs, fmt.Errorf("piece %d: %w", i, err))
		}
	}
	if len(errs) > 1 {
		panic(fmt.Sprintf("%d pieces are lost to one bit", len(errs)))
	}
	return errors.Join(errs...)
}

// An index that is lost as a whole is named where it must have been, and comes back with the next writer.
func TestALostIndexIsNamed(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	s.SetPackSize(500)
	const n = 600
	for i := range n {
		put(t, s, makePiece(i, 200))
	}
	closeStore(t, s)
	if found := named(t, dir); len(found) > 0 {
		t.Fatalf("a whole store: %v", found)
	}
	if err := os.RemoveAll(filepath.Join(dir, "index")); err != nil {
		t.Fatal(err)
	}
	if found := named(t, dir); len(found) != 1 || found[0] != "index" {
		t.Errorf("%v are named", found)
	}
	closeStore(t, open(t, dir))
	if found := named(t, dir); len(found) > 0 {
		t.Errorf("still named: %v", found)
	}
	s = open(t, dir)
	defer closeStore(t, s)
	wantAll(t, s, n)
}
