// SPDX-License-Identifier: Apache-2.0

package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"

	"github.com/bkp-tool/bkp/core/durable/internal/tap"
)

// File is an open file whose bytes are durable after Sync. Any number of goroutines may use it. The embedded os.File
// may be read and asked; what is written past File's own methods is unknown to the recording twin.
type File struct {
	*os.File
	id       uint64
	syncing  sync.Mutex            // one Sync at a time; writes go on meanwhile
	poisoned atomic.Pointer[error] // the first sync that failed
}

// Create makes an empty file that must not exist (fs.ErrExist), open for reading and writing. Its name is durable after
// the next SyncDir.
func Create(path string, perm fs.FileMode) (*File, error) {
	return open(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, perm)
}

// Open opens a file for reading and writing that must exist (fs.ErrNotExist).
func Open(path string) (*File, error) { return open(path, os.O_RDWR, 0) }

// OpenOrCreate opens a file for reading and writing, and makes an empty one where there is none; its name is durable
// after the next SyncDir.
func OpenOrCreate(path string, perm fs.FileMode) (*File, error) {
	f, err := Open(path)
	for errors.Is(err, fs.ErrNotExist) {
		if f, err = Create(path, perm); !errors.Is(err, fs.ErrExist) {
			break
		}
		f, err = Open(path) // somebody else made it meanwhile
	}
	return f, err
}

// opened counts the files that were ever opened.
var opened atomic.Uint64

func open(path string, flag int, perm fs.FileMode) (*File, error) {
	f := &File{id: opened.Add(1)}
	op := tap.Op{Kind: tap.Opened, File: f.id, Path: path}
	if flag&os.O_EXCL != 0 {
		op.Kind = tap.Create
	}
	err := tap.Do(op, func() (err error) {
		f.File, err = os.OpenFile(path, flag, perm)
		return err
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// WriteAt writes b at an offset. It is durable after the next Sync.
func (f *File) WriteAt(b []byte, at int64) (n int, err error) {
	if err := f.Poisoned(); err != nil {
		return 0, err
	}
	err = tap.Do(tap.Op{Kind: tap.Write, File: f.id, Path: f.Name(), Offset: at, Data: b}, func() (err error) {
		n, err = f.File.WriteAt(b, at)
		return err
	})
	return n, err
}

// Write is not for a File: what is written must say where.
func (f *File) Write([]byte) (int, error) { return 0, errors.ErrUnsupported }

// Truncate sets the length. It is durable after the next Sync.
func (f *File) Truncate(size int64) error {
	if err := f.Poisoned(); err != nil {
		return err
	}
	return tap.Do(tap.Op{Kind: tap.Truncate, File: f.id, Path: f.Name(), Size: size},
		func() error { return f.File.Truncate(size) })
}

// Allocate reserves size bytes of the disk from an offset on; the file grows by them, as zeros. errors.ErrUnsupported
// where the file system cannot.
func (f *File) Allocate(from, size int64) error {
	if err := f.Poisoned(); err != nil {
		return err
	}
	return tap.Do(tap.Op{Kind: tap.Truncate, File: f.id, Path: f.Name(), Size: from + size},
		func() error { return allocate(f.File, from, size) })
}

// zeroStep is how much Zero makes zeros at a time.
const zeroStep = 1 << 20

var zeros [zeroStep]byte

// Zero makes size bytes from an offset on zeros, and gives their room back where the file system can; elsewhere they
// are written. The file grows by them where it must. It is durable after the next Sync.
func (f *File) Zero(from, size int64) error {
	for end := from + size; from < end; from += zeroStep {
		n := min(end-from, zeroStep)
		if err := f.zero(from, n); err != nil {
			return err
		}
	}
	return nil
}

func (f *File) zero(from, size int64) error {
	if err := f.Poisoned(); err != nil {
		return err
	}
	op := tap.Op{Kind: tap.Write, File: f.id, Path: f.Name(), Offset: from, Data: zeros[:size]}
	return tap.Do(op, func() error {
		if info, err := f.Stat(); err != nil {
			return err
		} else if from+size <= info.Size() {
			if err := punch(f.File, from, size); !errors.Is(err, errors.ErrUnsupported) {
				return err
			}
		}
		_, err := f.File.WriteAt(zeros[:size], from)
		return err
	})
}

// SetDirect makes writes go past the page cache (they must be aligned then), or through it; false where the file system
// cannot.
func (f *File) SetDirect(on bool) bool { return setDirect(f.File, on) }

// Sync returns nil when the bytes and the length are durable. After an error the file is poisoned.
func (f *File) Sync() error {
	f.syncing.Lock()
	defer f.syncing.Unlock()
	if err := f.Poisoned(); err != nil {
		return err
	}
	err := tap.Do(tap.Op{Kind: tap.Sync, File: f.id, Path: f.Name()}, f.File.Sync)
	if err != nil {
		err = fmt.Errorf("cannot make %s durable: %w", f.Name(), err)
		f.poisoned.Store(&err)
	}
	return err
}

// Poisoned is the failed sync after which nobody knows what of the file is on the disk; nil while there was none.
func (f *File) Poisoned() error {
	if err := f.poisoned.Load(); err != nil {
		return *err
	}
	return nil
}

// Rename gives the file another name in place of its own; a poisoned one keeps it. The name is durable after SyncDir.
// Name tells the old one still.
func (f *File) Rename(to string) error {
	if err := f.Poisoned(); err != nil {
		return err
	}
	return Rename(f.Name(), to)
}
