// SPDX-License-Identifier: Apache-2.0

package table

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"

	"github.com/zeebo/blake3"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/storage/disk/pack"
)

// Old is a table that a new one takes the place of.
type Old struct {
	*Table
	File io.ReaderAt
	Gone func(pack int) bool // of Packs: it is left out
}

// Loose is a pack that no table covers yet.
type Loose struct {
	Name string
	Rows []pack.Row
}

// Merge writes a table of what stands in others and in loose packs.
func Merge(out io.Writer, old []Old, loose []Loose) error {
	var packs []Pack
	var kinds [2][]*cursor
	every := func([]byte) bool { return true }
	for _, t := range old {
		const gone = ^uint32(0)
		renumber := make([]uint32, len(t.Packs))
		for i, p := range t.Packs {
			if renumber[i] = gone; !t.Gone(i) {
				renumber[i] = uint32(len(packs))
				packs = append(packs, p)
			}
		}
		kinds[0] = append(kinds[0], newCursor(t.File, t.hashes, func(row []byte) bool {
			n := binary.LittleEndian.Uint32(row[32:])
			if int(n) >= len(renumber) || renumber[n] == gone {
				return false
			}
			binary.LittleEndian.PutUint32(row[32:], renumber[n])
			return true
		}))
		kinds[1] = append(kinds[1], newCursor(t.File, t.ids, every))
	}
	var rows []looseRow
	for _, p := range loose {
		entry := Pack{ID: idOf(p.Name)}
		for i := range p.Rows {
			rows = append(rows, looseRow{&p.Rows[i], uint32(len(packs))})
			entry.Bytes += core.Size(p.Rows[i].Size)
		}
		packs = append(packs, entry)
	}
	hashes, ids := encodeLoose(rows)
	kinds[0] = append(kinds[0], newCursor(bytes.NewReader(hashes), section{size: hashRow, rows: len(hashes) / hashRow},
		every))
	kinds[1] = append(kinds[1], newCursor(bytes.NewReader(ids), section{size: idRow, rows: len(ids) / idRow}, every))
	w := &writer{out: bufio.NewWriterSize(out, 1<<20)}
	for kind, cursors := range kinds {
		if err := mergeRows(w, kind, cursors); err != nil {
			return err
		}
	}
	return w.finish(packs)
}

// Check reads the table at path, with every row where rows says so, and says where the first damage is; read is how
// many bytes.
func Check(path string, rows bool) (read, at int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, 0, err
	}
	t, err := Read(f, info.Size())
	if err != nil {
		return 0, info.Size(), err
	}
	for _, s := range []section{t.hashes, t.ids} {
		if !rows {
			break
		}
		c := newCursor(f, s, func([]byte) bool { return true })
		for more := true; more; {
			at = s.at + int64(s.rows-c.left)*int64(s.size)
			if more, err = c.next(); err != nil {
				return at, at, err
			}
		}
	}
	return info.Size(), 0, nil
}

// writer writes a table; rows come in order, hashes first.
type writer struct {
	out    *bufio.Writer
	counts [2]int
	fans   [2][1<<fanBits + 1]uint32
}

func (w *writer) add(kind int, row []byte) error {
	last := len(row) - 4
	binary.LittleEndian.PutUint32(row[last:], crc32.Checksum(row[:last], castagnoli))
	w.counts[kind]++
	w.fans[kind][binary.BigEndian.Uint64(row)>>(64-fanBits)+1]++
	_, err := w.out.Write(row)
	return err
}

func (w *writer) finish(packs []Pack) error {
	var tail []byte
	for _, p := range packs {
		tail = append(tail, p.ID[:]...)
		tail = binary.LittleEndian.AppendUint64(tail, uint64(p.Bytes))
	}
	for kind := range w.fans {
		sum := uint32(0)
		for _, n := range w.fans[kind] {
			sum += n
			tail = binary.LittleEndian.AppendUint32(tail, sum)
		}
	}
	tail = append(tail, magic...)
	tail = append(tail, make([]byte, 16-len(magic))...)
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
		left: s.rows, row: make([]byte, s.size), fixed: fixed}
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
func mergeRows(w *writer, kind int, cursors []*cursor) error {
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

// looseRow is a row of a pack that no table covers yet; pack is its number in the new table.
type looseRow struct {
	*pack.Row
	pack uint32
}

// encodeLoose makes the two sections of a table out of loose rows.
func encodeLoose(rows []looseRow) (hashes, ids []byte) {
	seal := func(b []byte) []byte {
		return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	}
	slices.SortFunc(rows, func(a, b looseRow) int { return a.Hash.Compare(b.Hash) })
	for _, r := range rows {
		var b [hashRow]byte
		copy(b[:], r.Hash[:])
		binary.LittleEndian.PutUint32(b[32:], r.pack)
		binary.LittleEndian.PutUint32(b[36:], r.Offset)
		binary.LittleEndian.PutUint32(b[40:], r.Size)
		hashes = append(hashes, seal(b[:hashRow-4])...)
	}
	slices.SortFunc(rows, func(a, b looseRow) int { return a.ID.Compare(b.ID) })
	for _, r := range rows {
		if r.ID.IsZero() {
			continue
		}
		var b [idRow]byte
		copy(b[:], r.ID[:])
		copy(b[32:], r.Hash[:])
		binary.LittleEndian.PutUint32(b[64:], r.Size)
		ids = append(ids, seal(b[:idRow-4])...)
	}
	return hashes, ids
}
