package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/bkp-tool/bkp/cmd/bkp/datadir"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/key"
)

// A command that only reads works on a data directory where nothing can be written, or which is another user's. Where
// it needs a node it becomes one with stores of its own in a scratch directory, and borrows the data directory's key,
// identity, refs and chunks.

// own is where a node of this process keeps what is its own.
func (c *call) own() datadir.Dir {
	if c.scratch != "" {
		return c.scratch
	}
	return c.dir
}

// borrow starts a node that leaves the data directory as it is.
func (c *call) borrow(ctx context.Context) (_ session, err error) {
	lock := durable.LockOf(c.dir.Path("node.lock")) // not made, and not taken where nothing can be written
	if got, err := lock.TryLock(); err == nil && !got {
		return session{}, c.dir.Busy()
	}
	c.scratch = datadir.Dir(filepath.Join(os.TempDir(), "bkp-"+rand.Text()))
	tidy := func() error { return errors.Join(lock.Close(), durable.RemoveAll(string(c.scratch))) }
	defer func() {
		if err != nil {
			err = errors.Join(err, tidy())
		}
	}()
	if err := c.scratch.Make(); err != nil {
		return session{}, err
	}
	n, closers, err := c.startNode(ctx, nodeWish{transient: true})
	if err != nil {
		return session{}, fmt.Errorf("without writing into %s: %w", string(c.dir), err)
	}
	return session{Caller: control.Direct(n), close: func() error { return errors.Join(n.Close(), closers.Close(), tidy()) }}, nil
}

// stores opens what a node of this process stands on.
func (c *call) stores(signer *key.Signer) (*datadir.Stores, error) {
	if c.scratch != "" {
		return c.scratch.OpenStoresBeside(c.dir, signer)
	}
	return c.dir.OpenStores(signer)
}

// nodeKey is this node's key; one for the moment where none can be kept.
func (c *call) nodeKey() (*key.Signer, error) {
	if _, err := os.Stat(c.dir.Path("node.key")); err != nil {
		return c.own().NodeKey()
	}
	return c.dir.NodeKey()
}
