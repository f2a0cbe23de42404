// SPDX-License-Identifier: Apache-2.0

// Package writers knows which processes may lean on what a store has, and what no new one may lean on.
//
// A writer may find a chunk that nothing refers to any more, and refer to it only when it is done, days later. So a
// collection condemns a pack before it removes it:
//
//	EPOCH.PID.RANDOM  locked (shared) by who writes for as long as it lives, stopped or not
//	CONDEMNED         "bkp condemned 1", the epoch, each condemned pack with the epoch of its condemnation, and the
//	                  BLAKE3 of that in hex, each on a line; replaced by rename
//	lock              held by a collection
//
// Condemning begins an epoch; a writer enters under the epoch of the moment, and reads what is condemned after its file
// is there: either it leaves a condemned pack alone, or it is older than the condemnation and waited for.
package writers

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
)

// Dir is the directory writers of a store.
type Dir string

// Make makes the directory where it is not there.
func (d Dir) Make() error {
	// lost with the power, it is made again
	if err := durable.Mkdir(string(d)); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// Writer is one who may lean on what it finds here: a file EPOCH.PID.RANDOM that is locked for as long as it lives.
type Writer struct {
	core.Writer
	dir  Dir
	path string
	lock *durable.Lock
}

// Enter takes a writer in and returns what it must not lean on. Its epoch is read before its file is there, and what is
// condemned after: either it knows of a condemnation, or whoever condemned finds it, or both.
func (d Dir) Enter() (*Writer, Condemned, error) {
	for range 100 {
		epoch := d.condemned().Epoch
		var random [8]byte
		rand.Read(random[:]) // never fails
		w := &Writer{Writer: core.Writer{PID: os.Getpid(), Epoch: epoch}, dir: d}
		w.path = filepath.Join(string(d), fmt.Sprintf("%d.%d.%x", epoch, w.PID, random))
		w.lock = durable.NewLock(w.path)
		got, err := w.lock.TryRLock()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, Condemned{}, err
		}
		if _, err := os.Stat(w.path); err == nil && got {
			return w, d.condemned(), nil
		}
		_ = w.lock.Close() // a collection took it for one that a dead process left
		_ = durable.Remove(w.path)
	}
	return nil, Condemned{}, fmt.Errorf("other processes take every new file in %s away", d)
}

// Leave lets a writer go. During a collection its file stays as a trace that somebody was here.
func (w *Writer) Leave() error {
	gate := w.dir.gate()
	if got, err := gate.TryRLock(); err == nil && got {
		_ = durable.Remove(w.path)
	}
	return errors.Join(gate.Close(), w.lock.Close())
}

// parse tells a writer by the name of its file.
func parse(file string) (w core.Writer, ok bool) {
	parts := strings.Split(file, ".")
	if len(parts) != 3 || len(parts[2]) != 16 {
		return w, false
	}
	var err error
	if w.Epoch, err = strconv.ParseUint(parts[0], 10, 64); err != nil {
		return w, false
	}
	w.PID, err = strconv.Atoi(parts[1])
	return w, err == nil
}

// gate is held by a collection alone, and shared for a moment by a writer that removes its file.
func (d Dir) gate() *durable.Lock { return durable.NewLock(filepath.Join(string(d), "lock")) }

// CloseGate begins a collection, which ends when the lock is closed; there is one at a time, and os.ErrDeadlineExceeded
// where another goes on.
func (d Dir) CloseGate() (*durable.Lock, error) {
	gate := d.gate()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	got, err := gate.TryLockContext(ctx, 10*time.Millisecond)
	if got {
		return gate, nil
	}
	_ = gate.Close()
	if ctx.Err() != nil {
		return nil, os.ErrDeadlineExceeded
	}
	return nil, err
}

// Others is who writes to the store but self, and who did and is gone, whose files go now. The gate is closed.
func (d Dir) Others(self *Writer) (living, gone []core.Writer, err error) {
	files, err := os.ReadDir(string(d))
	if err != nil {
		return nil, nil, fmt.Errorf("list writers: %w", err)
	}
	for _, f := range files {
		path := filepath.Join(string(d), f.Name())
		w, ok := parse(f.Name())
		if !ok || path == self.path {
			continue
		}
		if info, err := f.Info(); err == nil {
			w.Since = info.ModTime()
		}
		lock := durable.LockOf(path)
		got, err := lock.TryLock()
		if got {
			gone = append(gone, w)
			_ = durable.Remove(path) // while it is locked: who is just making it notices
		} else if err == nil {
			living = append(living, w)
		}
		_ = lock.Close()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, fmt.Errorf("look after writer %s: %w", f.Name(), err)
		}
	}
	return living, gone, nil
}
