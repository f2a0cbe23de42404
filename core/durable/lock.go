package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/gofrs/flock"

	"github.com/bkp-tool/bkp/core"
)

// Lock is an advisory lock on a file, held until Close or the end of the process. What it locks is empty and never read.
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

// explain tells why a file system without locks cannot keep a data directory.
func (l *Lock) explain(got bool, err error) (bool, error) {
	if errors.Is(err, syscall.ENOLCK) || errors.Is(err, syscall.ENOSYS) || errors.Is(err, errors.ErrUnsupported) {
		err = &fs.PathError{Op: "lock", Path: l.Path(), Err: err}
		return false, core.WithHint(fmt.Errorf("%w: this file system has no locks, so that two processes could spoil each other's work", err),
			"keep the data directory on a local disk (--data DIR), or mount this file system with locks")
	}
	return got, err
}
