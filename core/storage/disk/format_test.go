// SPDX-License-Identifier: Apache-2.0

package disk_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/storage/disk"
	"github.com/zeebo/blake3"
)

// testdata/v1 is a store as the first version wrote it: a finished pack of three pieces. It must be readable for ever,
// and the same pieces must make the same pack for as long as the version is 1.
func TestGoldenPack(t *testing.T) {
	dir, pack := finishedStore(t, makePieces(3, 40))
	got, err := os.ReadFile(pack)
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "v1", "packs", strings.Repeat("0123456789abcdef", 2)+".pack")
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is written as\n%x\nwant\n%x", dir, got, want)
	}
	s, err := disk.OpenRead(filepath.Join("testdata", "v1"))
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, s)
	for _, p := range makePieces(3, 40) {
		check(t, s, p)
		if _, ok := found(s, p.id); !ok {
			t.Errorf("%s is not found by its id", p.Hash)
		}
	}
}

func FuzzReadTable(f *testing.F) {
	pack := goldenPack(f)
	f.Add(pack, false)
	f.Add(pack, true)
	f.Add(pack[:len(pack)-1], false)
	f.Add(pack[3*80:], true)
	f.Fuzz(func(t *testing.T, pack []byte, sealed bool) {
		if n := len(pack); sealed && n > 36 { // behind the hash stands what a writer that errs might write
			pack = bytes.Clone(pack)
			start := min(int(binary.LittleEndian.Uint32(pack[n-36:])), n-36)
			sum := blake3.Sum256(pack[start : n-32])
			copy(pack[n-32:], sum[:])
		}
		rows, err := disk.ReadTable(pack)
		if err != nil {
			return
		}
		for _, r := range rows {
			if begin, end := r.Place(); begin < 16 || end > int64(len(pack)) {
				t.Errorf("a record from %d to %d in a pack of %d", begin, end, len(pack))
			}
		}
	})
}

// Whatever the bytes: what salvage finds is whole, in order, and at least what a plain scan of whole records finds.
func FuzzSalvage(f *testing.F) {
	pack := goldenPack(f)
	f.Add(pack, uint16(0))
	f.Add(pack, uint16(50))
	f.Add(pack[:300], uint16(170))
	f.Fuzz(func(t *testing.T, pack []byte, flip uint16) {
		if int(flip) < len(pack) {
			pack = bytes.Clone(pack)
			pack[flip] ^= 0x10
		}
		rows, end, err := disk.Salvage(pack)
		if err != nil {
			return
		}
		last := int64(16)
		for _, r := range rows {
			begin, to := r.Place()
			if begin < last || to > int64(len(pack)) || to > end {
				t.Fatalf("a record from %d to %d after %d, all ending at %d", begin, to, last, end)
			}
			if blake3.Sum256(pack[r.Data():to]) != r.Hash() {
				t.Fatalf("the record at %d is not whole", begin)
			}
			last = to
		}
		if _, scanned, err := disk.Scan(pack); err == nil && len(pack) >= 16 && scanned > int64(len(pack)) {
			t.Errorf("scanned to %d of %d", scanned, len(pack))
		}
	})
}

func goldenPack(f testing.TB) []byte {
	files, err := filepath.Glob(filepath.Join("testdata", "v1", "packs", "*"))
	if err != nil || len(files) != 1 {
		f.Fatal(files, err)
	}
	pack, err := os.ReadFile(files[0])
	if err != nil {
		f.Fatal(err)
	}
	return pack
}

// Bad input 44: tables that count 2^32 rows and more are refused, before any memory is taken for them.
func TestACountOf2To32(t *testing.T) {
	pack := goldenPack(t)
	binary.LittleEndian.PutUint32(pack[len(pack)-40:], 1<<32-1)
	if rows, err := disk.ReadTable(pack); err == nil {
		t.Errorf("a pack's table gave %d rows", len(rows))
	}
	dir := t.TempDir()
	fill(t, dir, 0, 40, 20)
	s := open(t, dir)
	if err := s.Compact(); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	files, _ := filepath.Glob(filepath.Join(dir, "index", "*.idx"))
	whole, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for field := range 4 { // bytes of all rows, packs, hash rows, id rows
		for _, count := range []uint64{1 << 32, 1 << 40, 1 << 63, 1<<64 - 1} {
			table := bytes.Clone(whole)
			binary.LittleEndian.PutUint64(table[len(table)-64+8*field:], count)
			if _, err := disk.SearchMerged(table, core.Hash{1}); core.CodeOf(err) != core.CodeWrong {
				t.Errorf("field %d of %d: %v", field, count, err)
			}
		}
	}
}
