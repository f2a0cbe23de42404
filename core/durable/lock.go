// SPDX-License-Identifier: Apache-2.0

package durable

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/gofrs/flock"

	"github.com/bkp-tool/bkp/core"
)

// Lock is an advisory lock on a file, held until Close or the end of the process. What it locks is empty and never
// read.
type Lock struct{ *flock.Flock }

// NewLock is a lock on a file that need not exist; it is made 0600 when the lock is first taken.
func NewLock(path string) *Lock {
	return &Lock{flock.New(path, flock.SetFlag(os.O_CREATE|os.O_RDWR), flock.SetPermissions(0o600))}
}

// LockOf is a lock on a file that must exist (fs.ErrNotExist when it is taken).
func LockOf(path string) *Lock { return &Lock{flock.New(path, flock.SetFlag(os.O_RDWR))} }

// TryLock takes the lock alone; false where another process has it.
func (l *Lock) TryLock() (bool, error) { return l.explain(l.Flock.TryLock()) }

// TryRLock takes the lock beside others who do; false where a process has it alone.
func (l *Lock) TryRLock() (bool, error) { return l.explain(l.Flock.TryRLock()) }

// Lock waits until it has the lock alone.
func (l *Lock) Lock() error {
	_, err := l.explain(true, l.Flock.Lock())
	return err
}

// RLock waits until it has the lock beside others.
func (l *Lock) RLock() error {
	_, err := l.explain(true, l.Flock.RLock())
	return err
}

// TryLockContext tries to take the lock alone, again and again, until ctx ends.
func (l *Lock) TryLockContext(ctx context.Context, pause time.Duration) (bool, error) {
	return l.explain(l.Flock.TryLockContext(ctx, pause))
}

func (l *Lock) explain(got bool, err error) (bool, error) {
	return got && err == nil, explainLock(l.Path(), err)
}

// explainLock tells why a file system without locks cannot keep a data directory, and what to do where a lock cannot be
// made. What it returns is never core.CodeBusy: nobody has the lock.
func explainLock(path string, err error) error {
	switch {
	case errors.Is(err, syscall.ENOLCK) || errors.Is(err, syscall.ENOSYS) || errors.Is(err, errors.ErrUnsupported):
		return core.WithHint(fmt.Errorf("lock %s: this file system has no locks, so that two processes could spoil each other's work: %w", path, err),
			"keep the data directory on a local disk (--data DIR), or mount this file system with locks")
	case errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission):
		return core.WithHint(fmt.Errorf("lock: %w", err), "what is there can only be read: run this as the owner of %s, or take another --data DIR",
			filepath.Dir(path))
	}
	return err
}
