// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
)

// Open opens the log in dir for its one writer, making it where there is none, and recovers from a crash. It fails
// with core.CodeBusy where another process writes, and with core.CodeWrong where history that was signed for is missing
// or differs.
func Open(dir string, signer Signer) (*Log, error) {
	if err := durable.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	lock := durable.NewLock(filepath.Join(dir, "lock"))
	locked, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("open ledger %s: %w", dir, err)
	}
	if !locked {
		return nil, core.Fail(core.CodeBusy, "open ledger %s: another process writes it", dir)
	}
	l := &Log{Reader: &Reader{dir: dir}, signer: signer, lock: lock}
	if err := l.recover(); err != nil {
		return nil, errors.Join(fmt.Errorf("open ledger %s: %w", dir, err), l.Reader.Close(), lock.Close())
	}
	return l, nil
}

// recover brings the files and the writer's state to the last whole entry.
func (l *Log) recover() error {
	if err := l.showKeys(); err != nil {
		return err
	}
	if err := l.openFiles(); err != nil {
		return err
	}
	signed, number, err := lastMark(l.heads, l.keys)
	if err != nil {
		return err
	}
	if number < 0 {
		if signed, err = l.begin(); err != nil {
			return err
		}
	} else if signed.Node() != l.signer.ID() {
		return core.Fail(core.CodeRefused, "it is the ledger of node %s, this is node %s", signed.Node(), l.signer.ID())
	}
	l.out.entries.written = signed.bytes
	l.out.heads.written = (number + 1) * markSize
	if l.tree, err = l.Reader.known(signed); err != nil {
		if err = l.remake(signed); err != nil {
			return err
		}
	}
	l.out.hashes.written = tlog.StoredHashCount(signed.Size) * tlog.HashSize
	l.out.offsets.written = signed.Size * 8
	l.durable = signed.Size
	return l.takeUnsigned(number)
}

// showKeys writes the node's public key beside the heads, which show the last key only, where it was rotated.
func (l *Log) showKeys() error {
	keys, path := l.signer.Public(), filepath.Join(l.dir, "key")
	if keys.Rotations() == 0 {
		return nil
	}
	if before, err := os.ReadFile(path); err == nil && bytes.Equal(before, keys) {
		return nil
	}
	return durable.Replace(path, keys, 0o600)
}

// openFiles opens the log's files for writing, and makes those that are not there. Their names are durable when it
// returns nil, also where who made them was killed before it had seen to that.
func (l *Log) openFiles() error {
	var opened []*durable.File
	err := l.Reader.open(func(path string) (*os.File, error) {
		f, err := durable.OpenOrCreate(path, 0o600)
		if err != nil {
			return nil, err
		}
		opened = append(opened, f)
		return f.File, nil
	})
	if err != nil {
		return err
	}
	l.out.entries.file, l.out.heads.file, l.out.hashes.file, l.out.offsets.file = opened[0], opened[1], opened[2],
		opened[3]
	return durable.SyncDir(l.dir)
}

// begin starts the file of entries of a new log. Since the first head is signed before the first entry is taken,
// entries without a head are not what a crash leaves.
func (l *Log) begin() (mark, error) {
	info, err := l.entries.Stat()
	if err != nil {
		return mark{}, err
	}
	if info.Size() > int64(len(magic)) {
		return mark{}, core.Fail(core.CodeWrong, "it has entries but no signed head")
	}
	if _, err := l.out.entries.file.WriteAt([]byte(magic), 0); err != nil {
		return mark{}, err
	}
	return mark{bytes: int64(len(magic))}, nil
}

// known returns the tree that a head was signed for where hashes are all right, offsets lead to the last entry, and
// that one stands.
func (r *Reader) known(signed mark) (*edge, error) {
	if err := r.checkMagic(); err != nil {
		return nil, err
	}
	tree, err := wholeTree(r.hashes, signed.Size)
	if err != nil || signed.Size == 0 {
		return tree, err
	}
	if root, err := tree.root(); err != nil || core.Hash(root) != signed.Root {
		return nil, fmt.Errorf("hashes do not lead to the signed root: %w", errTorn)
	}
	var raw [8]byte
	if _, err := r.offsets.ReadAt(raw[:], (signed.Size-1)*8); err != nil {
		return nil, err
	}
	s := newScanner(r.entries, signed.Size-1, int64(binary.LittleEndian.Uint64(raw[:])), signed.bytes)
	last, err := s.scan()
	if err != nil || s.at != signed.bytes || tlog.RecordHash(last.leaf()) != tree.hash[0] {
		return nil, fmt.Errorf("offsets do not lead to the last entry: %w", errTorn)
	}
	return tree, nil
}

func (r *Reader) checkMagic() error {
	found := make([]byte, len(magic))
	if _, err := r.entries.ReadAt(found, 0); err != nil && err != io.EOF {
		return err
	}
	if string(found) != magic {
		return core.Fail(core.CodeWrong, "entries: it does not begin as a ledger of version 1")
	}
	return nil
}

// remake makes hashes and offsets again from the entries that a head was signed for. It leaves them alone where the
// entries are not those: they may still show which entry differs.
func (l *Log) remake(signed mark) error {
	if err := l.checkMagic(); err != nil {
		return err
	}
	var tree edge
	end, err := l.walk(signed, func(e Entry, _ int64) error {
		_, err := tree.add(e.leaf())
		return err
	})
	if err != nil {
		return err
	}
	root, err := tree.root()
	if err != nil {
		return err
	}
	if end != signed.bytes || (signed.Size > 0 && core.Hash(root) != signed.Root) {
		return core.Fail(core.CodeWrong, "history was rewritten: the %d entries are not those that a head was signed over", signed.Size)
	}
	l.tree = &edge{}
	l.out.hashes.written, l.out.offsets.written = 0, 0
	if _, err := l.walk(signed, l.take); err != nil {
		return err
	}
	return l.flushDerived()
}

// walk calls visit with every entry that a head was signed for and the place where it begins, and returns where they
// end.
func (l *Log) walk(signed mark, visit func(e Entry, at int64) error) (end int64, err error) {
	s := newScanner(l.entries, 0, int64(len(magic)), signed.bytes)
	for s.next < signed.Size {
		at := s.at
		e, err := s.scan()
		if err == io.EOF || errors.Is(err, errTorn) {
			return 0, core.Fail(core.CodeWrong, "history was cut or damaged: entry %d is not whole, and a head was signed over %d entries", s.next, signed.Size)
		}
		if err == nil {
			err = visit(e, at)
		}
		if err != nil {
			return 0, err
		}
	}
	return s.at, nil
}

// take adds an entry that stands in the file of entries already.
func (l *Log) take(e Entry, at int64) error {
	hashes, err := l.tree.add(e.leaf())
	if err != nil {
		return err
	}
	for _, h := range hashes {
		l.out.hashes.waiting = append(l.out.hashes.waiting, h[:]...)
	}
	l.out.offsets.waiting = binary.LittleEndian.AppendUint64(l.out.offsets.waiting, uint64(at))
	if len(l.out.hashes.waiting) < flushAt {
		return nil
	}
	return l.flushDerived()
}

func (l *Log) flushDerived() error {
	for _, t := range []*tail{&l.out.hashes, &l.out.offsets} {
		n, err := t.write(t.waiting)
		if err != nil {
			return err
		}
		t.wrote(n)
	}
	return nil
}

// takeUnsigned takes in whole entries behind the last head, cuts what follows them, and signs a head where it
// covers more than the last one.
func (l *Log) takeUnsigned(lastHead int64) error {
	info, err := l.entries.Stat()
	if err != nil {
		return err
	}
	s := newScanner(l.entries, l.tree.leaves, l.out.entries.written, info.Size())
	for {
		at := s.at
		e, err := s.scan()
		if err == io.EOF || errors.Is(err, errTorn) {
			break
		}
		if err == nil {
			err = l.take(e, at)
		}
		if err != nil {
			return err
		}
	}
	l.out.entries.written = s.at
	for _, t := range []*tail{&l.out.entries, &l.out.heads, &l.out.hashes, &l.out.offsets} {
		if err := t.file.Truncate(t.written); err != nil {
			return err
		}
	}
	if lastHead >= 0 && l.tree.leaves == l.durable && info.Size() == s.at {
		return nil
	}
	return l.barrier() // also where something was cut: after a crash, entries behind it could follow upon new ones
}
