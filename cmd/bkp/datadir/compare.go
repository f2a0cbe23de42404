// SPDX-License-Identifier: Apache-2.0

package datadir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/manifest"
)

// Difference is what one version adds to another, and what only the other has.
type Difference struct {
	Added
	Places     int       `json:"ranges"`
	GoneChunks int       `json:"gone_chunks"`
	GoneStored core.Size `json:"gone_stored_bytes"`
}

// Compare walks both manifests twice: what is in one and not in the other.
func (l *Chunks) Compare(ctx context.Context, old, new Version) (d Difference, err error) {
	versions := [2]Version{old, new}
	walk := func(v Version, visit func(manifest.Entry)) error {
		err := manifest.Walk(v.Body.Root, l, func(e manifest.Entry) error {
			if !e.Hole() {
				visit(e)
			}
			return context.Cause(ctx)
		})
		if errors.Is(err, core.ErrNotFound) {
			return core.WithHint(core.Fail(core.CodeRedundant, "%s: its manifest is not on this machine: %w", v.Title(),
				err), "bring it back with bkp fetch")
		}
		if err != nil {
			return fmt.Errorf("%s: manifest: %w", v.Title(), err)
		}
		return nil
	}
	var sets [2]hashSet
	for i, v := range versions {
		if err := walk(v, func(e manifest.Entry) {
			sets[i] = append(sets[i], [16]byte(e.Chunk.Hash[:16]))
		}); err != nil {
			return d, err
		}
		sets[i] = sets[i].sorted()
	}
	once := make([]bool, len(sets[1]))
	err = walk(new, func(e manifest.Entry) {
		at, _ := sets[1].find(e.Chunk.Hash)
		if _, there := sets[0].find(e.Chunk.Hash); !there && !once[at] {
			once[at] = true
			d.add(e.Offset, e.Span, e.Chunk.Size)
		}
	})
	if err != nil {
		return d, err
	}
	d.Places = len(d.Ranges)
	once = make([]bool, len(sets[0]))
	return d, walk(old, func(e manifest.Entry) {
		at, _ := sets[0].find(e.Chunk.Hash)
		if _, there := sets[1].find(e.Chunk.Hash); !there && !once[at] {
			once[at] = true
			d.GoneChunks++
			d.GoneStored += e.Chunk.Size
		}
	})
}

// hashSet is the chunks of a version by the first half of their hashes, sorted: 16 bytes each.
type hashSet [][16]byte

func (s hashSet) sorted() hashSet {
	slices.SortFunc(s, func(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) })
	return slices.Compact(s)
}

func (s hashSet) find(hash core.Hash) (int, bool) {
	return slices.BinarySearchFunc(s, hash, func(e [16]byte, h core.Hash) int { return bytes.Compare(e[:], h[:16]) })
}
