// SPDX-License-Identifier: Apache-2.0

package session

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
func (op *Opener) own() datadir.Dir {
	if op.scratch != "" {
		return op.scratch
	}
	return op.dir
}

// borrow starts a node that leaves the data directory as it is.
func (op *Opener) borrow(ctx context.Context) (_ session, err error) {
	lock := durable.LockOf(op.dir.Path("node.lock")) // not made, and not taken where nothing can be written
	if got, err := lock.TryLock(); err == nil && !got {
		return session{}, op.dir.Busy()
	}
	op.scratch = datadir.Dir(filepath.Join(os.TempDir(), "bkp-"+rand.Text()))
	tidy := func() error { return errors.Join(lock.Close(), durable.RemoveAll(string(op.scratch))) }
	defer func() {
		if err != nil {
			err = errors.Join(err, tidy())
		}
	}()
	if err := op.scratch.Make(); err != nil {
		return session{}, err
	}
	n, closers, err := op.start(ctx, wish{transient: true})
	if err != nil {
		return session{}, fmt.Errorf("without writing into %s: %w", string(op.dir), err)
	}
	return session{Caller: control.Direct(n), close: func() error {
		return errors.Join(n.Close(), closers.Close(), tidy())
	}}, nil
}

// stores opens what a node of this process stands on.
func (op *Opener) stores(signer *key.Signer, told datadir.Told) (*datadir.Stores, error) {
	if op.scratch != "" {
		return op.scratch.OpenStoresBeside(op.dir, signer, told)
	}
	return op.dir.OpenStores(signer, told)
}

// nodeKey is this node's key; one for the moment where none can be kept.
func (op *Opener) nodeKey() (*key.Signer, error) {
	if _, err := os.Stat(op.dir.Path("node.key")); err != nil {
		return op.own().NodeKey()
	}
	return op.dir.NodeKey()
}
