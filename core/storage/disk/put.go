// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"context"
	"errors"
	"fmt"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/storage/disk/pack"
	"github.com/bkp-tool/bkp/core/storage/disk/space"
)

// Put keeps the stored bytes of a chunk, which the caller has held against c.Hash; id is zero where unknown. It reports
// whether the chunk was new. Nothing is durable before a Barrier that is called after Put has returned.
func (s *Store) Put(ctx context.Context, c core.Chunk, id core.Hash, data []byte) (bool, error) {
	err := s.usable(ctx)
	isNew := false
	if err == nil {
		isNew, err = s.put(c, id, data)
	}
	if err != nil {
		return false, fmt.Errorf("put chunk %s: %w", c.Hash, err)
	}
	return isNew, nil
}

func (s *Store) put(c core.Chunk, id core.Hash, data []byte) (bool, error) {
	switch {
	case s.readOnly:
		return false, errors.New("the store is open for reading only")
	case core.Size(len(data)) != c.Size:
		return false, fmt.Errorf("%d bytes of data, want %d", len(data), c.Size)
	}
	s.appending.Lock()
	defer s.appending.Unlock()
	if known, err := s.known(c.Hash); known || err != nil {
		return false, err
	}
	return true, s.append(pack.Row{Hash: c.Hash, ID: id}, data)
}

// append adds a record to the current pack; the row tells its names. appending is held.
func (s *Store) append(r pack.Row, data []byte) error {
	name, at, err := s.packs.Append(r, data)
	if err == nil {
		s.index.Add(name, at)
	}
	return err
}

// known reports whether the store has a chunk that the next Barrier covers.
func (s *Store) known(hash core.Hash) (bool, error) {
	known, err := s.index.Has(hash)
	if err == nil {
		err = s.packs.Broken()
	}
	return known, err
}

// rotate finishes the current pack and waits for those before, and for what is merged. appending is held.
func (s *Store) rotate() error {
	err := s.packs.Rotate()
	s.index.Wait()
	return err
}

// Barrier returns when everything put or found before it is durable. Concurrent calls share their work. After a failed
// one the store takes nothing more until it is opened again, since nobody can tell what reached the disk.
func (s *Store) Barrier(ctx context.Context) error {
	if err := s.usable(ctx); err != nil {
		return fmt.Errorf("make the store durable: %w", err)
	}
	if s.readOnly {
		return errors.New("make the store durable: it is open for reading only")
	}
	s.barrier.Lock()
	defer s.barrier.Unlock()
	s.appending.Lock()
	makeDurable := s.flush()
	s.appending.Unlock() // Put goes on meanwhile
	return makeDurable()
}

// barrierHere is Barrier for who holds barrier and appending.
func (s *Store) barrierHere() error { return s.flush()() }

// flush has written what was put, and returns what makes it durable. appending is held.
func (s *Store) flush() (makeDurable func() error) {
	written := s.packs.Flush(s.index.TakeNames())
	return func() error {
		if err := written(); err != nil {
			return fmt.Errorf("make the store durable: %w", err)
		}
		return nil
	}
}

// adopt puts anew what processes that died left in packs of their own, and removes those packs once it is durable. They
// are never finished as they are: of what can be read there some may stand in memory alone, since their writer may have
// ended because a sync failed. Where there is no room they stay, and can be read. appending is held, and barrier, but
// in Open.
func (s *Store) adopt() error {
	there, err := pack.List(s.packsDir())
	if err != nil {
		return err
	}
	gone := false
	for name, finished := range there {
		if finished {
			continue
		}
		orphan, err := pack.Claim(s.packsDir(), name)
		if orphan == nil && err == nil {
			continue // somebody writes it
		}
		if err == nil {
			err = s.takeOver(orphan, name)
			orphan.Release()
		}
		if space.IsFull(err) {
			break
		}
		if err != nil {
			return fmt.Errorf("rescue pack %s: %w", name, err)
		}
		gone = true
	}
	if !gone {
		return nil
	}
	return s.index.Refresh(true)
}

// takeOver puts what is whole in a claimed pack anew, and removes it.
func (s *Store) takeOver(orphan *pack.Orphan, name string) error {
	found := false
	err := orphan.Salvage(func(r pack.Row, data []byte) error {
		found = true
		if known, err := s.known(r.Hash); known || err != nil {
			return err
		}
		return s.append(r, data)
	})
	if err == nil && found {
		err = s.barrierHere()
	}
	if err != nil {
		return err
	}
	return durable.Remove(pack.OpenPath(s.packsDir(), name))
}
