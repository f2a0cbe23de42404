// SPDX-License-Identifier: Apache-2.0

package content

import (
	"fmt"
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/manifest"
	"github.com/bkp-tool/bkp/core/version"
)

// Covered is the chunks that live tasks keep at connected peers.
type Covered map[core.Hash]At

// At is where a chunk is: the run, and which of its chunks.
type At struct {
	Run   *Reused
	Index int
}

// Add adds a record's runs; of two runs with the same chunk the one with more holders wins. index has the places of the
// snapshot's nodes.
func (c Covered) Add(r version.Record, index map[core.ID]int) {
	all := make([]*Reused, len(r.Runs))
	for number, run := range r.Runs {
		reused := &Reused{Run: run, Whole: run.Whole()}
		all[number] = reused
		for _, id := range r.Holders(number) {
			if at, ok := index[id]; ok && at != 0 { // the source's own disk never counts
				reused.Holders = append(reused.Holders, at)
			}
		}
		slices.Sort(reused.Holders)
	}
	stripes := stripesOf(r, all)
	for number, run := range r.Runs {
		reused := all[number]
		if reused.stripe = stripes[number]; reused.Copies() == 0 || run.Type == core.TypeParity {
			continue
		}
		for index, chunk := range run.Chunks {
			// A holder keeps only the chunks that its task asks it to.
			if old, ok := c[chunk.Hash]; run.Kept().Has(index) && (!ok || old.Run.Copies() < reused.Copies()) {
				c[chunk.Hash] = At{reused, index}
			}
		}
	}
}

// Copies is how many holders it has; where it is in a stripe, how many losses that bears, and one.
func (r *Reused) Copies() int {
	if r.stripe != nil {
		return r.stripe.left
	}
	return len(r.Holders)
}

// Sort sorts the chunks of a manifest, as walk visits them: those that live tasks cover, and the rest. A run with fewer
// holders than are wanted, that none of them has whole, is not reused unless staged has it: it would have to be sent
// again, and nobody could send it as a whole. A stripe is kept as a whole, with all its runs, where half of it is used;
// of one that is used less the chunks count as new. Without parts a run is reused only where all of it is used.
func Sort(walk func(visit func(manifest.Entry) error) error, covered Covered, replicas int, parts bool,
	staged func([]core.Chunk) (bool, error)) (*Runs, error) {
	c := &Runs{had: map[core.Hash]int{}}
	seen := map[core.Hash]bool{}
	uses := map[core.Hash]*Reused{}
	err := walk(func(e manifest.Entry) error {
		if e.Hole() || seen[e.Chunk.Hash] {
			return nil
		}
		seen[e.Chunk.Hash] = true
		c.Bytes += e.Chunk.Size
		at, ok := covered[e.Chunk.Hash]
		if !ok {
			c.add(e.Type, core.Chunk{Hash: e.Chunk.Hash, Size: e.Chunk.Size})
			return nil
		}
		r := uses[at.Run.Hash]
		if r == nil {
			r = &Reused{Run: at.Run.Run, Holders: at.Run.Holders, Whole: at.Run.Whole, stripe: at.Run.stripe}
			r.Used = core.NewBitmap(len(r.Chunks))
			uses[at.Run.Hash] = r
			c.uses = append(c.uses, r)
		}
		r.Used.Set(at.Index)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("walk the manifest: %w", err)
	}
	kept, decided := c.uses[:0], map[*stripe]bool{}
	for _, r := range c.uses {
		if r.stripe != nil {
			if _, known := decided[r.stripe]; !known {
				decided[r.stripe] = c.keepWhole(r.stripe, uses, replicas)
			}
			if !decided[r.stripe] {
				c.addUsed(r)
			}
			continue
		}
		stays := len(r.Holders) >= replicas || r.Whole
		if part := r.Used.Count(len(r.Chunks)) < len(r.Chunks); part && !parts {
			c.addUsed(r)
			continue
		}
		if !stays {
			if stays, err = staged(r.Chunks); err != nil {
				return nil, err
			}
		}
		if stays {
			kept = append(kept, r)
			continue
		}
		c.addUsed(r)
	}
	c.uses = kept
	return c, nil
}

// addUsed takes in what is used of a run as chunks to be sent.
func (c *Runs) addUsed(r *Reused) {
	for i, chunk := range r.Chunks {
		if r.Used.Has(i) {
			c.had[chunk.Hash] = r.Copies()
			c.add(r.Type, chunk)
		}
	}
}

// add takes in a chunk that is to be sent.
func (c *Runs) add(kind core.FileType, chunk core.Chunk) {
	at := 0
	if kind == core.TypeDirectory {
		at = 1
	}
	c.chunks[at] = append(c.chunks[at], chunk)
	c.NewBytes += chunk.Size
}
