// SPDX-License-Identifier: Apache-2.0

package datadir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/manifest"
	"github.com/bkp-tool/bkp/core/storage"
)

// Chunks is what this machine's stores hold, read without disturbing who writes them.
type Chunks struct {
	ctx    context.Context // of the command
	stores []ChunkStore
	opener *chunk.Opener
}

// ChunkStore is a store as its readers need it.
type ChunkStore interface {
	Get(ctx context.Context, hash core.Hash, dst []byte) ([]byte, error)
	Has(ctx context.Context, hash core.Hash) (bool, error)
	Close() error
}

// NewChunks is the chunks of those stores; ctx is that of the command.
func NewChunks(ctx context.Context, stores ...ChunkStore) *Chunks {
	return &Chunks{ctx: ctx, stores: stores, opener: chunk.NewOpener()}
}

// OpenChunks opens staging and holdings for reading; either may not exist yet, or be half made.
func (d Dir) OpenChunks(ctx context.Context) (*Chunks, error) {
	l := NewChunks(ctx)
	for _, name := range []string{"staging", "holdings"} {
		var s storage.Collector
		var err error
		if name == "holdings" {
			s, err = d.readKeeping(ctx)
		} else {
			s, err = readChunks(d.Path(name))
		}
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open %s: %w", name, err), l.Close())
		}
		l.stores = append(l.stores, s)
	}
	return l, nil
}

func (l *Chunks) Close() error {
	var errs []error
	for _, s := range l.stores {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// Get appends the stored bytes of a chunk to dst; core.ErrNotFound where no store has it, core.CodeWrong where none has
// it whole.
func (l *Chunks) Get(ctx context.Context, hash core.Hash, dst []byte) ([]byte, error) {
	none := core.ErrNotFound
	for _, s := range l.stores {
		stored, err := s.Get(ctx, hash, dst)
		switch {
		case core.CodeOf(err) == core.CodeWrong:
			none = err
		case !errors.Is(err, core.ErrNotFound):
			return stored, err
		}
	}
	return dst, none
}

// Has reports whether a store has the chunk, whole or not.
func (l *Chunks) Has(ctx context.Context, hash core.Hash) (bool, error) {
	for _, s := range l.stores {
		has, err := s.Has(ctx, hash)
		if doubter, ok := s.(storage.Doubter); ok && !has && err == nil {
			has, err = doubter.Damaged(ctx, hash)
		}
		if has || err != nil {
			return has, err
		}
	}
	return false, nil
}

// OpenNode opens a tree node of a manifest.
func (l *Chunks) OpenNode(s core.Sealed) ([]byte, error) {
	stored, err := l.Get(l.ctx, s.Hash, nil)
	if err != nil {
		return nil, err
	}
	return l.opener.OpenSealed(nil, core.KindNode, s, stored)
}

// Complete reports whether every chunk below root is here.
func (l *Chunks) Complete(ctx context.Context, root core.Sealed) (bool, error) {
	missing := errors.New("missing")
	err := manifest.Walk(root, l, func(e manifest.Entry) error {
		if e.Hole() {
			return context.Cause(ctx)
		}
		has, err := l.Has(ctx, e.Chunk.Hash)
		if err == nil && !has {
			err = missing
		}
		return err
	})
	if err == missing || errors.Is(err, core.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}
