// SPDX-License-Identifier: Apache-2.0

package check_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/zeebo/blake3"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/storage/disk"
	"github.com/bkp-tool/bkp/core/storage/disk/check"
	"github.com/bkp-tool/bkp/core/storage/disk/damage"
	"github.com/bkp-tool/bkp/core/storage/disk/files"
	"github.com/bkp-tool/bkp/core/storage/disk/index"
	"github.com/bkp-tool/bkp/core/storage/disk/writers"
)

// stored puts so many chunks of 40 bytes into a store, and finishes their pack.
func stored(t *testing.T, dir string, chunks int) {
	t.Helper()
	s, err := disk.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := range chunks {
		data := bytes.Repeat([]byte{byte(i)}, 40)
		hash := core.Hash(blake3.Sum256(data))
		if _, err := s.Put(t.Context(), core.Chunk{Hash: hash, Size: 40}, blake3.Sum256(hash[:]), data); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// checked is the damage that Check finds in the only pack of a store.
func checked(t *testing.T, dir string) (damage []check.Damage) {
	t.Helper()
	err := check.Packs(context.Background(), dir, "", func(core.Hash) bool { return true }, func(c check.Checked) error {
		damage = append(damage, c.Damage...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return damage
}

func TestCheckNamesEveryFlippedBit(t *testing.T) {
	dir := t.TempDir()
	stored(t, dir, 3)
	packs, err := filepath.Glob(filepath.Join(dir, "packs", "*.pack"))
	if err != nil || len(packs) != 1 {
		t.Fatalf("packs %v, %v", packs, err)
	}
	whole, err := os.ReadFile(packs[0])
	if err != nil {
		t.Fatal(err)
	}
	if d := checked(t, dir); len(d) > 0 {
		t.Fatalf("a whole pack: %+v", d)
	}
	write := func(data []byte) {
		t.Helper()
		if err := os.WriteFile(packs[0], data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for at := range whole {
		for bit := range 8 {
			whole[at] ^= 1 << bit
			write(whole)
			whole[at] ^= 1 << bit
			if len(checked(t, dir)) == 0 {
				t.Fatalf("bit %d of byte %d of %d flipped: nothing is named", bit, at, len(whole))
			}
		}
	}
	for size := range whole {
		write(whole[:size])
		if len(checked(t, dir)) == 0 {
			t.Fatalf("cut off at %d of %d: nothing is named", size, len(whole))
		}
	}
	write(whole)
	err = check.Packs(t.Context(), dir, filepath.Base(packs[0]), nil, func(c check.Checked) error {
		t.Errorf("pack %s comes not after itself", c.Pack)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// What is wrong with a record is remembered for whoever opens the store; what is wrong elsewhere is mended otherwise.
func TestNoteRemembersRecords(t *testing.T) {
	dir := t.TempDir()
	stored(t, dir, 2)
	name := filepath.Base(packOf(t, dir))
	for _, d := range []check.Damage{
		{File: "packs/" + name, Offset: 16, Chunk: core.Hash{1}},
		{File: "packs/" + name, Offset: 300},
		{File: "packs/" + name, Chunk: core.Hash{1}},
		{File: "packs/" + name, Offset: 1 << 32, Chunk: core.Hash{1}},
		{File: "packs/" + strings.Replace(name, ".pack", ".open", 1), Offset: 16, Chunk: core.Hash{1}},
		{File: "index/CURRENT", Offset: 16, Chunk: core.Hash{1}},
	} {
		check.Note(dir, d)
	}
	want := map[string]map[uint32]bool{strings.TrimSuffix(name, ".pack"): {16: true}}
	if got := damage.Notes(filepath.Join(dir, "damaged")).All(); !reflect.DeepEqual(got, want) {
		t.Errorf("noted are %v, want %v", got, want)
	}
}

func packOf(t *testing.T, dir string) string {
	t.Helper()
	packs, err := filepath.Glob(filepath.Join(dir, "packs", "*.pack"))
	if err != nil || len(packs) != 1 {
		t.Fatalf("packs %v, %v", packs, err)
	}
	return packs[0]
}

// Each file that is not the packs is named, and what is read of it, where a bit of it is wrong or it is cut off.
func TestIndexNamesEveryFile(t *testing.T) {
	dir := t.TempDir()
	stored(t, dir, 40)
	x := index.New(dir, false, &files.Cache{})
	if err := errors.Join(x.Refresh(true), x.Compact()); err != nil {
		t.Fatal(err)
	}
	if err := writers.Dir(filepath.Join(dir, "writers")).Condemn(writers.Condemned{Epoch: 1}); err != nil {
		t.Fatal(err)
	}
	tables, err := filepath.Glob(filepath.Join(dir, "index", "*.idx"))
	if err != nil || len(tables) != 1 {
		t.Fatalf("tables %v, %v", tables, err)
	}
	named := func(rows bool) (files []string) {
		t.Helper()
		damage, _, err := check.Index(t.Context(), dir, rows)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range damage {
			files = append(files, d.File)
		}
		return files
	}
	if found := named(true); len(found) > 0 {
		t.Fatalf("a whole index: %v", found)
	}
	for _, file := range []string{"index/CURRENT", "writers/CONDEMNED", "index/" + filepath.Base(tables[0])} {
		path := filepath.Join(dir, filepath.FromSlash(file))
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, wrong := range [][]byte{whole[:len(whole)-1], append([]byte{whole[0] ^ 1}, whole[1:]...)} {
			if err := os.WriteFile(path, wrong, 0o600); err != nil {
				t.Fatal(err)
			}
			if found := named(true); !slices.Equal(found, []string{file}) {
				t.Errorf("%s is wrong: named are %v", file, found)
			}
		}
		if found := named(false); strings.HasSuffix(file, ".idx") && len(found) > 0 {
			t.Errorf("the first row of %s was not to be read, but %v are named", file, found)
		}
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(tables[0]); err != nil {
		t.Fatal(err)
	}
	if found := named(false); len(found) != 1 {
		t.Errorf("a table is lost: named are %v", found)
	}
}
