// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/storage/disk/check"
	"github.com/bkp-tool/bkp/core/storage/disk/collect"
	"github.com/bkp-tool/bkp/core/storage/disk/damage"
	"github.com/bkp-tool/bkp/core/storage/disk/index"
	"github.com/bkp-tool/bkp/core/storage/disk/pack"
)

// ErrLocked is what a collection meets while another one is under way. It is core.CodeBusy.
var ErrLocked = errors.New("the store is in use by another process")

// Collect removes what is not live, as package collect tells. It must see every use that this Store's own process makes
// of the store: chunks that were put but that live does not know yet go too, and Put and Barrier of this Store wait.
// live may use Get, Has and Find. Of every chunk with a known id that is not live, gone is told before its bytes go,
// also where they must wait, and made durable; nil: nobody is told. Another collection under way is ErrLocked.
func (s *Store) Collect(ctx context.Context, live func(core.Hash) (bool, error),
	gone core.Notes) (core.Collected, error) {
	report, err := s.collect(ctx, live, gone)
	return report.Collected, err
}

func (s *Store) collect(ctx context.Context, live func(core.Hash) (bool, error),
	gone core.Notes) (report collect.Report, err error) {
	if err := s.usable(ctx); err != nil {
		return report, fmt.Errorf("sweep: %w", err)
	}
	if s.readOnly {
		return report, errors.New("sweep: the store is open for reading only")
	}
	s.collecting.Lock()
	defer s.collecting.Unlock()
	report, err = s.collectAlone(ctx, live, gone)
	if err == nil {
		err = s.tidy()
	}
	if err != nil {
		err = fmt.Errorf("sweep: %w", err)
	}
	return report, err
}

// collectAlone is the part of a collection while which Put and Barrier wait. They must from the moment that live is
// first asked: it need not know of what comes after.
func (s *Store) collectAlone(ctx context.Context, live func(core.Hash) (bool, error),
	gone core.Notes) (report collect.Report, err error) {
	s.barrier.Lock()
	defer s.barrier.Unlock()
	s.appending.Lock()
	defer s.appending.Unlock()
	gate, err := s.writers.CloseGate()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return report, core.WithHint(core.Fail(core.CodeBusy, "%w", ErrLocked),
			"try again when the other command has ended")
	}
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, gate.Close()) }()
	s.packs.MakesRoom(true)
	defer s.packs.MakesRoom(false)
	if err = s.adopt(); err == nil {
		err = s.rotate()
	}
	if err != nil {
		return report, err
	}
	return collect.Run(ctx, collect.Job{Dir: s.packsDir(), PackSize: core.Size(s.packSize),
		Store: &collected{Index: s.index, ctx: ctx, store: s}, Writers: s.writers, Self: s.self, Live: live, Gone: gone,
		Step: s.stepped})
}

// tidy removes what nobody needs beside the packs, and makes the index anew where any of its rows is damaged: others
// notice that only when they look for it. That reads all of the index, more than all tables of packs: Put and Barrier
// go on meanwhile.
func (s *Store) tidy() error {
	if s.stepped != nil {
		s.stepped("tidying")
	}
	s.index.Tidy()
	damage.Notes(filepath.Join(s.dir, "damaged")).Tidy(func(name string) bool {
		_, err := os.Stat(pack.Path(s.packsDir(), name))
		return errors.Is(err, fs.ErrNotExist)
	})
	found, _, err := check.Index(context.Background(), s.dir, true)
	if err != nil || len(found) == 0 {
		return err
	}
	return s.index.Remake()
}

// collected is the store for a collection, which holds appending.
type collected struct {
	*index.Index
	ctx   context.Context
	store *Store
	data  []byte
}

// Elsewhere reports whether a chunk stands, whole, in a finished pack where others may lean on it.
func (c *collected) Elsewhere(hash core.Hash) (bool, error) {
	at, ok, err := c.At(hash)
	if !ok || err != nil {
		return false, err
	}
	if firm, _ := c.Standing(at); !firm {
		return false, nil
	}
	err = c.store.packs.Use(c.ctx, at.Pack(), at.Offset, func(f pack.Reader) error {
		r, err := headerOf(f, at.Offset, hash)
		if err == nil {
			c.data, err = pack.ReadData(f, r, c.data[:0])
		}
		return err
	})
	return err == nil, nil
}

// Copied reports whether a chunk stands in a pack that this process is writing.
func (c *collected) Copied(hash core.Hash) (bool, error) {
	at, ok, err := c.At(hash)
	if !ok || err != nil {
		return false, err
	}
	_, mine := c.Standing(at)
	return mine, nil
}

// Copy appends a record of a pack to one that this process is writing.
func (c *collected) Copy(name string, r pack.Row) error {
	err := c.store.packs.Use(c.ctx, name, r.Offset, func(f pack.Reader) (err error) {
		c.data, err = pack.ReadData(f, r, c.data[:0])
		return err
	})
	if err != nil {
		return err
	}
	return c.store.append(r, c.data)
}

// Rotate finishes what this process is writing.
func (c *collected) Rotate() error { return c.store.rotate() }

// Rebuild reads through a pack whose table is lost.
func (c *collected) Rebuild(name string) ([]pack.Row, error) {
	return c.store.packs.Rebuild(name, true)
}

// Locked is until when a pack cannot be removed, where packs can be locked.
func (c *collected) Locked(name string) (until time.Time, err error) {
	if p, is := c.store.packs.(LockedPacks); is {
		until, err = p.Locked(name)
	}
	return until, err
}

// Remove removes a pack.
func (c *collected) Remove(name string) error { return c.store.packs.Remove(name) }

// Hold makes every collection that ends after now wait with what it condemns until release is called, as if another
// process had the store open for writing. It is for who finds chunks through a Store that lives longer than the work
// that needs them.
func (s *Store) Hold(ctx context.Context) (release func() error, err error) {
	if err := s.usable(ctx); err != nil {
		return nil, fmt.Errorf("hold the store: %w", err)
	}
	if s.readOnly {
		return nil, errors.New("hold the store: it is open for reading only")
	}
	w, list, err := s.writers.Enter()
	if err == nil {
		err = s.index.Condemn(list.Packs)
	}
	if err != nil {
		return nil, fmt.Errorf("hold the store: %w", err)
	}
	return w.Leave, nil
}
