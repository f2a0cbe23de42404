// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"github.com/bkp-tool/bkp/core"
	"github.com/zeebo/blake3"
)

// OpenSized is Open of a store of smaller packs.
func OpenSized(dir string, packSize int64) (*Store, error) { return openSized(dir, packSize) }

// SetPackSize makes the store finish its packs sooner.
func (s *Store) SetPackSize(n int64) { s.packSize = n }

// SetMaxLoose makes the store merge its tables sooner.
func (s *Store) SetMaxLoose(rows int) { s.maxLoose = rows }

// Compact merges the tables of all finished packs.
func (s *Store) Compact() error { return s.compact() }

// Tables is how many merged tables there are, and how many rows stand in memory.
func (s *Store) Tables() (tables, loose int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.tables), len(s.index.hashes)
}

// GenerateIndex makes an index of so many rows over packs that hold nothing, and calls each for some of the rows.
func GenerateIndex(dir string, rows, perPack int, each func(i int, hash, id core.Hash)) error {
	s, err := Open(dir)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := os.MkdirAll(s.indexDir(), 0o700); err != nil {
		return err
	}
	const name = "00000000000000000000000000000001"
	out, err := os.Create(s.tablePath(name))
	if err != nil {
		return err
	}
	w := &mergedWriter{out: bufio.NewWriter(out)}
	var packs []mergedPack
	for i := range (rows + perPack - 1) / perPack {
		p := mergedPack{name: [16]byte{1, byte(i >> 16), byte(i >> 8), byte(i)}, bytes: core.Size(perPack)}
		packs = append(packs, p)
		if err := os.WriteFile(packPath(s.dir, hex.EncodeToString(p.name[:])), nil, 0o600); err != nil {
			return err
		}
	}
	step := ^uint64(0)/uint64(rows) - 1
	for kind, size := range []int{hashRow, idRow} {
		row := make([]byte, size)
		for i := range rows { // keys in order, spread with some noise
			sum := blake3.Sum256(fmt.Appendf(nil, "%d of %d", i, kind))
			copy(row, sum[:])
			binary.BigEndian.PutUint64(row, uint64(i)*step+binary.BigEndian.Uint64(sum[:])%step)
			if kind == 0 {
				binary.LittleEndian.PutUint32(row[32:], uint32(i/perPack))
				binary.LittleEndian.PutUint32(row[36:], uint32(packHeader))
				each(i, core.Hash(row[:32]), core.Hash{})
			} else {
				each(i, core.Hash{}, core.Hash(row[:32]))
			}
			if err := w.add(kind, row); err != nil {
				return err
			}
		}
	}
	if err := errors.Join(w.finish(packs), out.Close()); err != nil {
		return err
	}
	return s.writeCurrent([]*merged{{name: name}})
}

// SetSpace makes the store believe in another disk.
func (s *Store) SetSpace(space func(dir string) (free, all core.Size, err error)) { s.space = space }

// SetStepped has a sweep tell how far it has come.
func (s *Store) SetStepped(f func(step string)) { s.stepped = f }

// TestRow is a row of a table.
type TestRow = row

// ReadTable reads the table at the end of a pack.
func ReadTable(pack []byte) ([]TestRow, error) {
	return readTable(bytes.NewReader(pack), int64(len(pack)))
}

// Salvage reads through a pack without its table.
func Salvage(pack []byte) (rows []TestRow, end int64, err error) {
	end, err = salvage(bytes.NewReader(pack), int64(len(pack)),
		func(r row, _ []byte) error { rows = append(rows, r); return nil })
	return rows, end, err
}

// Scan reads a pack that is being written.
func Scan(pack []byte) (rows []TestRow, end int64, err error) {
	end, err = scan(bytes.NewReader(pack), packHeader, int64(len(pack)), func(r row) { rows = append(rows, r) })
	return rows, end, err
}

// Place is where the row's record begins and ends.
func (r row) Place() (begin, end int64) { return int64(r.offset), r.end() }

// Data is where the row's data begins in its pack.
func (r row) Data() int64 { return int64(r.offset) + recordHeader }

// Hash is the row's hash.
func (r row) Hash() [32]byte { return r.hash }

// SearchMerged looks a key up in a merged table.
func SearchMerged(table []byte, key core.Hash) (found int, err error) {
	t, err := openMerged(bytes.NewReader(table), int64(len(table)))
	if err != nil {
		return 0, err
	}
	for _, s := range []*section{&t.hashes, &t.ids} {
		if err := s.search(bytes.NewReader(table), key, func([]byte) bool { found++; return false }); err != nil {
			return found, err
		}
	}
	return found, nil
}

// Break makes the store fail, as a sync in the background does.
func (s *Store) Break(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail(err)
}
