// SPDX-License-Identifier: Apache-2.0

package place

import (
	"context"
	"fmt"
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/manifest"
	"github.com/bkp-tool/bkp/core/version"
)

// Removed is what a removal came to.
type Removed struct {
	Versions []int
	Released []Released
	Unheard  []Unheard // holders that could not be told: unless forced, the version stays
}

// Released is what one holder let go.
type Released struct {
	Node  core.ID
	Runs  int
	Bytes core.Size
}

// Unheard is a holder that could not be told, and why.
type Unheard struct {
	Node    core.ID
	Address string
	Reason  string
}

// Remove forgets a version of a name, or all where number is 0, and has its holders let go of it. Its bytes go with the
// next collection here, and by themselves there. With force it is forgotten also where holders cannot be told.
func (c *Coordinator) Remove(ctx context.Context, name string, number int, force bool,
	tell func(Status)) (r Removed, err error) {
	owner, err := c.Owner("rm")
	if err != nil {
		return r, err
	}
	refs, err := c.Versions.Local(owner.Alias(name))
	if err != nil {
		return r, err
	}
	refs = slices.DeleteFunc(refs, func(r version.Found) bool { return number != 0 && r.Ref.Version != number })
	if len(refs) == 0 {
		return r, fmt.Errorf("rm %s: %w", name, notHere(number))
	}
	if err := c.leansOn(ctx, refs); err != nil {
		return r, fmt.Errorf("rm %s: %w", name, err)
	}
	c.Peers.Await(ctx)
	for _, ref := range refs {
		if len(ref.Body.Records) > 0 {
			tell(Status{Phase: "release", Text: fmt.Sprintf("%s@%d", name, ref.Ref.Version)})
			before := len(r.Unheard)
			if err := c.releaseVersion(ctx, ref, &r); err != nil {
				return r, err
			}
			if len(r.Unheard) > before && !force {
				continue // its ref stays, so that it can be removed again
			}
		}
		if err := c.Refs.Remove(ref.Ref.Alias, ref.Ref.Version); err != nil {
			return r, fmt.Errorf("rm %s@%d: %w", name, ref.Ref.Version, err)
		}
		r.Versions = append(r.Versions, ref.Ref.Version)
	}
	return r, nil
}

// leansOn is an error where a version that was not placed yet consists of chunks that peers keep for none but those
// that are to go.
func (c *Coordinator) leansOn(ctx context.Context, gone []version.Found) error {
	all, err := c.Versions.Local("")
	if err != nil {
		return err
	}
	placed := func(r version.Found) bool { return len(r.Body.Records) > 0 }
	left := slices.DeleteFunc(slices.Clone(all), func(r version.Found) bool {
		return slices.ContainsFunc(gone, func(g version.Found) bool {
			return g.Ref.Alias == r.Ref.Alias && g.Ref.Version == r.Ref.Version
		})
	})
	lean := slices.DeleteFunc(slices.Clone(left), placed)
	if len(lean) == 0 || !slices.ContainsFunc(gone, placed) {
		return nil
	}
	before, err := c.Cover(ctx, all)
	if err != nil {
		return err
	}
	after, err := c.Cover(ctx, left)
	if err != nil {
		return err
	}
	reader := version.NewReader(ctx, c.Here)
	for _, r := range lean {
		err := manifest.Walk(r.Body.Root, reader, func(e manifest.Entry) error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			h := e.Chunk.Hash
			if e.Hole() || before(h) == 0 || after(h) > 0 {
				return nil
			}
			here, err := c.Staging.Has(ctx, h)
			if err == nil && !here {
				err = core.WithHint(core.Fail(core.CodeFailed,
					"%s@%d is not placed yet and needs chunks that only this version's holders have", r.Body.Name,
					r.Ref.Version), "bkp place %s@%d first, or bkp rm it", r.Body.Name, r.Ref.Version)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// releaseVersion tells every holder of a version that it may let go.
func (c *Coordinator) releaseVersion(ctx context.Context, ref version.Found, r *Removed) error {
	type share struct {
		holder core.ID
		task   core.TaskID // a version that was backed up has many until it is placed as a whole
	}
	var shares []share
	reader := version.NewReader(ctx, c.Here)
	for _, sealed := range ref.Body.Records {
		rec, err := reader.Record(sealed)
		if err != nil {
			return err
		}
		for _, span := range rec.Spans {
			if s := (share{span.Node, rec.Task}); !slices.Contains(shares, s) {
				shares = append(shares, s)
			}
		}
	}
	for _, s := range shares {
		done, err := c.Release(ctx, s.holder, s.task, ref.Ref.Alias, ref.Ref.Version)
		if err != nil {
			r.Unheard = append(r.Unheard, Unheard{Node: s.holder,
				Address: c.Peers.Known([]core.ID{s.holder})[s.holder].Address, Reason: err.Error()})
			continue
		}
		r.Released = append(r.Released, Released{Node: s.holder, Runs: done.Runs, Bytes: done.Bytes})
	}
	return nil
}
