// SPDX-License-Identifier: Apache-2.0

package collect

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/storage/disk/pack"
)

// worthRewriting reports whether half of a pack is dead or more, or damaged records stand in it that were put again
// since. At a half, what is copied is at most what that frees, and what stands on the disk at most twice what is
// needed; at a fifth, every byte freed would cost four to be written, and at four fifths, the disk might hold five
// times what is needed.
func (v verdict) worthRewriting() bool {
	return v.dead > 0 && 2*v.dead >= v.bytes || v.replaced > 0 && v.lost == 0
}

// mergeLeast is how many packs are worth being made one: fewer cost readers next to nothing.
const mergeLeast = 8

// worthMerging is those of the packs that are better one: the smallest, up to the first that is as large as half a pack
// or much larger than all before it together. So a byte is copied a few times at most, however many small versions
// come.
func worthMerging(packs []judged, packSize core.Size) []judged {
	slices.SortFunc(packs, func(a, b judged) int { return cmp.Compare(a.bytes, b.bytes) })
	half, smallest := packSize/2, packSize/64
	n, sum := 0, core.Size(0)
	for n < len(packs) && packs[n].bytes <= min(half, max(2*sum, smallest)) {
		sum += packs[n].bytes
		n++
	}
	if n < mergeLeast {
		return nil
	}
	return packs[:n]
}

// rewrite copies what is needed of packs into new ones, a new pack's worth at a time, and removes them. Nobody else
// writes, so that they can go at once; where somebody comes meanwhile, those that are copied wait and the others stay
// as they are.
func (c *collection) rewrite(packs []judged) error {
	for len(packs) > 0 && c.alone {
		var batch []string
		for copied := core.Size(0); len(packs) > 0 && copied < c.PackSize; packs = packs[1:] {
			batch = append(batch, packs[0].name)
			copied += packs[0].bytes - packs[0].dead
		}
		whole, err := c.copyAll(batch)
		if err == nil {
			err = c.removeAll(whole)
		}
		if err != nil || len(whole) < len(batch) {
			err = errors.Join(err, c.Store.Condemn(c.list.Packs)) // nothing but the list counts
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// copyAll makes what is needed of packs durable in new ones, and returns those of which it could copy all.
func (c *collection) copyAll(packs []string) (whole []string, err error) {
	list := maps.Clone(c.list.Packs)
	for _, p := range packs {
		list[p] = c.list.Epoch + 1 // what is in them is looked for elsewhere first
	}
	if err := c.Store.Condemn(list); err != nil {
		return nil, err
	}
	for _, p := range packs {
		err := c.copyPack(p)
		switch {
		case err == nil:
			whole = append(whole, p)
		case core.CodeOf(err) == core.CodeWrong || errors.Is(err, fs.ErrNotExist):
			// It is damaged: verify says where, and the pack stays as it is.
		default:
			return nil, fmt.Errorf("rewrite pack %s: %w", p, err)
		}
	}
	if err := errors.Join(c.Store.Rotate(), durable.SyncDir(c.Dir)); err != nil {
		return nil, fmt.Errorf("rewrite packs: %w", err)
	}
	c.step("copied")
	return whole, nil
}

func (c *collection) copyPack(name string) error {
	rows, err := pack.Rows(c.Dir, name)
	if err != nil {
		return err
	}
	// they stand as the file has them
	slices.SortFunc(rows, func(a, b pack.Row) int { return cmp.Compare(a.Offset, b.Offset) })
	for _, r := range rows {
		live, err := c.Live(r.Hash)
		there := false
		if err == nil && live {
			there, err = c.isCopied(r.Hash)
		}
		if err != nil {
			return err
		}
		if !live || there {
			continue
		}
		if err := c.Store.Copy(name, r); err != nil {
			return err
		}
		c.report.Rewritten += core.Size(r.Size)
		c.copied[name] += core.Size(r.Size)
	}
	return nil
}

// isCopied reports whether a chunk stands elsewhere, or was copied a moment ago, out of another pack.
func (c *collection) isCopied(hash core.Hash) (bool, error) {
	if there, err := c.Store.Elsewhere(hash); there || err != nil {
		return there, err
	}
	return c.Store.Copied(hash)
}
