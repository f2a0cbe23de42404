// SPDX-License-Identifier: Apache-2.0

package staging

import (
	"context"
	"fmt"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/manifest"
	"github.com/bkp-tool/bkp/core/storage/live"
	"github.com/bkp-tool/bkp/core/version"
)

// Sweep frees staged chunks that no ref reaches but those of versions that are away.
func (v *Versions) Sweep(ctx context.Context) (core.Collected, error) { return v.sweep(ctx, Opened{}) }

// Collect is Sweep, and forgets chunks besides that no version's holders keep any more.
func (v *Versions) Collect(ctx context.Context) (freed core.Collected, err error) {
	known := Opened{}
	if freed, err = v.sweep(ctx, known); err != nil {
		return freed, fmt.Errorf("staging: %w", err)
	}
	if v.Away != nil {
		if err = v.sweepNotes(ctx, known); err != nil {
			return freed, fmt.Errorf("notes: %w", err)
		}
	}
	return freed, nil
}

// sweep marks when it is first asked, so that a version which was split a moment ago is seen; where marking fails
// nothing goes.
func (v *Versions) sweep(ctx context.Context, known Opened) (freed core.Collected, err error) {
	err = v.Pins.Sweep(func() error {
		gone, err := v.notes(ctx, known)
		if err != nil {
			return err
		}
		var needed *live.Set
		freed, err = v.Staged.Collect(ctx, func(h core.Hash) (bool, error) {
			if needed == nil {
				if needed, err = v.live(ctx, known); err != nil {
					return false, err
				}
			}
			return needed.Has(h), nil
		}, gone)
		return err
	})
	return freed, err
}

// notes is who remembers what goes out of staging; nil: nobody.
func (v *Versions) notes(ctx context.Context, known Opened) (core.Notes, error) {
	if v.Away == nil {
		return nil, nil
	}
	refs, err := v.local("", known)
	if err != nil {
		return nil, err
	}
	cover, err := v.Cover(ctx, refs)
	if err != nil || cover.empty() {
		return nil, err
	}
	return notes{v.Away, cover}, nil
}

// sweepNotes forgets chunks that no version's holders keep any more.
func (v *Versions) sweepNotes(ctx context.Context, known Opened) error {
	refs, err := v.local("", known)
	if err != nil {
		return err
	}
	cover, err := v.Cover(ctx, refs)
	if err != nil {
		return err
	}
	_, err = v.Away.Collect(ctx, func(h core.Hash) bool { return cover.Copies(h) > 0 })
	return err
}

// live is every chunk that a ref of this machine reaches, but the content of versions that are away.
func (v *Versions) live(ctx context.Context, known Opened) (*live.Set, error) {
	needed := v.Pins.Pinned()
	refs, err := v.local("", known)
	if err != nil {
		return nil, err
	}
	r := v.reader(ctx)
	whole := map[core.Hash]bool{} // tree nodes below which all is marked: versions have most of them in common
	for _, ref := range refs {
		for _, sealed := range ref.Body.Records {
			needed.Add(sealed.Hash)
		}
		if ref.Body.Forgotten() {
			continue // nothing here can read the rest
		}
		err := manifest.Nodes(ref.Body.Root, r, func(e manifest.Entry) error {
			switch {
			case e.Type == core.TypeDirectory && whole[e.Chunk.Hash]:
				return manifest.SkipNode
			case e.Type == core.TypeDirectory:
				needed.Add(e.Chunk.Hash)
				if !ref.Away {
					whole[e.Chunk.Hash] = true
				}
			case !e.Hole() && !ref.Away:
				needed.Add(e.Chunk.Hash)
			}
			return context.Cause(ctx)
		})
		if err != nil { // what whole says is not so: nothing may go
			return nil, fmt.Errorf("%s@%d: %w", ref.Body.Name, ref.Ref.Version, err)
		}
	}
	return needed, v.unfinished(ctx, r, needed)
}

// unfinished adds what interrupted splits may go on from. What of it is lost already is no reason to keep the rest.
func (v *Versions) unfinished(ctx context.Context, r *version.Reader, needed *live.Set) error {
	u, ok := v.Refs.(Unfinished)
	if !ok {
		return nil
	}
	stored, err := u.Unfinished()
	if err != nil {
		return err
	}
	for _, s := range stored {
		ref, err := version.Open(v.Owner(), s.Envelope)
		if err != nil {
			continue
		}
		for _, sealed := range ref.Body.Records {
			needed.Add(sealed.Hash)
		}
		_ = manifest.Nodes(ref.Body.Root, r, func(e manifest.Entry) error {
			if !e.Hole() {
				needed.Add(e.Chunk.Hash)
			}
			return context.Cause(ctx)
		})
	}
	return context.Cause(ctx)
}
