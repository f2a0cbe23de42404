// SPDX-License-Identifier: Apache-2.0

package staging

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/license"
	"github.com/bkp-tool/bkp/core/storage/live"
	"github.com/bkp-tool/bkp/core/version"
)

// Away remembers chunks whose bytes this machine let go of. store.Away is the one on disk.
type Away interface {
	Note(ctx context.Context, c core.Chunk, id core.Hash, copies int) error
	// Find is the chunk whose plain content has the given id, and how many copies its owner wants of it.
	Find(ctx context.Context, id core.Hash) (c core.Chunk, copies int, found bool, err error)
	Barrier(ctx context.Context) error
	// Collect removes what it remembers of chunks that are not kept.
	Collect(ctx context.Context, kept func(chunk core.Hash) bool) (core.Collected, error)
}

// Cover is which chunks peers have given receipts for, and how many of them, or how many losses a chunk's stripe
// bears and one: by the records of an owner's versions, about 10 bytes a chunk. It says what was promised, not who
// can be reached now.
type Cover struct {
	copies  []*live.Set   // [i]: chunks with i+1 holders
	opener  *chunk.Opener // of records, while they are read
	content bool          // no tree nodes
}

// maxCover is the most holders that a Cover tells apart.
const maxCover = 16

// CoverOf reads the records of an owner's versions, as far as their holders are bound for 30 days more. chunks has
// the stored bytes of a record. A ref or record that is lost or damaged covers nothing, and tree nodes are left out:
// a version that is split needs them on this machine.
func CoverOf(ctx context.Context, owner *key.Owner, refs []StoredRef, chunks version.Chunks) (*Cover, error) {
	c := newCover()
	c.content = true
	for _, stored := range refs {
		r, err := version.Open(owner, stored.Envelope)
		if err == nil {
			err = c.readAll(ctx, r.Body.Records, chunks)
		}
		if err != nil && core.CodeOf(err) != core.CodeWrong {
			return nil, fmt.Errorf("records of %s.%d: %w", r.Ref.Alias, r.Ref.Version, err)
		}
	}
	return c, nil
}

func newCover() *Cover {
	return &Cover{copies: make([]*live.Set, maxCover), opener: chunk.NewOpener()}
}

// readAll takes in the records of a version, as far as they are here and whole.
func (c *Cover) readAll(ctx context.Context, records []core.Sealed, chunks version.Chunks) error {
	now := time.Now()
	for _, sealed := range records {
		err := c.read(ctx, sealed, chunks, now)
		if err != nil && core.CodeOf(err) != core.CodeWrong && !errors.Is(err, core.ErrNotFound) {
			return err
		}
	}
	return nil
}

func (c *Cover) read(ctx context.Context, sealed core.Sealed, chunks version.Chunks, now time.Time) error {
	data, err := chunks.Get(ctx, sealed.Hash, nil)
	if err != nil {
		return err
	}
	r, err := version.OpenRecord(c.opener, sealed, data)
	if err != nil {
		return err
	}
	l, _, _, err := license.Open(r.License)
	if err == nil && version.BoundFor(l.RetainUntil, now) == nil {
		c.add(r)
	}
	return err
}

func (c *Cover) add(r version.Record) {
	copies := r.Copies(func(core.ID) bool { return true })
	for number, run := range r.Runs {
		holders := min(copies[number], maxCover)
		if holders == 0 || c.content && run.Type == core.TypeDirectory {
			continue
		}
		if c.copies[holders-1] == nil {
			c.copies[holders-1] = &live.Set{}
		}
		for i, chunk := range run.Chunks {
			if run.Kept().Has(i) {
				c.copies[holders-1].Add(chunk.Hash)
			}
		}
	}
}

// Copies is how many holders gave receipts for a chunk.
func (c *Cover) Copies(hash core.Hash) int {
	for i := len(c.copies) - 1; i >= 0; i-- {
		if c.copies[i] != nil && c.copies[i].Has(hash) {
			return i + 1
		}
	}
	return 0
}

func (c *Cover) empty() bool {
	return !slices.ContainsFunc(c.copies, func(s *live.Set) bool { return s != nil })
}

// Cover is the Cover of the given refs of this machine.
func (v *Versions) Cover(ctx context.Context, refs []version.Found) (*Cover, error) {
	c, r := newCover(), v.reader(ctx)
	for _, ref := range refs {
		if err := c.readAll(ctx, ref.Body.Records, r); err != nil {
			return nil, fmt.Errorf("records of %s.%d: %w", ref.Ref.Alias, ref.Ref.Version, err)
		}
	}
	return c, nil
}

// notes writes down, of what a collection takes away, what peers keep.
type notes struct {
	away  Away
	cover *Cover
}

// Note makes it core.Notes.
func (n notes) Note(ctx context.Context, c core.Chunk, id core.Hash) error {
	if copies := n.cover.Copies(c.Hash); copies > 0 {
		return n.away.Note(ctx, c, id, copies)
	}
	return nil
}

func (n notes) Barrier(ctx context.Context) error { return n.away.Barrier(ctx) }
