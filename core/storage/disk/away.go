// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/bkp-tool/bkp/core"
	"github.com/zeebo/blake3"
)

// Away remembers chunks whose bytes were let go of since peers keep them, so that a split knows them still. It is a
// Store of notes: one for each such chunk, under the id of the plain content. A note says what a chunk was, not that
// anybody keeps it today: who leans on one must know that from receipts.
//
//	note  version 1 (1) ‖ copies (1) ‖ size of the chunk's stored bytes (4, little-endian) ‖ its hash (32)
type Away struct{ store *Store }

const (
	noteVersion = 1
	noteSize    = 38
)

// OpenAway opens the notes in dir for reading and writing, making them where there are none.
func OpenAway(dir string) (*Away, error) {
	s, err := Open(dir)
	if err != nil {
		return nil, fmt.Errorf("notes: %w", err)
	}
	return &Away{s}, nil
}

// OpenAwayRead opens the notes in dir for reading only.
func OpenAwayRead(dir string) (*Away, error) {
	s, err := OpenRead(dir)
	if err != nil {
		return nil, fmt.Errorf("notes: %w", err)
	}
	return &Away{s}, nil
}

// Note remembers a chunk by the id of its plain content, and how many copies its owner wants there to be. Nothing is
// durable before a Barrier that is called after Note has returned.
func (a *Away) Note(ctx context.Context, c core.Chunk, id core.Hash, copies int) error {
	var note [noteSize]byte
	note[0], note[1] = noteVersion, byte(min(max(copies, 1), 255))
	binary.LittleEndian.PutUint32(note[2:], uint32(c.Size))
	copy(note[6:], c.Hash[:])
	_, err := a.store.Put(ctx, core.Chunk{Hash: blake3.Sum256(note[:]), Size: noteSize}, id, note[:])
	if err != nil {
		return fmt.Errorf("note chunk %s: %w", c.Hash, err)
	}
	return nil
}

// Find is the chunk whose plain content has the given id, where there is a note of it, and how many copies its owner
// wants.
func (a *Away) Find(ctx context.Context, id core.Hash) (c core.Chunk, copies int, ok bool, err error) {
	note, ok, err := a.store.Find(ctx, id)
	if !ok || err != nil {
		return c, 0, false, err
	}
	c, copies, err = a.read(ctx, note.Hash)
	if isLost(err) {
		return c, 0, false, nil
	}
	return c, copies, err == nil, err
}

// isLost reports whether a note is gone or damaged, which costs no more than that its chunk is split again.
func isLost(err error) bool {
	return errors.Is(err, core.ErrNotFound) || core.CodeOf(err) == core.CodeWrong
}

func (a *Away) read(ctx context.Context, note core.Hash) (c core.Chunk, copies int, err error) {
	data, err := a.store.Get(ctx, note, make([]byte, 0, noteSize))
	if err != nil {
		return c, 0, err
	}
	if len(data) != noteSize || data[0] != noteVersion || data[1] == 0 {
		return c, 0, core.Fail(core.CodeWrong, "a note of another form")
	}
	c.Size = core.Size(binary.LittleEndian.Uint32(data[2:]))
	copy(c.Hash[:], data[6:])
	return c, int(data[1]), nil
}

// Barrier returns when every note made before it is durable.
func (a *Away) Barrier(ctx context.Context) error { return a.store.Barrier(ctx) }

// Collect removes notes of chunks that are not kept, as Store.Collect removes chunks.
func (a *Away) Collect(ctx context.Context, kept func(chunk core.Hash) bool) (core.Collected, error) {
	return a.store.Collect(ctx, func(note core.Hash) (bool, error) {
		c, _, err := a.read(ctx, note)
		if isLost(err) {
			return false, nil
		}
		return err == nil && kept(c.Hash), err
	}, nil)
}

// Close ends the use of the notes.
func (a *Away) Close() error { return a.store.Close() }
