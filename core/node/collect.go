// SPDX-License-Identifier: Apache-2.0

package node

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/manifest"
	"github.com/bkp-tool/bkp/core/storage/live"
	"github.com/bkp-tool/bkp/core/version"
)

// Collect frees what nobody needs: staged chunks that no ref reaches but those of versions that are away, and kept ones
// that no holding needs.
func (n *Node) Collect(ctx context.Context, _ control.None, status func(control.Status)) (control.GCResult, error) {
	began := time.Now()
	var result control.GCResult
	n.collecting.Lock()
	defer n.collecting.Unlock()
	status(control.Status{Phase: "records"})
	found, err := n.target.Check(ctx)
	if err = cmp.Or(err, found.Err()); err != nil {
		return result, fmt.Errorf("gc: nothing is freed: %w", err)
	}
	known := openedRefs{}
	status(control.Status{Phase: "staging"})
	if n.owner() != nil {
		var err error
		if result.Staging, err = n.sweepStaging(ctx, known); err != nil {
			return result, fmt.Errorf("gc: staging: %w", err)
		}
	}
	if n.Away != nil && n.owner() != nil {
		if err := n.sweepNotes(ctx, known); err != nil {
			return result, fmt.Errorf("gc: notes: %w", err)
		}
	}
	status(control.Status{Phase: "holdings"})
	if result.Holdings, err = n.target.Collect(ctx); err != nil {
		return result, fmt.Errorf("gc: holdings: %w", err)
	}
	if result.StagingKept, err = n.Staging.Used(ctx); err != nil {
		return result, err
	}
	if result.HoldingsKept, err = n.Keeping.Used(ctx); err != nil {
		return result, err
	}
	result.StagingFreed, result.HoldingsFreed = result.Staging.Freed, result.Holdings.Freed
	result.Seconds = time.Since(began).Seconds()
	return result, nil
}

// sweepStaging marks when it is first asked, so that a version which was split a moment ago is seen; where marking
// fails nothing goes.
func (n *Node) sweepStaging(ctx context.Context, known openedRefs) (freed core.Collected, err error) {
	err = n.stagedPins.Sweep(func() error {
		gone, err := n.notes(ctx, known)
		if err != nil {
			return err
		}
		var needed *live.Set
		freed, err = n.Staging.Collect(ctx, func(h core.Hash) (bool, error) {
			if needed == nil {
				if needed, err = n.stagedLive(ctx, known); err != nil {
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
func (n *Node) notes(ctx context.Context, known openedRefs) (core.Notes, error) {
	if n.Away == nil {
		return nil, nil
	}
	refs, err := n.openRefs("", known)
	if err != nil {
		return nil, err
	}
	cover, err := n.cover(ctx, refs)
	if err != nil || cover.Empty() {
		return nil, err
	}
	return notes{n.Away, cover}, nil
}

// sweepNotes forgets chunks that no version's holders keep any more.
func (n *Node) sweepNotes(ctx context.Context, known openedRefs) error {
	refs, err := n.openRefs("", known)
	if err != nil {
		return err
	}
	cover, err := n.cover(ctx, refs)
	if err != nil {
		return err
	}
	_, err = n.Away.Collect(ctx, func(h core.Hash) bool { return cover.Copies(h) > 0 })
	return err
}

// stagedLive is every chunk that a ref of this machine reaches, but the content of versions that are away.
func (n *Node) stagedLive(ctx context.Context, known openedRefs) (*live.Set, error) {
	needed := n.stagedPins.Pinned()
	refs, err := n.openRefs("", known)
	if err != nil {
		return nil, err
	}
	v := n.reader(ctx)
	whole := map[core.Hash]bool{} // tree nodes below which all is marked: versions have most of them in common
	for _, r := range refs {
		for _, sealed := range r.Body.Records {
			needed.Add(sealed.Hash)
		}
		err := manifest.Nodes(r.Body.Root, v, func(e manifest.Entry) error {
			switch {
			case e.Type == core.TypeDirectory && whole[e.Chunk.Hash]:
				return manifest.SkipNode
			case e.Type == core.TypeDirectory:
				needed.Add(e.Chunk.Hash)
				if !r.Away {
					whole[e.Chunk.Hash] = true
				}
			case !e.Hole() && !r.Away:
				needed.Add(e.Chunk.Hash)
			}
			return context.Cause(ctx)
		})
		if err != nil { // what whole says is not so: nothing may go
			return nil, fmt.Errorf("%s@%d: %w", r.Body.Name, r.Ref.Version, err)
		}
	}
	return needed, n.unfinishedLive(ctx, v, needed)
}

// unfinishedLive adds what interrupted splits may go on from. What of it is lost already is no reason to keep the rest.
func (n *Node) unfinishedLive(ctx context.Context, v *version.Reader, needed *live.Set) error {
	u, ok := n.Refs.(Unfinished)
	if !ok {
		return nil
	}
	stored, err := u.Unfinished()
	if err != nil {
		return err
	}
	for _, s := range stored {
		r, err := version.Open(n.owner(), s.Envelope)
		if err != nil {
			continue
		}
		for _, sealed := range r.Body.Records {
			needed.Add(sealed.Hash)
		}
		_ = manifest.Nodes(r.Body.Root, v, func(e manifest.Entry) error {
			if !e.Hole() {
				needed.Add(e.Chunk.Hash)
			}
			return context.Cause(ctx)
		})
	}
	return context.Cause(ctx)
}
