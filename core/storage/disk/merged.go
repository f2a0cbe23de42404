// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math/bits"
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/zeebo/blake3"
)

const (
	mergedMagic  = "\x89bkpidx\n\x01"
	mergedFooter = 80
	fanBits      = 12
	hashRow      = 48 // hash 32 ‖ pack 4 ‖ offset 4 ‖ size 4 ‖ CRC-32C of these 4
	idRow        = 72 // id 32 ‖ hash 32 ‖ size 4 ‖ CRC-32C of these 4
	packRow      = 24 // name 16 ‖ bytes of data 8
	window       = 64 // rows read at a time
)

// section is the sorted rows of one kind in a merged table.
type section struct {
	at   int64 // of the first row in the file
	size int   // of a row
	rows int
	fan  *[1<<fanBits + 1]uint32 // how many rows have a key below each prefix
}

// merged is a table over many packs, on disk but for what helps to find a row in one read.
type merged struct {
	name   string
	number uint32 // of its file
	hashes section
	ids    section
	packs  []mergedPack
}

type mergedPack struct {
	name   [16]byte
	bytes  core.Size
	number uint32 // in Store.packs; noPack where it is gone
}

const noPack = ^uint32(0)

func damaged(format string, args ...any) error {
	return core.Fail(core.CodeWrong, "index: "+format, args...)
}

// openMerged reads what of a merged table stays in memory.
func openMerged(f io.ReaderAt, size int64) (*merged, error) {
	var footer [mergedFooter]byte
	if size < mergedFooter {
		return nil, damaged("a table of %d bytes", size)
	}
	if _, err := f.ReadAt(footer[:], size-mergedFooter); err != nil {
		return nil, err
	}
	number := func(i int) int64 { return int64(binary.LittleEndian.Uint64(footer[16+8*i:])) }
	start, packs, hashes, ids := number(0), number(1), number(2), number(3)
	const most = 1 << 40
	if string(footer[:len(mergedMagic)]) != mergedMagic || packs < 0 || hashes < 0 || ids < 0 || packs > most ||
		hashes > most || ids > most {
		return nil, damaged("a table of another form")
	}
	t := &merged{hashes: section{at: 0, size: hashRow, rows: int(hashes)},
		ids: section{at: hashes * hashRow, size: idRow, rows: int(ids)}}
	t.hashes.fan, t.ids.fan = new([1<<fanBits + 1]uint32), new([1<<fanBits + 1]uint32)
	fans := int64(4 * len(t.hashes.fan))
	if start != hashes*hashRow+ids*idRow || start+packs*packRow+2*fans+mergedFooter != size {
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
		p := mergedPack{name: [16]byte(tail), bytes: core.Size(binary.LittleEndian.Uint64(tail[16:])), number: noPack}
		t.packs = append(t.packs, p)
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

// mergedWriter writes a merged table; rows come in order, hashes first.
type mergedWriter struct {
	out    *bufio.Writer
	counts [2]int
	fans   [2][1<<fanBits + 1]uint32
}

func (w *mergedWriter) add(kind int, row []byte) error {
	last := len(row) - 4
	binary.LittleEndian.PutUint32(row[last:], crc32.Checksum(row[:last], castagnoli))
	w.counts[kind]++
	w.fans[kind][binary.BigEndian.Uint64(row)>>(64-fanBits)+1]++
	_, err := w.out.Write(row)
	return err
}

func (w *mergedWriter) finish(packs []mergedPack) error {
	var tail []byte
	for _, p := range packs {
		tail = append(tail, p.name[:]...)
		tail = binary.LittleEndian.AppendUint64(tail, uint64(p.bytes))
	}
	for kind := range w.fans {
		sum := uint32(0)
		for _, n := range w.fans[kind] {
			sum += n
			tail = binary.LittleEndian.AppendUint32(tail, sum)
		}
	}
	tail = append(tail, mergedMagic...)
	tail = append(tail, make([]byte, 16-len(mergedMagic))...)
	for _, n := range []int{w.counts[0]*hashRow + w.counts[1]*idRow, len(packs), w.counts[0], w.counts[1]} {
		tail = binary.LittleEndian.AppendUint64(tail, uint64(n))
	}
	sum := blake3.Sum256(tail)
	if _, err := w.out.Write(append(tail, sum[:]...)); err != nil {
		return err
	}
	return w.out.Flush()
}

// cursor walks the rows of a section in order.
type cursor struct {
	in    *bufio.Reader
	left  int
	row   []byte
	fixed func(row []byte) bool // makes the row one of the new table; false where it goes
}

func newCursor(f io.ReaderAt, s section, fixed func([]byte) bool) *cursor {
	return &cursor{in: bufio.NewReaderSize(io.NewSectionReader(f, s.at, int64(s.rows)*int64(s.size)), 256<<10),
		left: s.rows,
		row:  make([]byte, s.size), fixed: fixed}
}

// next reads the next row that stays; false at the end.
func (c *cursor) next() (bool, error) {
	for c.left > 0 {
		c.left--
		if _, err := io.ReadFull(c.in, c.row); err != nil {
			return false, fmt.Errorf("index: %w", err)
		}
		last := len(c.row) - 4
		if crc32.Checksum(c.row[:last], castagnoli) != binary.LittleEndian.Uint32(c.row[last:]) {
			return false, damaged("a row of a table is damaged")
		}
		if c.fixed(c.row) {
			return true, nil
		}
	}
	return false, nil
}

// mergeRows writes the rows of all cursors in order.
func mergeRows(w *mergedWriter, kind int, cursors []*cursor) error {
	live := cursors[:0:0]
	for _, c := range cursors {
		more, err := c.next()
		if err != nil {
			return err
		}
		if more {
			live = append(live, c)
		}
	}
	for len(live) > 0 {
		least := 0
		for i := range live[1:] {
			if bytes.Compare(live[i+1].row[:32], live[least].row[:32]) < 0 {
				least = i + 1
			}
		}
		if err := w.add(kind, live[least].row); err != nil {
			return err
		}
		more, err := live[least].next()
		if err != nil {
			return err
		}
		if !more {
			live = append(live[:least], live[least+1:]...)
		}
	}
	return nil
}

// looseRow is a row of a pack that no merged table covers yet; pack is its number in the new table.
type looseRow struct {
	row
	pack uint32
}

// encodeLoose makes the two sections of a table out of loose rows.
func encodeLoose(rows []looseRow) (hashes, ids []byte) {
	seal := func(b []byte) []byte {
		return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	}
	slices.SortFunc(rows, func(a, b looseRow) int { return a.hash.Compare(b.hash) })
	for _, r := range rows {
		var b [hashRow]byte
		copy(b[:], r.hash[:])
		binary.LittleEndian.PutUint32(b[32:], r.pack)
		binary.LittleEndian.PutUint32(b[36:], r.offset)
		binary.LittleEndian.PutUint32(b[40:], r.size)
		hashes = append(hashes, seal(b[:hashRow-4])...)
	}
	slices.SortFunc(rows, func(a, b looseRow) int { return a.id.Compare(b.id) })
	for _, r := range rows {
		if r.id.IsZero() {
			continue
		}
		var b [idRow]byte
		copy(b[:], r.id[:])
		copy(b[32:], r.hash[:])
		binary.LittleEndian.PutUint32(b[64:], r.size)
		ids = append(ids, seal(b[:idRow-4])...)
	}
	return hashes, ids
}
