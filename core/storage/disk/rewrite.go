// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
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
func (c *sweep) worthMerging(packs []sparse) []sparse {
	slices.SortFunc(packs, func(a, b sparse) int { return cmp.Compare(a.bytes, b.bytes) })
	half, smallest := core.Size(c.packSize/2), core.Size(c.packSize/64)
	n, sum := 0, core.Size(0)
	for n < len(packs) && packs[n].bytes <= min(half, max(2*sum, smallest)) {
		sum += packs[n].bytes
		n++
	}
	if n < mergeLeast {
		return nil
	}
	for _, p := range packs[:n] {
		c.sparse[p.name] = p.dead
	}
	return packs[:n]
}

// rewrite copies what is needed of packs into new ones, a new pack's worth at a time, and removes them. Nobody else
// writes, so that they can go at once; where somebody comes meanwhile, those that are copied wait and the others stay
// as they are.
func (c *sweep) rewrite(packs []sparse) error {
	for len(packs) > 0 && c.alone {
		var batch []*pack
		for copied := core.Size(0); len(packs) > 0 && copied < core.Size(c.packSize); packs = packs[1:] {
			batch = append(batch, packs[0].pack)
			copied += packs[0].bytes - packs[0].dead
		}
		whole, err := c.copyAll(batch)
		if err == nil {
			err = c.removeAll(whole)
		}
		if err != nil || len(whole) < len(batch) {
			err = errors.Join(err, c.condemn(c.list)) // nothing but the list counts
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sparse is a pack that is worth rewriting.
type sparse struct {
	*pack
	verdict
}

// copyAll makes what is needed of packs durable in new ones, and returns those of which it could copy all.
func (c *sweep) copyAll(packs []*pack) (whole []*pack, err error) {
	list := condemned{packs: maps.Clone(c.list.packs)}
	for _, p := range packs {
		list.packs[p.name] = c.list.epoch + 1 // what is in them is looked for elsewhere first
	}
	if err := c.condemn(list); err != nil {
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
			return nil, fmt.Errorf("rewrite pack %s: %w", p.name, err)
		}
	}
	if err := errors.Join(c.rotate(), durable.SyncDir(c.dir)); err != nil {
		return nil, fmt.Errorf("rewrite packs: %w", err)
	}
	c.step("copied")
	return whole, nil
}

func (c *sweep) copyPack(p *pack) error {
	rows, err := c.rowsOf(p)
	if err != nil {
		return err
	}
	// they stand as the file has them
	slices.SortFunc(rows, func(a, b row) int { return cmp.Compare(a.offset, b.offset) })
	var data []byte
	for _, r := range rows {
		live, err := c.live(r.hash)
		there := false
		if err == nil && live {
			there, err = c.copiedOf(r)
		}
		if err != nil {
			return err
		}
		if !live || there {
			continue
		}
		err = c.use(place{p.number, r.offset}, func(f packReader) (err error) {
			data, err = readData(f, r, data[:0])
			return err
		})
		if err == nil {
			err = c.append(r, data)
		}
		if err != nil {
			return err
		}
		c.report.Rewritten += core.Size(r.size)
		c.copied[p.name] += core.Size(r.size)
	}
	return nil
}

// copiedOf reports whether a record stands elsewhere, or was copied a moment ago, out of another pack.
func (c *sweep) copiedOf(r row) (bool, error) {
	if there, err := c.elsewhere(r); there || err != nil {
		return there, err
	}
	at, ok, err := c.at(r.hash)
	return ok && c.isMine(at), err
}

// isMine reports whether a record stands in a pack that this Store is writing.
func (s *Store) isMine(at place) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.mine[at.pack] != nil
}
