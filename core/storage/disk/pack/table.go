// SPDX-License-Identifier: Apache-2.0

package pack

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"github.com/zeebo/blake3"
)

const (
	rowSize    = 72
	footerSize = 48
	tableMagic = "\x89bkptab\n"
)

// appendTable appends the table of a pack whose records end at start.
func appendTable(dst []byte, rows []Row, start uint32) []byte {
	rows = slices.Clone(rows)
	slices.SortFunc(rows, func(a, b Row) int { return a.Hash.Compare(b.Hash) })
	begin := len(dst)
	for _, r := range rows {
		dst = append(dst, r.Hash[:]...)
		dst = append(dst, r.ID[:]...)
		dst = binary.LittleEndian.AppendUint32(dst, r.Offset)
		dst = binary.LittleEndian.AppendUint32(dst, r.Size)
	}
	dst = append(dst, tableMagic...)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(rows)))
	dst = binary.LittleEndian.AppendUint32(dst, start)
	sum := blake3.Sum256(dst[begin:])
	return append(dst, sum[:]...)
}

// ReadTable reads the table at the end of a pack of size bytes.
func ReadTable(f io.ReaderAt, size int64) ([]Row, error) {
	if size < HeaderSize+footerSize || size > Size+2*MaxData {
		return nil, fmt.Errorf("%d bytes are no pack with a table", size)
	}
	var footer [footerSize]byte
	if _, err := f.ReadAt(footer[:], size-footerSize); err != nil {
		return nil, err
	}
	count, start := int64(binary.LittleEndian.Uint32(footer[8:])), int64(binary.LittleEndian.Uint32(footer[12:]))
	if string(footer[:8]) != tableMagic || start < HeaderSize || start+count*rowSize+footerSize != size {
		return nil, fmt.Errorf("no table at its end")
	}
	table := make([]byte, size-start)
	if _, err := f.ReadAt(table, start); err != nil {
		return nil, err
	}
	return parseTable(table, start)
}

// parseTable reads a table that stands at start of its pack.
func parseTable(table []byte, start int64) ([]Row, error) {
	body := len(table) - 32
	if body < footerSize-32 || (body-(footerSize-32))%rowSize != 0 ||
		blake3.Sum256(table[:body]) != [32]byte(table[body:]) {
		return nil, fmt.Errorf("table does not match its hash")
	}
	rows := make([]Row, (body-(footerSize-32))/rowSize)
	for i := range rows {
		b := table[i*rowSize:]
		r := Row{Offset: binary.LittleEndian.Uint32(b[64:]), Size: binary.LittleEndian.Uint32(b[68:])}
		copy(r.Hash[:], b)
		copy(r.ID[:], b[32:])
		if r.Offset < HeaderSize || r.Size > MaxData || r.End() > start || i > 0 &&
			rows[i-1].Hash.Compare(r.Hash) >= 0 {
			return nil, fmt.Errorf("row %d of the table is out of place", i)
		}
		rows[i] = r
	}
	return rows, nil
}
