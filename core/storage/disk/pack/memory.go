// SPDX-License-Identifier: Apache-2.0

package pack

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"path/filepath"

	"github.com/bkp-tool/bkp/core/durable"
)

// NewName draws the name of a pack.
func NewName() string {
	var random [16]byte
	rand.Read(random[:]) // never fails
	return hex.EncodeToString(random[:])
}

// Memory is a pack that is written in memory, for who keeps it elsewhere than in a file. One goroutine at a time may
// use it; bytes that were returned never change.
type Memory struct {
	bytes []byte
	rows  []Row
	size  int
}

// small is how much memory a pack takes at first: many stay small, since a barrier ends them.
const small = 1 << 20

// NewMemory is a pack without records, which is to become about size bytes long.
func NewMemory(size int64) *Memory {
	bytes := make([]byte, HeaderSize, min(size, small))
	copy(bytes, magic)
	return &Memory{bytes: bytes, size: int(size)}
}

// End is where the next record begins.
func (m *Memory) End() int64 { return int64(len(m.bytes)) }

// Append adds a record, whose names r tells, and says where it stands.
func (m *Memory) Append(r Row, data []byte) (Row, error) {
	if len(data) > MaxData {
		return r, fmt.Errorf("%d bytes are more than a record holds", len(data))
	}
	r.Offset, r.Size = uint32(len(m.bytes)), uint32(len(data))
	header := r.header()
	if need := int(r.End()); need > cap(m.bytes) {
		const table = 64 << 10 // of 900 records
		m.bytes = append(make([]byte, 0, max(m.size, need)+table), m.bytes...)
	}
	m.bytes = append(append(m.bytes, header[:]...), data...)
	m.rows = append(m.rows, r)
	return r, nil
}

// From is the bytes of the pack from an offset on, as far as it is written.
func (m *Memory) From(offset uint32) []byte { return m.bytes[min(int(offset), len(m.bytes)):] }

// Seal is the whole pack with its table, its records, and where the last of them ends. Nothing may be appended after.
func (m *Memory) Seal() (whole []byte, rows []Row, end int64) {
	end = int64(len(m.bytes))
	return appendTable(m.bytes, m.rows, uint32(end)), m.rows, end
}

// TableSize is how long the table of a pack of so many records is.
func TableSize(records int) int64 { return int64(records)*rowSize + footerSize }

// Shadow makes the file of a finished pack in dir that stands elsewhere: it is as long as the pack is up to its end,
// and has its table; what comes before is a hole. It can be made again from the pack, so that nobody minds losing it
// with the power.
func Shadow(dir, name string, rows []Row, end int64) error {
	f, err := durable.Create(filepath.Join(dir, "."+name+".new-"+NewName()[:16]), 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err = f.WriteAt(appendTable(nil, rows, uint32(end)), end); err == nil {
		err = f.Rename(Path(dir, name))
	}
	if err != nil {
		_ = durable.Remove(f.Name())
	}
	return err
}
