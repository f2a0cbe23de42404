// SPDX-License-Identifier: Apache-2.0

package pack

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/zeebo/blake3"
)

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
		rows, err := ReadTable(bytes.NewReader(pack), int64(len(pack)))
		if err != nil {
			return
		}
		for _, r := range rows {
			if begin, end := int64(r.Offset), r.End(); begin < 16 || end > int64(len(pack)) {
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
		var rows []Row
		end, err := Salvage(bytes.NewReader(pack), int64(len(pack)), func(r Row, _ []byte) error {
			rows = append(rows, r)
			return nil
		})
		if err != nil {
			return
		}
		last := int64(16)
		for _, r := range rows {
			begin, to := int64(r.Offset), r.End()
			if begin < last || to > int64(len(pack)) || to > end {
				t.Fatalf("a record from %d to %d after %d, all ending at %d", begin, to, last, end)
			}
			if blake3.Sum256(pack[r.data():to]) != r.Hash {
				t.Fatalf("the record at %d is not whole", begin)
			}
			last = to
		}
		if scanned, err := Scan(bytes.NewReader(pack), HeaderSize, int64(len(pack)), func(Row) {}); err == nil && len(pack) >= HeaderSize && scanned > int64(len(pack)) {
			t.Errorf("scanned to %d of %d", scanned, len(pack))
		}
	})
}

func goldenPack(f testing.TB) []byte {
	files, err := filepath.Glob(filepath.Join("..", "testdata", "v1", "packs", "*"))
	if err != nil || len(files) != 1 {
		f.Fatal(files, err)
	}
	pack, err := os.ReadFile(files[0])
	if err != nil {
		f.Fatal(err)
	}
	return pack
}

// Bad input 44: a table that counts 2^32 rows is refused, before any memory is taken for it.
func TestACountOf2To32(t *testing.T) {
	pack := goldenPack(t)
	binary.LittleEndian.PutUint32(pack[len(pack)-40:], 1<<32-1)
	if rows, err := ReadTable(bytes.NewReader(pack), int64(len(pack))); err == nil {
		t.Errorf("it gave %d rows", len(rows))
	}
}
