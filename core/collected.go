// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"time"
)

// Collected is what a collection of garbage came to in one store. All sizes are stored bytes of chunks.
type Collected struct {
	Freed     Size     `json:"freed"`     // of chunks that nobody needs, or that were there twice
	Rewritten Size     `json:"rewritten"` // of chunks that are needed, copied so that packs could go
	Waiting   Size     `json:"waiting"`   // of packs that nobody needs: they go once Writers have ended
	Dead      Size     `json:"dead"`      // of chunks that nobody needs, in packs that stay for the sake of others
	Writers   []Writer `json:"writers,omitempty"`

	// Locked is of packs that nobody needs and nobody can remove yet, where the store locks what it keeps. The first of
	// them can go at LockedUntil, and all of them can at AllLockedUntil; a collection after that removes them.
	Locked         Size      `json:"locked,omitempty"`
	LockedUntil    time.Time `json:"locked_until,omitzero"`
	AllLockedUntil time.Time `json:"all_locked_until,omitzero"`
}

// Lock counts a pack that nobody needs and that is locked until then.
func (c *Collected) Lock(bytes Size, until time.Time) {
	c.Locked += bytes
	if c.LockedUntil.IsZero() || until.Before(c.LockedUntil) {
		c.LockedUntil = until
	}
	if until.After(c.AllLockedUntil) {
		c.AllLockedUntil = until
	}
}

// Writer is who writes to a store and may lean on what was in it when it began.
type Writer struct {
	PID   int       `json:"pid"`
	Epoch uint64    `json:"epoch"` // how many times a collection had condemned packs by then
	Since time.Time `json:"since"`
}

// Notes remembers chunks that a store lets go of: Note is told each with the id of its plain content, and Barrier
// returns when all that it was told is durable.
type Notes interface {
	Note(ctx context.Context, c Chunk, id Hash) error
	Barrier(ctx context.Context) error
}
