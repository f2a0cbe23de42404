// SPDX-License-Identifier: Apache-2.0

package table

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/zeebo/blake3"
	"pgregory.net/rapid"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/storage/disk/pack"
)

// looseOf is packs of so many made-up rows; every fifth has no id. Packs of another seed have other rows.
func looseOf(seed int, rows ...int) (all []Loose) {
	for i, n := range rows {
		p := Loose{Name: fmt.Sprintf("%016x%016x", seed, i)}
		for k := range n {
			r := pack.Row{Hash: blake3.Sum256(fmt.Appendf(nil, "%d %d %d", seed, i, k)), Offset: uint32(100 * k), Size: uint32(k)}
			if k%5 != 0 {
				r.ID = blake3.Sum256(r.Hash[:])
			}
			p.Rows = append(p.Rows, r)
		}
		all = append(all, p)
	}
	return all
}

func merged(t fataler, old []Old, loose []Loose) []byte {
	var out bytes.Buffer
	if err := Merge(&out, old, loose); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// fataler is a testing.TB or a rapid.T.
type fataler interface{ Fatal(...any) }

func read(t fataler, data []byte) *Table {
	table, err := Read(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// oldOf is a table as one that goes into the next, without packs of the names gone.
func oldOf(t fataler, data []byte, gone map[string]bool) Old {
	table := read(t, data)
	return Old{table, bytes.NewReader(data), func(i int) bool { return gone[table.Packs[i].Name()] }}
}

// places is where a table says that a hash stands: pack and offset.
func places(t fataler, table *Table, data []byte, hash core.Hash) (found []string) {
	if err := table.Hash(bytes.NewReader(data), hash, func(at Place) bool {
		found = append(found, fmt.Sprint(table.Packs[at.Pack].Name(), at.Offset))
		return false
	}); err != nil {
		t.Fatal(err)
	}
	return found
}

func chunks(t fataler, table *Table, data []byte, id core.Hash) (found []core.Chunk) {
	if err := table.ID(bytes.NewReader(data), id, func(c core.Chunk) bool {
		found = append(found, c)
		return false
	}); err != nil {
		t.Fatal(err)
	}
	return found
}

// A slow twin says what is found: whatever is merged with whatever, and whichever packs are gone.
func TestMergedTablesFindWhatStandsInPacks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		packs := map[string]Loose{}
		gone := map[string]bool{}
		var data []byte
		for round := range rapid.IntRange(1, 4).Draw(t, "rounds") {
			loose := looseOf(round, rapid.SliceOfN(rapid.IntRange(0, 150), 1, 4).Draw(t, "packs")...)
			var old []Old
			if data != nil {
				for name := range packs {
					if rapid.IntRange(0, 3).Draw(t, "goes") == 0 {
						gone[name] = true
					}
				}
				old = []Old{oldOf(t, data, gone)}
			}
			maps.DeleteFunc(packs, func(name string, _ Loose) bool { return gone[name] })
			for _, p := range loose {
				packs[p.Name] = p
			}
			data = merged(t, old, loose)
			if made := read(t, data); len(made.Packs) != len(packs) {
				t.Fatalf("it covers %d packs, want %d", len(made.Packs), len(packs))
			}
		}
		rows, table := 0, read(t, data)
		for name, p := range packs {
			bytes := core.Size(0)
			for _, r := range p.Rows {
				rows++
				bytes += core.Size(r.Size)
				if got, want := places(t, table, data, r.Hash), []string{fmt.Sprint(name, r.Offset)}; !slices.Equal(got, want) {
					t.Fatalf("a hash is found at %v, want %v", got, want)
				}
				want := []core.Chunk{{Hash: r.Hash, Size: core.Size(r.Size)}}
				if got := chunks(t, table, data, r.ID); !r.ID.IsZero() && !slices.Equal(got, want) {
					t.Fatalf("an id is found as %v, want %v", got, want)
				}
			}
			at := slices.IndexFunc(table.Packs, func(p Pack) bool { return p.Name() == name })
			if at < 0 || table.Packs[at].Bytes != bytes {
				t.Fatalf("pack %s is not there with %d bytes", name, bytes)
			}
		}
		if got := table.Rows(); got != rows {
			t.Fatalf("%d rows, want %d", got, rows)
		}
		if found := places(t, table, data, core.Hash{1}); len(found) > 0 {
			t.Fatalf("what is nowhere is found at %v", found)
		}
	})
}

// Keys that are not spread evenly are found all the same, only slower: all in one bucket, at its ends, the same key.
func TestSkewedKeys(t *testing.T) {
	var rows []pack.Row
	for i := range 1000 {
		r := pack.Row{Hash: core.Hash{7}, Offset: uint32(i)}
		binary.BigEndian.PutUint32(r.Hash[28:], uint32(i/3)) // each three times
		rows = append(rows, r)
	}
	data := merged(t, nil, []Loose{{Name: fmt.Sprintf("%032x", 1), Rows: rows}})
	table := read(t, data)
	for _, r := range rows {
		found := places(t, table, data, r.Hash)
		want := 3
		if r.Offset == 999 {
			want = 1
		}
		if len(found) != want {
			t.Fatalf("row %d is found %d times, want %d", r.Offset, len(found), want)
		}
	}
}

// Every bit of a table is looked at by Check, and no look-up takes a wrong one for right.
func TestEveryFlippedBitIsFound(t *testing.T) {
	loose := looseOf(1, 9, 4)
	data := merged(t, nil, loose)
	path := filepath.Join(t.TempDir(), "table")
	var rowBits []int // before the fans, which are long and all alike
	for bit := 0; bit < 8*(13*hashRow+10*idRow+2*packRow); bit += 37 {
		rowBits = append(rowBits, bit)
	}
	for _, bit := range append(rand.New(rand.NewPCG(1, 2)).Perm(8 * len(data))[:300], rowBits...) {
		wrong := bytes.Clone(data)
		wrong[bit/8] ^= 1 << (bit % 8)
		if err := os.WriteFile(path, wrong, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Check(path, true); core.CodeOf(err) != core.CodeWrong {
			t.Fatalf("bit %d of byte %d: %v", bit%8, bit/8, err)
		}
		table, err := Read(bytes.NewReader(wrong), int64(len(wrong)))
		if err != nil {
			continue
		}
		for _, r := range loose[0].Rows {
			_ = table.Hash(bytes.NewReader(wrong), r.Hash, func(at Place) bool {
				if table.Packs[at.Pack].Name() != loose[0].Name || at.Offset != r.Offset {
					t.Fatalf("bit %d of byte %d: a hash is found at %+v", bit%8, bit/8, at)
				}
				return false
			})
		}
	}
}

// A damaged row does not get into the next table.
func TestADamagedTableIsNotMerged(t *testing.T) {
	data := merged(t, nil, looseOf(1, 50))
	for _, at := range []int{3, 20*hashRow + 37, 50*hashRow + 2*idRow + 40} {
		wrong := bytes.Clone(data)
		wrong[at] ^= 1
		if err := Merge(&bytes.Buffer{}, []Old{oldOf(t, wrong, nil)}, looseOf(2, 5)); core.CodeOf(err) != core.CodeWrong {
			t.Errorf("byte %d: %v", at, err)
		}
	}
}

// The first version's form, written down byte by byte: what it wrote stays readable, and this version writes it still.
func TestGoldenTable(t *testing.T) {
	loose := looseOf(1, 3, 2)
	var want bytes.Buffer
	var rows []pack.Row
	numbers := map[core.Hash]uint32{}
	for i, p := range loose {
		for _, r := range p.Rows {
			rows, numbers[r.Hash] = append(rows, r), uint32(i)
		}
	}
	var fans [2][4097]uint32
	count := func(kind int, key core.Hash) {
		for i := int(key[0])<<4 + int(key[1]>>4) + 1; i <= 4096; i++ {
			fans[kind][i]++
		}
	}
	row := func(parts ...any) {
		var b bytes.Buffer
		for _, p := range parts {
			binary.Write(&b, binary.LittleEndian, p)
		}
		binary.Write(&b, binary.LittleEndian, crc32.Checksum(b.Bytes(), crc32.MakeTable(crc32.Castagnoli)))
		want.Write(b.Bytes())
	}
	slices.SortFunc(rows, func(a, b pack.Row) int { return bytes.Compare(a.Hash[:], b.Hash[:]) })
	for _, r := range rows {
		count(0, r.Hash)
		row(r.Hash, numbers[r.Hash], r.Offset, r.Size)
	}
	slices.SortFunc(rows, func(a, b pack.Row) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	ids := 0
	for _, r := range rows {
		if r.ID != (core.Hash{}) {
			ids++
			count(1, r.ID)
			row(r.ID, r.Hash, r.Size)
		}
	}
	start := want.Len()
	for i := range loose {
		binary.Write(&want, binary.BigEndian, []uint64{1, uint64(i)}) // the name's digits
		binary.Write(&want, binary.LittleEndian, []uint64{[]uint64{0 + 1 + 2, 0 + 1}[i]})
	}
	binary.Write(&want, binary.LittleEndian, fans)
	want.WriteString("\x89bkpidx\n\x01\x00\x00\x00\x00\x00\x00\x00")
	binary.Write(&want, binary.LittleEndian, []uint64{uint64(start), 2, 5, uint64(ids)})
	sum := blake3.Sum256(want.Bytes()[start:])
	want.Write(sum[:])
	if got := merged(t, nil, loose); !bytes.Equal(got, want.Bytes()) {
		t.Errorf("it is written as %d bytes, want these %d", len(got), want.Len())
	}
}

// Bad input 44: tables that count 2^32 rows and more are refused, before any memory is taken for them.
func TestACountOf2To32(t *testing.T) {
	whole := merged(t, nil, looseOf(1, 20, 20))
	for field := range 4 { // bytes of all rows, packs, hash rows, id rows
		for _, count := range []uint64{1 << 32, 1 << 40, 1 << 63, 1<<64 - 1} {
			table := bytes.Clone(whole)
			binary.LittleEndian.PutUint64(table[len(table)-64+8*field:], count)
			if _, err := Read(bytes.NewReader(table), int64(len(table))); core.CodeOf(err) != core.CodeWrong {
				t.Errorf("field %d of %d: %v", field, count, err)
			}
		}
	}
}

func FuzzMergedTable(f *testing.F) {
	loose := looseOf(1, 20, 20)
	table := merged(f, nil, loose)
	known := loose[0].Rows[3]
	f.Add(table, known.Hash[:], false)
	f.Add(table, known.Hash[:], true)
	f.Add(table[:len(table)-1], []byte{1}, false)
	f.Add(table[48*5:], []byte{255}, true)
	f.Fuzz(func(t *testing.T, data, key []byte, sealed bool) {
		if n := len(data); sealed && n > 80 { // behind the hash stands what a writer that errs might write
			data = bytes.Clone(data)
			start := min(binary.LittleEndian.Uint64(data[n-64:]), uint64(n-80))
			sum := blake3.Sum256(data[start : n-32])
			copy(data[n-32:], sum[:])
		}
		var k core.Hash
		copy(k[:], key)
		table, err := Read(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		_ = table.Hash(bytes.NewReader(data), k, func(at Place) bool { // must come to an end
			if int(at.Pack) >= len(table.Packs) {
				t.Errorf("pack %d of %d", at.Pack, len(table.Packs))
			}
			return false
		})
		_ = table.ID(bytes.NewReader(data), k, func(core.Chunk) bool { return false })
	})
}
