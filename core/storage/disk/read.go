// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/storage/disk/index"
	"github.com/bkp-tool/bkp/core/storage/disk/pack"
)

// Has reports whether the store has a chunk with this hash, condemned or not, that is not known to be damaged.
func (s *Store) Has(ctx context.Context, hash core.Hash) (bool, error) {
	at, ok, err := s.look(ctx, hash)
	return ok && !s.index.Damaged(at.Pack(), at.Offset), err
}

// Damaged reports whether the store has a chunk, and has it damaged as far as it knows.
func (s *Store) Damaged(ctx context.Context, hash core.Hash) (bool, error) {
	at, ok, err := s.look(ctx, hash)
	return ok && s.index.Damaged(at.Pack(), at.Offset), err
}

// look finds the record of a hash, also one that another process has added since the store was last looked through.
func (s *Store) look(ctx context.Context, hash core.Hash) (at index.Place, ok bool, err error) {
	if err := s.usable(ctx); err != nil {
		return at, false, err
	}
	return s.index.Look(hash)
}

// PackOf is the name of the pack that a chunk is read from, "" where it is not here.
func (s *Store) PackOf(ctx context.Context, hash core.Hash) (name string, err error) {
	at, ok, err := s.look(ctx, hash)
	if ok {
		name = at.Pack()
	}
	return name, err
}

// Find is the chunk whose plain content has the given id, where the store knows, the next Barrier covers it, and no
// collection had condemned it when the store was opened. It does not look for what other processes added since: missing
// an equal chunk costs space, and every new chunk of a split is a miss.
func (s *Store) Find(ctx context.Context, id core.Hash) (c core.Chunk, found bool, err error) {
	if err := s.usable(ctx); id.IsZero() || err != nil {
		return core.Chunk{}, false, err
	}
	return s.index.Find(id, func(at index.Place) (r pack.Row, err error) {
		err = s.packs.Use(ctx, at.Pack(), at.Offset, func(f pack.Reader) error {
			r, err = pack.ReadHeader(f, at.Offset)
			return err
		})
		return r, err
	})
}

// Get appends the stored bytes of a chunk to dst, durable or not. Bytes that do not match the hash are core.CodeWrong;
// a chunk that is not here is core.ErrNotFound.
func (s *Store) Get(ctx context.Context, hash core.Hash, dst []byte) ([]byte, error) {
	var data []byte
	err := s.record(ctx, hash, func(f pack.Reader, r pack.Row) (err error) {
		data, err = pack.ReadData(f, r, dst)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("get chunk %s: %w", hash, err)
	}
	return data, nil
}

// record calls read with the record that has this hash and its pack open.
func (s *Store) record(ctx context.Context, hash core.Hash, read func(pack.Reader, pack.Row) error) error {
	for again := false; ; again = true {
		at, ok, err := s.look(ctx, hash)
		if !ok && err == nil {
			err = core.ErrNotFound
		}
		if err != nil {
			return err
		}
		err = s.packs.Use(ctx, at.Pack(), at.Offset, func(f pack.Reader) error {
			r, err := headerOf(f, at.Offset, hash)
			if err != nil {
				return err
			}
			return read(f, r)
		})
		if errors.Is(err, fs.ErrNotExist) && !again { // swept by another process
			if err = s.index.Refresh(true); err == nil {
				continue
			}
		}
		wrong := core.CodeOf(err) == core.CodeWrong
		comes := s.index.Grows(at)
		// Of bytes of ours that are not what they were.
		if wrong && !comes && s.index.Distrust(at) && s.index.Refresh(false) == nil {
			if other, ok, _ := s.index.At(hash); ok && other != at {
				continue // it was put again after somebody noticed
			}
		}
		if errors.Is(err, fs.ErrNotExist) || wrong && comes {
			err = core.ErrNotFound
		}
		return err
	}
}

// headerOf reads the header of the record that has this hash.
func headerOf(f pack.Reader, offset uint32, hash core.Hash) (pack.Row, error) {
	r, err := pack.ReadHeader(f, offset)
	if err == nil && r.Hash != hash {
		err = core.Fail(core.CodeWrong, "pack %s has chunk %s at %d instead", f.Name(), r.Hash, offset)
	}
	return r, err
}
