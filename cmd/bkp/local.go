package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/manifest"
	"github.com/bkp-tool/bkp/core/storage/disk"
)

// localChunks is what this machine's stores hold, read without disturbing who writes them.
type localChunks struct {
	stores []chunkStore
	opener *chunk.Opener
}

// chunkStore is a store as its readers need it.
type chunkStore interface {
	Get(core.Hash, []byte) ([]byte, error)
	Has(core.Hash) bool
	Close() error
}

// localChunks opens staging and holdings for reading; either may not exist yet, or be half made.
func (h house) localChunks() (*localChunks, error) {
	l := &localChunks{opener: chunk.NewOpener()}
	for _, name := range []string{"staging", "holdings"} {
		s, err := disk.OpenRead(h.path(name))
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

func (l *localChunks) Close() error {
	var errs []error
	for _, s := range l.stores {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// Get appends the stored bytes of a chunk to dst; core.ErrNotFound where no store has it, core.CodeWrong where none has it whole.
func (l *localChunks) Get(hash core.Hash, dst []byte) ([]byte, error) {
	none := core.ErrNotFound
	for _, s := range l.stores {
		stored, err := s.Get(hash, dst)
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
func (l *localChunks) Has(hash core.Hash) bool {
	for _, s := range l.stores {
		knows, ok := s.(interface{ Damaged(core.Hash) bool })
		if s.Has(hash) || ok && knows.Damaged(hash) {
			return true
		}
	}
	return false
}

// OpenNode opens a tree node of a manifest.
func (l *localChunks) OpenNode(s core.Sealed) ([]byte, error) {
	stored, err := l.Get(s.Hash, nil)
	if err != nil {
		return nil, err
	}
	return l.opener.OpenSealed(nil, core.KindNode, s, stored)
}

// complete reports whether every chunk below root is here.
func (l *localChunks) complete(ctx context.Context, root core.Sealed) (bool, error) {
	missing := errors.New("missing")
	err := manifest.Walk(root, l, func(e manifest.Entry) error {
		if !e.Hole() && !l.Has(e.Chunk.Hash) {
			return missing
		}
		return context.Cause(ctx)
	})
	if err == missing || errors.Is(err, core.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}
