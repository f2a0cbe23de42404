// SPDX-License-Identifier: Apache-2.0

package durable

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	dberrors "go.etcd.io/bbolt/errors"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable/internal/tap"
)

// ErrLocked is what OpenDB meets where another process has the database open.
var ErrLocked = errors.New("another process has the database open")

// DB is a bbolt database of small records. Any number of goroutines may use it, one process. After a commit that
// failed, or when it is found damaged, it answers nothing any more: who goes on must open it again.
type DB struct {
	path string
	db   *bbolt.DB
	id   uint64

	mu     sync.Mutex // guards broken
	broken error

	recording sync.Mutex // one commit at a time is taken down
}

// OpenDB opens the database at path; with create it makes an empty one, durably, where there is none (else
// fs.ErrNotExist). A file that is no database, an empty one included, is core.CodeWrong: who dies while it is made
// leaves none under this name.
func OpenDB(path string, create bool) (*DB, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) && create {
		if err := createDB(path); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("make database %s: %w", path, err)
		}
		info, err = os.Stat(path)
	}
	if err != nil {
		return nil, err
	}
	d := &DB{path: path, id: opened.Add(1)}
	if info.Size() == 0 { // bbolt would take it for a beginning
		return nil, d.damaged("it is empty")
	}
	err = tap.Do(tap.Op{Kind: tap.Opened, File: d.id, Path: path}, func() error {
		return d.guard(func() (err error) {
			d.db, err = openBolt(path)
			return err
		})
	})
	if errors.Is(err, dberrors.ErrTimeout) {
		return nil, ErrLocked
	}
	if errors.Is(err, dberrors.ErrInvalid) || errors.Is(err, dberrors.ErrChecksum) ||
		errors.Is(err, dberrors.ErrVersionMismatch) {
		return nil, d.damaged(err)
	}
	if err != nil {
		return nil, err
	}
	return d, nil
}

func openBolt(path string) (*bbolt.DB, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Millisecond, FreelistType: bbolt.FreelistMapType,
		NoSync: false})
	return db, explainLock(path, err)
}

// createDB makes an empty database under another name first, so that it is whole or not there.
func createDB(path string) error {
	var random [8]byte
	rand.Read(random[:]) // never fails
	temp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+tempMark+hex.EncodeToString(random[:]))
	db, err := openBolt(temp)
	if err != nil {
		return err
	}
	empty, err := os.ReadFile(temp)
	if err = errors.Join(err, db.Close()); err == nil {
		err = New(path, empty, 0o600)
	}
	return errors.Join(err, os.Remove(temp))
}

// Update changes the database in one transaction, durable when it returns nil; an error of f undoes it and comes back
// as it is.
func (d *DB) Update(f func(*bbolt.Tx) error) error {
	if tap.On() {
		return d.recorded(f)
	}
	return d.update(f)
}

func (d *DB) update(f func(*bbolt.Tx) error) error {
	if err := d.Broken(); err != nil {
		return err
	}
	done := false // f took its decision: what fails then is the commit
	err := d.guard(func() error {
		return d.db.Update(func(tx *bbolt.Tx) error {
			err := f(tx)
			done = err == nil
			return err
		})
	})
	if err != nil && done {
		return d.fail(fmt.Errorf("database %s: commit: %w", d.path, err))
	}
	return err
}

// View reads in one transaction.
func (d *DB) View(f func(*bbolt.Tx) error) error {
	if err := d.Broken(); err != nil {
		return err
	}
	return d.guard(func() error { return d.db.View(f) })
}

// Broken is why the database answers nothing any more; nil while it does.
func (d *DB) Broken() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.broken
}

func (d *DB) fail(err error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.broken == nil {
		d.broken = err
	}
	return err
}

// guard turns what a damaged database file makes bbolt do, a panic or a fault in mapped memory, into an error.
func (d *DB) guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = d.fail(d.damaged(r))
		}
	}()
	return f()
}

func (d *DB) damaged(why any) error {
	return core.Fail(core.CodeWrong, "database %s is damaged: %v", d.path, why)
}

// Close closes the database. A transaction under way is waited for.
func (d *DB) Close() error {
	d.fail(os.ErrClosed)
	return d.db.Close()
}

// recorded is update with the pages that the commit changed told to the tap.
func (d *DB) recorded(f func(*bbolt.Tx) error) error {
	d.recording.Lock()
	defer d.recording.Unlock()
	before, err := os.ReadFile(d.path)
	if err != nil {
		return err
	}
	op := tap.Op{Kind: tap.Commit, File: d.id, Path: d.path, Synced: !d.db.NoSync}
	if err := d.refused(op); err != nil {
		return err
	}
	if err := d.update(f); err != nil {
		return err
	}
	after, err := os.ReadFile(d.path)
	if err != nil {
		return err
	}
	op.Pages = changedPages(before, after, d.db.Info().PageSize)
	tap.Done(op)
	return nil
}

// refused asks the tap whether a commit may succeed. A refused one is a failed one: the database is closed for good.
func (d *DB) refused(op tap.Op) error {
	if err := tap.Ask(op); err != nil {
		return d.fail(fmt.Errorf("database %s: commit: %w", d.path, err))
	}
	return nil
}

// changedPages is what differs between two contents of a database file; the first two pages are its meta pages.
func changedPages(before, after []byte, size int) (pages []tap.Page) {
	for at := 0; at < len(after); at += size {
		page := after[at:min(at+size, len(after))]
		if at+len(page) <= len(before) && bytes.Equal(before[at:at+len(page)], page) {
			continue
		}
		pages = append(pages, tap.Page{Offset: int64(at), Data: page, Meta: at < 2*size})
	}
	return pages
}
