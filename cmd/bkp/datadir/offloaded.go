// SPDX-License-Identifier: Apache-2.0

package datadir

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/staging"
	"github.com/bkp-tool/bkp/core/storage/disk"
)

// buildLock is DATA/leaning. Who makes a version out of chunks that only peers keep holds it shared until the version
// is there; who has peers let versions go holds it alone.
type buildLock struct{ lock *durable.Lock }

func (d Dir) buildLock() buildLock { return buildLock{durable.NewLock(d.Path("leaning"))} }

// share waits for a removal to end.
func (l buildLock) share() error {
	if err := durable.MkdirAll(filepath.Dir(l.lock.Path())); err != nil {
		return err
	}
	return l.lock.RLock()
}

// alone is core.CodeBusy while somebody builds on what peers keep.
func (l buildLock) alone() error {
	got, err := l.lock.TryLock()
	if err == nil && !got {
		err = core.WithHint(core.Fail(core.CodeBusy, "a split or backup that is running may build on what would go"),
			"wait until it has ended, and try again")
	}
	return err
}

func (l buildLock) end() { _ = l.lock.Close() }

// LockOffloaded keeps splits and backups from building on what peers keep until unlock is called; core.CodeBusy where
// one does.
func (d Dir) LockOffloaded() (unlock func(), err error) {
	l := d.buildLock()
	return l.end, l.alone()
}

// Offloaded is the chunks that this machine offloaded and whose targets still answer for them. nil knows of none.
type Offloaded struct {
	notes *disk.Away
	cover *staging.Cover
	buildLock
}

// openOffloaded finds what peers keep of the owner's chunks. Until Close, bkp rm and prune let nothing of it go.
func (d Dir) openOffloaded(ctx context.Context, o *key.Owner) (_ *Offloaded, err error) {
	if _, err := os.Stat(d.Path("away")); err != nil {
		return nil, nil
	}
	l := d.buildLock()
	if err := l.share(); err != nil {
		return nil, fmt.Errorf("build on what peers keep: %w", err)
	}
	a, err := d.readOffloaded(ctx, o)
	if err != nil {
		l.end()
		return nil, err
	}
	a.buildLock = l
	return a, nil
}

// readOffloaded is openOffloaded for who only looks: what it finds may go meanwhile, and nothing is written, a lock
// neither.
func (d Dir) readOffloaded(ctx context.Context, o *key.Owner) (a *Offloaded, err error) {
	if _, err := os.Stat(d.Path("away")); err != nil {
		return nil, nil
	}
	a = &Offloaded{buildLock: d.buildLock()}
	refs, err := d.Refs().List()
	if err != nil {
		return nil, err
	}
	local, err := d.OpenChunks(ctx)
	if err != nil {
		return nil, err
	}
	a.cover, err = staging.CoverOf(ctx, o, refs, local)
	if err = errors.Join(err, local.Close()); err != nil {
		return nil, fmt.Errorf("what peers keep: %w", err)
	}
	if a.notes, err = disk.OpenAwayRead(d.Path("away")); err != nil {
		return nil, err
	}
	return a, nil
}

// find is the chunk with the given id, where as many targets answer for it as its owner wants.
func (a *Offloaded) find(ctx context.Context, id core.Hash) (core.Chunk, bool, error) {
	if a == nil {
		return core.Chunk{}, false, nil
	}
	c, copies, ok, err := a.notes.Find(ctx, id)
	return c, ok && a.cover.Copies(c.Hash) >= copies, err
}

// has reports whether any target answers for a chunk.
func (a *Offloaded) has(hash core.Hash) bool { return a != nil && a.cover.Copies(hash) > 0 }

// Close ends the use of it; nil has nothing to close.
func (a *Offloaded) Close() error {
	if a == nil {
		return nil
	}
	defer a.end()
	if a.notes == nil {
		return nil
	}
	return a.notes.Close()
}
