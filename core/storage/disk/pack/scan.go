// SPDX-License-Identifier: Apache-2.0

package pack

import (
	"bytes"
	"fmt"
	"io"
	"slices"

	"github.com/zeebo/blake3"

	"github.com/bkp-tool/bkp/core"
)

// Scan calls visit for each record between from and end and returns where the last one ends. It stops where there is no
// record.
func Scan(f io.ReaderAt, from, end int64, visit func(Row)) (int64, error) {
	var b [RecordHeader]byte
	for from+RecordHeader <= end {
		if _, err := f.ReadAt(b[:], from); err != nil {
			return from, err
		}
		r, ok := parseRecord(b[:], from)
		if !ok || r.End() > end {
			return from, nil
		}
		visit(r)
		from = r.End()
	}
	return from, nil
}

// Salvage calls visit for each record up to end whose data is what its hash says, also beyond damaged stretches, and
// returns where the last good one ends. Behind a damaged stretch ids are dropped: what looks like a record there might
// be part of another one's data, and only a hash proves itself. visit may not keep the data.
func Salvage(f io.ReaderAt, end int64, visit func(r Row, data []byte) error) (int64, error) {
	if err := checkVersion(f, end); err != nil {
		return 0, err
	}
	good, damaged := int64(HeaderSize), false
	var header [RecordHeader]byte
	var data []byte
	for from := int64(HeaderSize); from+RecordHeader <= end; {
		if _, err := f.ReadAt(header[:], from); err != nil {
			return good, err
		}
		r, ok := parseRecord(header[:], from)
		if ok = ok && r.End() <= end; ok {
			data = slices.Grow(data[:0], int(r.Size))[:r.Size]
			if _, err := f.ReadAt(data, from+RecordHeader); err != nil {
				return good, err
			}
			ok = blake3.Sum256(data) == r.Hash
		}
		if ok {
			if damaged {
				r.ID = core.Hash{}
			}
			if err := visit(r, data); err != nil {
				return good, err
			}
			good, from = r.End(), r.End()
			continue
		}
		damaged = true
		next, err := findMagic(f, from+1, end)
		if err != nil {
			return good, err
		}
		from = next
	}
	return good, nil
}

// checkVersion refuses packs of versions that are not known here, so that nobody mends what is not broken.
func checkVersion(f io.ReaderAt, size int64) error {
	var b [HeaderSize]byte
	if size < HeaderSize {
		return nil
	}
	if _, err := f.ReadAt(b[:], 0); err != nil {
		return err
	}
	if v := len(magic) - 1; string(b[:v]) == magic[:v] && b[v] != magic[v] {
		return fmt.Errorf("pack of version %d is not known here (have %d)", b[v], magic[v])
	}
	return nil
}

// findMagic is the offset of the next record magic at or after from, or end.
func findMagic(f io.ReaderAt, from, end int64) (int64, error) {
	window := make([]byte, 64<<10)
	for from < end {
		w := window[:min(int64(len(window)), end-from)]
		if _, err := f.ReadAt(w, from); err != nil {
			return end, err
		}
		if i := bytes.Index(w, []byte(recordMagic)); i >= 0 {
			return from + int64(i), nil
		}
		if from+int64(len(w)) == end {
			break
		}
		from += int64(len(w)) - int64(len(recordMagic)) + 1
	}
	return end, nil
}
