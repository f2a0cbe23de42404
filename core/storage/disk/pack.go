// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/zeebo/blake3"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
)

const (
	packSize   = 64 << 20
	packHeader = 16
	packMagic  = "\x89bkppak\n\x01"

	recordHeader = 80
	recordMagic  = "\x89bkprec\n"
	maxData      = 32 << 20 // of one record; keeps every offset in a pack below 2^32
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// row says where a record stands in its pack.
type row struct {
	hash   core.Hash
	id     core.Hash
	offset uint32 // of the record's header
	size   uint32 // of its data
}

func (r row) end() int64 { return int64(r.offset) + recordHeader + int64(r.size) }

func (r row) header() (b [recordHeader]byte) {
	copy(b[:], recordMagic)
	binary.LittleEndian.PutUint32(b[8:], r.size)
	copy(b[12:], r.hash[:])
	copy(b[44:], r.id[:])
	binary.LittleEndian.PutUint32(b[76:], crc32.Checksum(b[:76], castagnoli))
	return b
}

// parseRecord reads a record's header, which stands at offset.
func parseRecord(b []byte, offset int64) (row, bool) {
	if len(b) < recordHeader || string(b[:8]) != recordMagic ||
		binary.LittleEndian.Uint32(b[76:]) != crc32.Checksum(b[:76], castagnoli) {
		return row{}, false
	}
	r := row{offset: uint32(offset), size: binary.LittleEndian.Uint32(b[8:])}
	copy(r.hash[:], b[12:])
	copy(r.id[:], b[44:])
	return r, r.size <= maxData
}

// pack is a pack file. Fields below "own" are set for one that this Store writes.
type pack struct {
	name   string
	number uint32 // in Store.packs

	// Guarded by Store.mu.
	finished  bool            // has its final name and its table
	condemned bool            // nobody here may lean on it
	bad       map[uint32]bool // offsets of records that are damaged; nil for nearly every pack
	end       int64           // not finished: up to where its records are known or given out

	covered bool // by a merged table: nothing of it is in memory
	loose   int  // finished, not covered: its rows

	// own
	file     *durable.File
	lock     *durable.Lock
	rows     []row       // of records written; guarded by Store.mu
	dirty    bool        // has got records since the last sync; guarded by Store.mu
	buffers  []*buffer   // records on their way to the file, the last of them taking more; guarded by Store.mu
	direct   atomic.Bool // file is written past the page cache
	reserved int64       // room in the file; guarded by Store.appending

	syncing sync.Mutex // held while the file is synced, finished or closed
	closed  bool       // guarded by syncing
}

// createPack makes an empty pack that is locked by this process.
func createPack(dir string) (*pack, error) {
	for range 3 {
		var random [16]byte
		rand.Read(random[:]) // never fails
		p := &pack{name: hex.EncodeToString(random[:]), end: packHeader}
		path := openPath(dir, p.name)
		file, err := durable.Create(path, 0o600)
		if err != nil {
			return nil, fmt.Errorf("create pack: %w", err)
		}
		p.file = file
		if mine, err := p.claim(path); err != nil || !mine {
			file.Close()
			if err != nil {
				return nil, fmt.Errorf("lock pack %s: %w", p.name, err)
			}
			continue // another process took it for an orphan before it was locked
		}
		p.direct.Store(file.SetDirect(true))
		return p, nil
	}
	return nil, fmt.Errorf("create pack: other processes take every new pack away")
}

// claim locks the pack for this process; false where another has it, or it is gone.
func (p *pack) claim(path string) (bool, error) {
	p.lock = durable.LockOf(path)
	locked, err := p.lock.TryLock()
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil || !locked {
		return false, err
	}
	mine, err := p.file.Stat()
	if err == nil {
		if there, err := os.Stat(path); err == nil && os.SameFile(mine, there) {
			return true, nil
		}
	}
	p.lock.Close()
	return false, nil
}

// sync makes the pack's records durable.
func (p *pack) sync() error {
	p.syncing.Lock()
	defer p.syncing.Unlock()
	if p.closed {
		return nil // finishing made them durable
	}
	return p.file.Sync()
}

// finish gives the pack its table and its final name. No record may be written after. On an error it keeps its first
// name.
func (p *pack) finish(dir string, rows []row, end int64) error {
	p.syncing.Lock()
	defer p.syncing.Unlock()
	if p.direct.Load() {
		p.file.SetDirect(false) // the table stands where the records end
	}
	err := p.seal(rows, end)
	if err == nil {
		err = p.file.Rename(packPath(dir, p.name))
	}
	if err != nil {
		return fmt.Errorf("finish pack %s: %w", p.name, err)
	}
	p.abandon()
	return nil
}

// seal writes the table behind the last record and makes all durable.
func (p *pack) seal(rows []row, end int64) error {
	table := appendTable(nil, rows, uint32(end))
	if _, err := p.file.WriteAt(table, end); err != nil {
		return err
	}
	if err := p.file.Truncate(end + int64(len(table))); err != nil {
		return err
	}
	return p.file.Sync()
}

// abandon closes the file and gives up the lock; records that are not durable yet may be lost.
func (p *pack) abandon() {
	p.closed = true
	p.file.Close()
	p.lock.Close()
}

// scan calls visit for each record between from and end and returns where the last one ends. It stops where there is no
// record.
func scan(f io.ReaderAt, from, end int64, visit func(row)) (int64, error) {
	var b [recordHeader]byte
	for from+recordHeader <= end {
		if _, err := f.ReadAt(b[:], from); err != nil {
			return from, err
		}
		r, ok := parseRecord(b[:], from)
		if !ok || r.end() > end {
			return from, nil
		}
		visit(r)
		from = r.end()
	}
	return from, nil
}

// salvage calls visit for each record up to end whose data is what its hash says, also beyond damaged stretches, and
// returns where the last good one ends. Behind a damaged stretch ids are dropped: what looks like a record there might
// be part of another one's data, and only a hash proves itself. visit may not keep the data.
func salvage(f io.ReaderAt, end int64, visit func(r row, data []byte) error) (int64, error) {
	if err := checkVersion(f, end); err != nil {
		return 0, err
	}
	good, damaged := int64(packHeader), false
	var header [recordHeader]byte
	var data []byte
	for from := int64(packHeader); from+recordHeader <= end; {
		if _, err := f.ReadAt(header[:], from); err != nil {
			return good, err
		}
		r, ok := parseRecord(header[:], from)
		if ok = ok && r.end() <= end; ok {
			data = slices.Grow(data[:0], int(r.size))[:r.size]
			if _, err := f.ReadAt(data, from+recordHeader); err != nil {
				return good, err
			}
			ok = blake3.Sum256(data) == r.hash
		}
		if ok {
			if damaged {
				r.id = core.Hash{}
			}
			if err := visit(r, data); err != nil {
				return good, err
			}
			good, from = r.end(), r.end()
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
	var b [packHeader]byte
	if size < packHeader {
		return nil
	}
	if _, err := f.ReadAt(b[:], 0); err != nil {
		return err
	}
	if v := len(packMagic) - 1; string(b[:v]) == packMagic[:v] && b[v] != packMagic[v] {
		return fmt.Errorf("pack of version %d is not known here (have %d)", b[v], packMagic[v])
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
