// SPDX-License-Identifier: Apache-2.0

package pack

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"slices"

	"github.com/zeebo/blake3"

	"github.com/bkp-tool/bkp/core"
)

const (
	// Size is what a pack grows to.
	Size = 64 << 20
	// MaxData is the most that a record holds; it keeps every offset in a pack below 2^32.
	MaxData = 32 << 20
	// HeaderSize is where the first record of a pack begins.
	HeaderSize = 16
	// RecordHeader is how long the header of a record is.
	RecordHeader = 80

	magic       = "\x89bkppak\n\x01"
	recordMagic = "\x89bkprec\n"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Row says where a record stands in its pack.
type Row struct {
	Hash   core.Hash
	ID     core.Hash // zero where unknown
	Offset uint32    // of the record's header
	Size   uint32    // of its data
}

// End is where the record ends.
func (r Row) End() int64 { return r.data() + int64(r.Size) }

// data is where the record's data begins.
func (r Row) data() int64 { return int64(r.Offset) + RecordHeader }

func (r Row) header() (b [RecordHeader]byte) {
	copy(b[:], recordMagic)
	binary.LittleEndian.PutUint32(b[8:], r.Size)
	copy(b[12:], r.Hash[:])
	copy(b[44:], r.ID[:])
	binary.LittleEndian.PutUint32(b[76:], crc32.Checksum(b[:76], castagnoli))
	return b
}

// parseRecord reads a record's header, which stands at offset.
func parseRecord(b []byte, offset int64) (Row, bool) {
	if len(b) < RecordHeader || string(b[:8]) != recordMagic ||
		binary.LittleEndian.Uint32(b[76:]) != crc32.Checksum(b[:76], castagnoli) {
		return Row{}, false
	}
	r := Row{Offset: uint32(offset), Size: binary.LittleEndian.Uint32(b[8:])}
	copy(r.Hash[:], b[12:])
	copy(r.ID[:], b[44:])
	return r, r.Size <= MaxData
}

// Reader is a pack, whoever reads it.
type Reader interface {
	io.ReaderAt
	Name() string // for errors
}

// ReadHeader reads the header of the record at offset; one that is damaged is core.CodeWrong.
func ReadHeader(f Reader, offset uint32) (Row, error) {
	var b [RecordHeader]byte
	if _, err := f.ReadAt(b[:], int64(offset)); err != nil {
		return Row{}, core.Fail(core.CodeWrong, "pack %s: record at %d: %w", f.Name(), offset, err)
	}
	r, ok := parseRecord(b[:], int64(offset))
	if !ok {
		return Row{}, core.Fail(core.CodeWrong, "pack %s: record at %d is damaged", f.Name(), offset)
	}
	return r, nil
}

// ReadData appends a record's data to dst and holds it against its hash; what does not match is core.CodeWrong.
func ReadData(f Reader, r Row, dst []byte) ([]byte, error) {
	start := len(dst)
	dst = slices.Grow(dst, int(r.Size))[:start+int(r.Size)]
	if _, err := f.ReadAt(dst[start:], r.data()); err != nil {
		return nil, core.Fail(core.CodeWrong, "pack %s: data at %d: %w", f.Name(), r.Offset, err)
	}
	if got := core.Hash(blake3.Sum256(dst[start:])); got != r.Hash {
		return nil, core.Fail(core.CodeWrong, "pack %s: data at %d has hash %s", f.Name(), r.Offset, got)
	}
	return dst, nil
}

// CheckRecord holds the header of a record against the row that stands for it.
func CheckRecord(f io.ReaderAt, want Row) (whole bool, err error) {
	var b [RecordHeader]byte
	if _, err := f.ReadAt(b[:], int64(want.Offset)); err != nil {
		return false, err
	}
	got, ok := parseRecord(b[:], int64(want.Offset))
	return ok && got.Hash == want.Hash && got.Size == want.Size, nil
}

// CheckHeader reports whether a pack begins as it should; io.EOF where it is cut off before.
func CheckHeader(f io.ReaderAt) (whole bool, err error) {
	var header, want [HeaderSize]byte
	copy(want[:], magic)
	_, err = f.ReadAt(header[:], 0)
	return header == want, err
}
