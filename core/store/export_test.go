package store

import (
	"bytes"

	"github.com/bkp-tool/bkp/core"
)

// SetPackSize makes the store finish its packs sooner.
func (s *Store) SetPackSize(n int64) { s.packSize = n }

// SetSpace makes the store believe in another disk.
func (s *Store) SetSpace(space func(dir string) (free, all core.Size, err error)) { s.space = space }

// TestRow is a row of a table.
type TestRow = row

// ReadTable reads the table at the end of a pack.
func ReadTable(pack []byte) ([]TestRow, error) {
	return readTable(bytes.NewReader(pack), int64(len(pack)))
}

// Salvage reads through a pack without its table.
func Salvage(pack []byte) (rows []TestRow, end int64, err error) {
	end, err = salvage(bytes.NewReader(pack), int64(len(pack)), func(r row) { rows = append(rows, r) })
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
