package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/node"
	"github.com/bkp-tool/bkp/core/storage/disk"
)

// leaning is held shared by who makes a version out of chunks that only peers keep, until the version is there, and
// alone by who has peers let versions go: DATA/leaning.
type leaning struct{ lock *durable.Lock }

func (h house) leaning() leaning { return leaning{durable.NewLock(h.path("leaning"))} }

// share waits for a removal to end.
func (l leaning) share() error {
	if err := durable.MkdirAll(filepath.Dir(l.lock.Path())); err != nil {
		return err
	}
	return l.lock.RLock()
}

// alone is core.CodeBusy while somebody leans on what peers keep.
func (l leaning) alone() error {
	got, err := l.lock.TryLock()
	if err == nil && !got {
		err = core.WithHint(core.Fail(core.CodeBusy, "a split or backup that is running may build on what would go"),
			"wait until it has ended, and try again")
	}
	return err
}

func (l leaning) end() { _ = l.lock.Close() }

// awayChunks is the chunks that this machine let go of and whose holders still answer for them. nil knows of none.
type awayChunks struct {
	notes *disk.Away
	cover *node.Cover
	leaning
}

// openAway finds what peers keep of the owner's chunks. Until Close, bkp rm and prune let nothing of it go.
func (h house) openAway(ctx context.Context, o *key.Owner) (_ *awayChunks, err error) {
	if _, err := os.Stat(h.path("away")); err != nil {
		return nil, nil
	}
	l := h.leaning()
	if err := l.share(); err != nil {
		return nil, fmt.Errorf("lean on what peers keep: %w", err)
	}
	a, err := h.readAway(ctx, o)
	if err != nil {
		l.end()
		return nil, err
	}
	a.leaning = l
	return a, nil
}

// readAway is openAway for who only looks: what it finds may go meanwhile, and nothing is written, a lock neither.
func (h house) readAway(ctx context.Context, o *key.Owner) (a *awayChunks, err error) {
	if _, err := os.Stat(h.path("away")); err != nil {
		return nil, nil
	}
	a = &awayChunks{leaning: h.leaning()}
	refs, err := h.refs().List()
	if err != nil {
		return nil, err
	}
	local, err := h.localChunks(ctx)
	if err != nil {
		return nil, err
	}
	a.cover, err = node.CoverOf(ctx, o, refs, local)
	if err = errors.Join(err, local.Close()); err != nil {
		return nil, fmt.Errorf("what peers keep: %w", err)
	}
	if a.notes, err = disk.OpenAwayRead(h.path("away")); err != nil {
		return nil, err
	}
	return a, nil
}

// find is the chunk with the given id, where as many holders answer for it as its owner wants.
func (a *awayChunks) find(ctx context.Context, id core.Hash) (core.Chunk, bool, error) {
	if a == nil {
		return core.Chunk{}, false, nil
	}
	c, copies, ok, err := a.notes.Find(ctx, id)
	return c, ok && a.cover.Copies(c.Hash) >= copies, err
}

// has reports whether any holder answers for a chunk.
func (a *awayChunks) has(hash core.Hash) bool { return a != nil && a.cover.Copies(hash) > 0 }

// Close lets go of it; nil has nothing to close.
func (a *awayChunks) Close() error {
	if a == nil {
		return nil
	}
	defer a.end()
	if a.notes == nil {
		return nil
	}
	return a.notes.Close()
}

// splitStore is staging, and what went out of it since peers keep it.
type splitStore struct {
	*disk.Store
	away *awayChunks
}

// Find is Store.Find with what is away.
func (s splitStore) Find(ctx context.Context, id core.Hash) (core.Chunk, bool, error) {
	if c, found, err := s.Store.Find(ctx, id); found || err != nil {
		return c, found, err
	}
	return s.away.find(ctx, id)
}

// Has is Store.Has with what is away.
func (s splitStore) Has(ctx context.Context, hash core.Hash) (bool, error) {
	if s.away.has(hash) {
		return true, nil
	}
	return s.Store.Has(ctx, hash)
}
