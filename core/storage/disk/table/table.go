// SPDX-License-Identifier: Apache-2.0

// Package table is one merged, sorted table over many packs, which finds a record in one read.
//
//	table     hash row … ‖ id row … ‖ pack … ‖ fan of hashes ‖ fan of ids ‖ footer
//	hash row  hash (32) ‖ number of the pack in this table (4) ‖ offset of the record (4) ‖ size of its data (4) ‖ CRC-32C (4)
//	id row    id (32) ‖ hash (32) ‖ size (4) ‖ CRC-32C (4)
//	pack      name (16) ‖ bytes of data in it (8)
//	fan       4097 numbers (4): how many rows have a key whose first 12 bits are below 0, 1, … 4096
//	footer    "\x89bkpidx\n" ‖ version 1 ‖ zeros (7) ‖ bytes of all rows, packs, hash rows, id rows (8 each) ‖ BLAKE3 from the first pack to here (32)
//
// All numbers are little-endian. Rows are sorted by their key. Keys are spread evenly, so one read of 64 rows at the
// place that the fan and the key's next bits tell finds nearly every one.
package table

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
	"math/bits"
	"os"

	"github.com/zeebo/blake3"

	"github.com/bkp-tool/bkp/core"
)

const (
	magic      = "\x89bkpidx\n\x01"
	footerSize = 80
	fanBits    = 12
	hashRow    = 48 // hash 32 ‖ pack 4 ‖ offset 4 ‖ size 4 ‖ CRC-32C of these 4
	idRow      = 72 // id 32 ‖ hash 32 ‖ size 4 ‖ CRC-32C of these 4
	packRow    = 24 // name 16 ‖ bytes of data 8
	window     = 64 // rows read at a time
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// section is the sorted rows of one kind.
type section struct {
	at   int64 // of the first row in the file
	size int   // of a row
	rows int
	fan  *[1<<fanBits + 1]uint32 // how many rows have a key below each prefix
}

// Table is what of a table stays in memory.
type Table struct {
	Packs  []Pack
	hashes section
	ids    section
}

// Pack is one of the packs that a table covers.
type Pack struct {
	ID    [16]byte
	Bytes core.Size // of data
}

// Name is the pack's name.
func (p Pack) Name() string {
	var text [32]byte
	hex.Encode(text[:], p.ID[:])
	return string(text[:])
}

// idOf is the ID of a pack of that name.
func idOf(name string) (id [16]byte) {
	_, _ = hex.Decode(id[:], []byte(name)) // a pack's name has this form
	return id
}

// Rows is how many records the table covers.
func (t *Table) Rows() int { return t.hashes.rows }

func damaged(format string, args ...any) error {
	return core.Fail(core.CodeWrong, "index: "+format, args...)
}

// Open reads what of the table at path stays in memory.
func Open(path string) (*Table, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return Read(f, info.Size())
}

// Read reads what of a table of so many bytes stays in memory. One that is damaged is core.CodeWrong.
func Read(f io.ReaderAt, size int64) (*Table, error) {
	var footer [footerSize]byte
	if size < footerSize {
		return nil, damaged("a table of %d bytes", size)
	}
	if _, err := f.ReadAt(footer[:], size-footerSize); err != nil {
		return nil, err
	}
	number := func(i int) int64 { return int64(binary.LittleEndian.Uint64(footer[16+8*i:])) }
	start, packs, hashes, ids := number(0), number(1), number(2), number(3)
	const most = 1 << 40
	if string(footer[:len(magic)]) != magic || packs < 0 || hashes < 0 || ids < 0 || packs > most ||
		hashes > most || ids > most {
		return nil, damaged("a table of another form")
	}
	t := &Table{hashes: section{at: 0, size: hashRow, rows: int(hashes)},
		ids: section{at: hashes * hashRow, size: idRow, rows: int(ids)}}
	t.hashes.fan, t.ids.fan = new([1<<fanBits + 1]uint32), new([1<<fanBits + 1]uint32)
	fans := int64(4 * len(t.hashes.fan))
	if start != hashes*hashRow+ids*idRow || start+packs*packRow+2*fans+footerSize != size {
		return nil, damaged("a table of %d bytes, not as many as it says", size)
	}
	tail := make([]byte, size-start)
	if _, err := f.ReadAt(tail, start); err != nil {
		return nil, err
	}
	if sum := blake3.Sum256(tail[:len(tail)-32]); !bytes.Equal(sum[:], tail[len(tail)-32:]) {
		return nil, damaged("a table that does not match its hash")
	}
	for range packs {
		t.Packs = append(t.Packs, Pack{[16]byte(tail), core.Size(binary.LittleEndian.Uint64(tail[16:]))})
		tail = tail[packRow:]
	}
	for _, s := range []*section{&t.hashes, &t.ids} {
		for i := range s.fan {
			s.fan[i] = binary.LittleEndian.Uint32(tail[4*i:])
			if int64(s.fan[i]) > int64(s.rows) || i > 0 && s.fan[i] < s.fan[i-1] {
				return nil, damaged("a table whose fan is out of order")
			}
		}
		tail = tail[fans:]
	}
	return t, nil
}

// Place is where a table says that a record stands: the number of its pack among Packs, and its offset there.
type Place struct{ Pack, Offset uint32 }

// Hash calls visit for the places of a hash in the table, which f is, until it returns true.
func (t *Table) Hash(f io.ReaderAt, hash core.Hash, visit func(Place) bool) error {
	return t.hashes.search(f, hash, func(row []byte) bool {
		at := Place{binary.LittleEndian.Uint32(row[32:]), binary.LittleEndian.Uint32(row[36:])}
		return int(at.Pack) < len(t.Packs) && visit(at)
	})
}

// ID calls visit for the chunks of an id in the table, which f is, until it returns true.
func (t *Table) ID(f io.ReaderAt, id core.Hash, visit func(core.Chunk) bool) error {
	return t.ids.search(f, id, func(row []byte) bool {
		return visit(core.Chunk{Hash: core.Hash(row[32:64]), Size: core.Size(binary.LittleEndian.Uint32(row[64:]))})
	})
}

// search calls visit for the rows with this key, until it returns true.
func (s *section) search(f io.ReaderAt, key core.Hash, visit func(row []byte) bool) error {
	x := binary.BigEndian.Uint64(key[:])
	bucket := x >> (64 - fanBits)
	lo, hi := int(s.fan[bucket]), int(s.fan[bucket+1])
	off, _ := bits.Mul64(x<<fanBits, uint64(hi-lo)) // keys are spread evenly: about here
	start := lo + int(off) - window/2
	var memory [window * idRow]byte
	for lo < hi {
		start = max(lo, min(start, hi-window))
		n := min(window, hi-start)
		rows := memory[:n*s.size]
		if _, err := f.ReadAt(rows, s.at+int64(start)*int64(s.size)); err != nil {
			return fmt.Errorf("index: %w", err)
		}
		for i := range n {
			row := rows[i*s.size:][:s.size]
			if crc32.Checksum(row[:s.size-4], castagnoli) != binary.LittleEndian.Uint32(row[s.size-4:]) {
				return damaged("row %d of a table is damaged", start+i)
			}
			if bytes.Equal(row[:32], key[:]) && visit(row) {
				return nil
			}
		}
		switch {
		case bytes.Compare(key[:], rows[:32]) <= 0:
			hi, start = start, start-window
		case bytes.Compare(key[:], rows[(n-1)*s.size:][:32]) >= 0:
			lo, start = start+n, start+n
		default:
			return nil
		}
	}
	return nil
}
