package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/storage/disk"
)

// A command that only reads works on a data directory where nothing can be written, or which is another user's. Where
// it needs a node it becomes one with stores of its own in a scratch directory, and borrows the data directory's key,
// identity, refs and chunks.

// isForeign reports whether the data directory is another user's: what root wrote into it that user could not read.
func (h house) isForeign() bool {
	info, err := os.Stat(h.dir)
	if err != nil {
		return false
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(s.Uid) != os.Geteuid()
}

// unwritable reports whether err says that nothing can be written where it was tried, for want of rights or of space.
func unwritable(err error) bool {
	for _, e := range []error{fs.ErrPermission, syscall.EROFS, syscall.ENOSPC, syscall.EDQUOT} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// own is where a node of this process keeps what is its own.
func (c *call) own() house {
	if c.scratch.dir != "" {
		return c.scratch
	}
	return c.house
}

// borrow starts a node that leaves the data directory as it is.
func (c *call) borrow(ctx context.Context) (_ session, err error) {
	lock := durable.LockOf(c.house.path("node.lock")) // not made, and not taken where nothing can be written
	if got, err := lock.TryLock(); err == nil && !got {
		return session{}, c.house.busy()
	}
	c.scratch = house{filepath.Join(os.TempDir(), "bkp-"+rand.Text())}
	tidy := func() error { return errors.Join(lock.Close(), durable.RemoveAll(c.scratch.dir)) }
	defer func() {
		if err != nil {
			err = errors.Join(err, tidy())
		}
	}()
	if err := c.scratch.make(); err != nil {
		return session{}, err
	}
	n, closers, err := c.startNode(ctx, nodeWish{transient: true})
	if err != nil {
		return session{}, fmt.Errorf("without writing into %s: %w", c.house.dir, err)
	}
	return session{Caller: control.Direct(n), close: func() error { return errors.Join(n.Close(), closers.Close(), tidy()) }}, nil
}

// staging opens the store of what was split: the data directory's for reading where nothing is written there.
func (c *call) staging() (*disk.Store, error) {
	_, err := os.Stat(c.house.path("staging"))
	if c.scratch.dir != "" && err == nil {
		return disk.OpenRead(c.house.path("staging"))
	}
	return disk.Open(c.own().path("staging"))
}

// nodeKey is this node's key; one for the moment where none can be kept.
func (c *call) nodeKey() (*key.Signer, error) {
	if _, err := os.Stat(c.house.path("node.key")); err != nil {
		return c.own().nodeKey()
	}
	return c.house.nodeKey()
}
