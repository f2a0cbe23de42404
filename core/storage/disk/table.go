// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"encoding/binary"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"github.com/zeebo/blake3"
)

const (
	rowSize    = 72
	footerSize = 48
	tableMagic = "\x89bkptab\n"
)

func openPath(dir, name string) string { return filepath.Join(dir, name+".open") }
func packPath(dir, name string) string { return filepath.Join(dir, name+".pack") }

// appendTable appends the table of a pack whose records end at start.
func appendTable(dst []byte, rows []row, start uint32) []byte {
	rows = slices.Clone(rows)
	slices.SortFunc(rows, func(a, b row) int { return a.hash.Compare(b.hash) })
	begin := len(dst)
	for _, r := range rows {
		dst = append(dst, r.hash[:]...)
		dst = append(dst, r.id[:]...)
		dst = binary.LittleEndian.AppendUint32(dst, r.offset)
		dst = binary.LittleEndian.AppendUint32(dst, r.size)
	}
	dst = append(dst, tableMagic...)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(rows)))
	dst = binary.LittleEndian.AppendUint32(dst, start)
	sum := blake3.Sum256(dst[begin:])
	return append(dst, sum[:]...)
}

// readTable reads the table at the end of a pack of size bytes.
func readTable(f io.ReaderAt, size int64) ([]row, error) {
	if size < packHeader+footerSize || size > packSize+2*maxData {
		return nil, fmt.Errorf("%d bytes are no pack with a table", size)
	}
	var footer [footerSize]byte
	if _, err := f.ReadAt(footer[:], size-footerSize); err != nil {
		return nil, err
	}
	count, start := int64(binary.LittleEndian.Uint32(footer[8:])), int64(binary.LittleEndian.Uint32(footer[12:]))
	if string(footer[:8]) != tableMagic || start < packHeader || start+count*rowSize+footerSize != size {
		return nil, fmt.Errorf("no table at its end")
	}
	table := make([]byte, size-start)
	if _, err := f.ReadAt(table, start); err != nil {
		return nil, err
	}
	return parseTable(table, start)
}

// parseTable reads a table that stands at start of its pack.
func parseTable(table []byte, start int64) ([]row, error) {
	body := len(table) - 32
	if body < footerSize-32 || (body-(footerSize-32))%rowSize != 0 ||
		blake3.Sum256(table[:body]) != [32]byte(table[body:]) {
		return nil, fmt.Errorf("table does not match its hash")
	}
	rows := make([]row, (body-(footerSize-32))/rowSize)
	for i := range rows {
		b := table[i*rowSize:]
		r := row{offset: binary.LittleEndian.Uint32(b[64:]), size: binary.LittleEndian.Uint32(b[68:])}
		copy(r.hash[:], b)
		copy(r.id[:], b[32:])
		if r.offset < packHeader || r.size > maxData || r.end() > start || i > 0 &&
			rows[i-1].hash.Compare(r.hash) >= 0 {
			return nil, fmt.Errorf("row %d of the table is out of place", i)
		}
		rows[i] = r
	}
	return rows, nil
}
