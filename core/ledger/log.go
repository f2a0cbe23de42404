// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/key"
)

// Log is the log's one writer. It may be used from many goroutines.
type Log struct {
	*Reader // sees what is durable
	signer  Signer
	lock    *durable.Lock

	mu      sync.Mutex // guards what follows; never held while the disk works
	tree    *edge      // over all entries, durable or not
	out     struct{ entries, heads, hashes, offsets tail }
	durable int64 // entries that a head on disk covers
	broken  error // once the disk failed nothing is accepted: what it holds is unknown until the next Open

	writing sync.Mutex // held by the one who writes out; taken before mu
}

// flushAt is how many bytes of entries wait in memory before Append writes them out.
const flushAt = int(1 * core.MiB)

// Append adds an entry and returns its number. It is durable, and seen by readers, after the next Sync.
func (l *Log) Append(kind Kind, envelope []byte) (index int64, err error) {
	if _, known := kindBytes[kind]; !known {
		return 0, fmt.Errorf("ledger: append: kind %q is not known here", kind)
	}
	if len(envelope) == 0 || len(envelope) > maxEnvelope {
		return 0, fmt.Errorf("ledger: append: %d bytes, want 1 to %d", len(envelope), maxEnvelope)
	}
	index, full, err := l.append(kind, envelope)
	if err == nil && full {
		l.writing.Lock()
		defer l.writing.Unlock()
		if _, err = l.write(); errors.Is(err, syscall.ENOSPC) {
			err = nil // it waits, and Sync says so
		}
	}
	if err != nil {
		return 0, fmt.Errorf("ledger %s: append: %w", l.dir, err)
	}
	return index, nil
}

func (l *Log) append(kind Kind, envelope []byte) (index int64, full bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		return 0, false, l.broken
	}
	e := Entry{Index: l.tree.leaves, Kind: kind, Envelope: envelope}
	hashes, err := l.tree.add(e.leaf())
	if err != nil {
		return 0, false, err
	}
	for _, h := range hashes {
		l.out.hashes.waiting = append(l.out.hashes.waiting, h[:]...)
	}
	l.out.offsets.waiting = binary.LittleEndian.AppendUint64(l.out.offsets.waiting, uint64(l.out.entries.size()))
	l.out.entries.waiting = appendRecord(l.out.entries.waiting, e)
	return e.Index, len(l.out.entries.waiting) >= flushAt, nil
}

// Sync returns when every entry appended before the call is durable under a signed head. Calls that wait at the same
// time share one barrier: whoever goes first carries all.
func (l *Log) Sync() error {
	l.mu.Lock()
	wanted := l.tree.leaves
	l.mu.Unlock()

	l.writing.Lock()
	defer l.writing.Unlock()
	if l.covered(wanted) {
		return nil
	}
	if err := l.barrier(); err != nil {
		return fmt.Errorf("ledger %s: sync: %w", l.dir, err)
	}
	return nil
}

func (l *Log) covered(wanted int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.durable >= wanted && l.broken == nil
}

// barrier makes entries durable, then a head over them: a head must never speak of what a crash can take away.
// The caller holds writing.
func (l *Log) barrier() error {
	head, err := l.write()
	if err != nil {
		return err
	}
	if err := l.out.entries.file.Sync(); err != nil {
		return l.fail(err)
	}
	l.out.heads.waiting = head.encode()
	n, err := l.out.heads.write(l.out.heads.waiting)
	if err != nil {
		return l.failWrite(err)
	}
	if err := l.out.heads.file.Sync(); err != nil {
		return l.fail(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.out.heads.wrote(n)
	l.durable = head.Size
	return nil
}

// write hands what waits to the system and returns a head over it. The caller holds writing.
func (l *Log) write() (mark, error) {
	l.mu.Lock()
	root, err := l.tree.root()
	if err == nil {
		err = l.broken
	}
	size, bytes := l.tree.leaves, l.out.entries.size()
	tails := []*tail{&l.out.entries, &l.out.hashes, &l.out.offsets}
	waiting := [][]byte{l.out.entries.waiting, l.out.hashes.waiting, l.out.offsets.waiting}
	l.mu.Unlock()
	if err != nil {
		return mark{}, err
	}
	for i, t := range tails {
		n, err := t.write(waiting[i])
		if err != nil {
			return mark{}, l.failWrite(err)
		}
		l.mu.Lock()
		t.wrote(n)
		l.mu.Unlock()
	}
	return mark{SignedHead: key.SignHead(size, core.Hash(root), l.signer), bytes: bytes}, nil
}

// failWrite is fail, but for a full disk: what waits is written to the same place again once there is room.
func (l *Log) failWrite(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return err
	}
	return l.fail(err)
}

// fail remembers that the disk failed.
func (l *Log) fail(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = fmt.Errorf("the disk failed before, start again to recover: %w", err)
	return err
}

// Broken is why the log takes nothing any more: the disk failed, or it is closed. nil while it does.
func (l *Log) Broken() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.broken
}

// Size is the number of entries, durable or not.
func (l *Log) Size() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tree.leaves
}

// errClosed is what a closed log answers.
var errClosed = errors.New("the ledger is closed")

// Close syncs, closes the files and lets the next writer in.
func (l *Log) Close() error {
	err := l.Sync()
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = errClosed
	return errors.Join(err, l.Reader.Close(), l.lock.Close())
}

// file is what a tail needs of *durable.File.
type file interface {
	io.WriterAt
	Sync() error
	Truncate(size int64) error
}

// tail is a file that only grows, with the bytes that wait to be added to it.
type tail struct {
	file    file
	written int64 // bytes that the file has
	waiting []byte
}

func (t *tail) size() int64 { return t.written + int64(len(t.waiting)) }

// write adds b, the first bytes of waiting. More may begin to wait meanwhile.
func (t *tail) write(b []byte) (int, error) { return t.file.WriteAt(b, t.written) }

// wrote drops n bytes that no longer wait.
func (t *tail) wrote(n int) {
	t.written += int64(n)
	t.waiting = append([]byte(nil), t.waiting[n:]...)
}
