// SPDX-License-Identifier: Apache-2.0

package pack

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/bkp-tool/bkp/core/durable"
)

// file is a pack that this process writes, and holds the lock of.
type file struct {
	name     string
	file     *durable.File
	lock     *durable.Lock
	direct   atomic.Bool // file is written past the page cache
	reserved int64       // room in the file; for who appends

	// Guarded by Writer.mu.
	end     int64     // up to where its records are given out; changed by who appends
	rows    []Row     // of records written
	dirty   bool      // has got records since the last sync
	buffers []*buffer // records on their way to the file, the last of them taking more

	syncing sync.Mutex // held while the file is synced, finished or closed
	closed  bool       // guarded by syncing
}

// create makes an empty pack that is locked by this process.
func create(dir string) (*file, error) {
	for range 3 {
		f := &file{name: NewName(), end: HeaderSize}
		path := OpenPath(dir, f.name)
		made, err := durable.Create(path, 0o600)
		if err != nil {
			return nil, fmt.Errorf("create pack: %w", err)
		}
		f.file = made
		if mine, err := f.claim(path); err != nil || !mine {
			made.Close()
			if err != nil {
				return nil, fmt.Errorf("lock pack %s: %w", f.name, err)
			}
			continue // another process took it for an orphan before it was locked
		}
		f.direct.Store(made.SetDirect(true))
		return f, nil
	}
	return nil, fmt.Errorf("create pack: other processes take every new pack away")
}

// claimAt opens the pack at path for writing; nil where another process has it locked or it is gone.
func claimAt(path string) (*file, error) {
	opened, err := durable.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	name, _, _ := NameOf(filepath.Base(path))
	f := &file{name: name, file: opened}
	if claimed, err := f.claim(path); err != nil || !claimed {
		opened.Close()
		return nil, err
	}
	return f, nil
}

// claim locks the pack for this process; false where another has it, or it is gone.
func (f *file) claim(path string) (bool, error) {
	f.lock = durable.LockOf(path)
	locked, err := f.lock.TryLock()
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil || !locked {
		return false, err
	}
	mine, err := f.file.Stat()
	if err == nil {
		if there, err := os.Stat(path); err == nil && os.SameFile(mine, there) {
			return true, nil
		}
	}
	f.lock.Close()
	return false, nil
}

// sync makes the pack's records durable.
func (f *file) sync() error {
	f.syncing.Lock()
	defer f.syncing.Unlock()
	if f.closed {
		return nil // finishing made them durable
	}
	return f.file.Sync()
}

// finish gives the pack its table and its final name. No record may be written after. On an error it keeps its first
// name.
func (f *file) finish(dir string, rows []Row, end int64) error {
	f.syncing.Lock()
	defer f.syncing.Unlock()
	if f.direct.Load() {
		f.file.SetDirect(false) // the table stands where the records end
	}
	err := f.seal(rows, end)
	if err == nil {
		err = f.file.Rename(Path(dir, f.name))
	}
	if err != nil {
		return fmt.Errorf("finish pack %s: %w", f.name, err)
	}
	f.abandon()
	return nil
}

// seal writes the table behind the last record and makes all durable.
func (f *file) seal(rows []Row, end int64) error {
	table := appendTable(nil, rows, uint32(end))
	if _, err := f.file.WriteAt(table, end); err != nil {
		return err
	}
	if err := f.file.Truncate(end + int64(len(table))); err != nil {
		return err
	}
	return f.file.Sync()
}

// abandon closes the file and gives up the lock; records that are not durable yet may be lost.
func (f *file) abandon() {
	f.closed = true
	f.file.Close()
	f.lock.Close()
}
