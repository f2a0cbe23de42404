// SPDX-License-Identifier: Apache-2.0

package content

import (
	"fmt"
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/placements"
	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/core/version"
)

// maxRunChunks bounds a run of tiny chunks, so that announcements and records keep to their limits.
const maxRunChunks = 4096

// Runs is what a version consists of: new runs, and runs of earlier tasks that it uses.
type Runs struct {
	Bytes    core.Size // stored bytes of the version, each chunk once
	NewBytes core.Size // of them, what no live task covers
	Fresh    []core.Run
	Reused   [][]*Reused   // by class, one class for each set of holders; the first is that of the new runs, and empty
	Classes  []plan.Class  // the new runs' first
	Stripes  []core.Stripe // of Fresh

	chunks [2][]core.Chunk // of the new runs: content, tree nodes
	uses   []*Reused
	had    map[core.Hash]int // of those that earlier tasks cover: as how many copies
	whole  []*stripe         // of earlier tasks, each kept as a whole
	kept   []*Reused         // their runs, and what is used of them
}

// Reused is a run of an earlier task and what this version uses of it.
type Reused struct {
	version.Run
	Holders []int   // in the snapshot
	Whole   bool    // they keep every chunk of it, and can pass it on
	stripe  *stripe // that it is in; nil for none
}

// Count is how many runs there are.
func (c *Runs) Count() (runs int) {
	for _, class := range c.Classes {
		runs += len(class.Runs)
	}
	return runs + len(c.kept)
}

// RecordsSize is room for what every target keeps beside its runs and charges to the owner: the segment records, which
// took 80 KiB for 1,447 chunks in 671 runs, and descriptions of what it is to keep, which say of each run who gives it.
func (c *Runs) RecordsSize(copies int) core.Size {
	const perChunk, perRun, perCopy, perSegment = 40, 128, 192, 4 * core.KiB
	all, _ := c.all(core.TaskID{})
	size := core.Size(len(all)/core.SegmentRuns+1) * perSegment
	for _, r := range all {
		size += perRun + perCopy*core.Size(copies) + perChunk*core.Size(len(r.Chunks))
	}
	return size
}

// Chunks is those that are to be sent.
func (c *Runs) Chunks() []core.Chunk { return slices.Concat(c.chunks[0], c.chunks[1]) }

// Before is how many copies each run has by earlier tasks: a new one as many as the chunk in it with the fewest.
func (c *Runs) Before() map[core.Hash]int {
	before := map[core.Hash]int{}
	for _, class := range append(slices.Clip(c.Reused), c.kept) {
		for _, r := range class {
			before[r.Hash] = r.Copies()
		}
	}
	for _, r := range c.Fresh {
		for i, chunk := range r.Chunks {
			if n := c.had[chunk.Hash]; i == 0 || n < before[r.Hash] {
				before[r.Hash] = n
			}
		}
	}
	return before
}

// all is the runs in the order of the task, and who of the snapshot keeps each for another task.
func (c *Runs) all(task core.TaskID) (all []version.Run, held [][]int) {
	for _, r := range c.Fresh {
		all, held = append(all, version.Run{Run: r, Task: task, Used: core.FullBitmap(len(r.Chunks))}), append(held, nil)
	}
	for _, runs := range c.Reused {
		for _, r := range runs {
			all, held = append(all, r.Run), append(held, r.Holders)
		}
	}
	for _, r := range c.kept {
		all, held = append(all, r.Run), append(held, r.Holders)
	}
	return all, held
}

// stripes is the stripes of all.
func (c *Runs) stripes() []core.Stripe {
	stripes := slices.Clone(c.Stripes)
	at := len(c.Fresh)
	for _, runs := range c.Reused {
		at += len(runs)
	}
	for _, s := range c.whole {
		x := core.Stripe{}
		for i := range s.runs {
			if i < len(s.Data) {
				x.Data = append(x.Data, at+i)
			} else {
				x.Parity = append(x.Parity, at+i)
			}
		}
		stripes, at = append(stripes, x), at+len(s.runs)
	}
	return stripes
}

// Of is what segments consist of. What nobody signed for counts as new.
func Of(task core.TaskID, segments []*placements.Segment) *Runs {
	c := &Runs{Classes: make([]plan.Class, 2), Reused: make([][]*Reused, 2)}
	seen := map[core.Hash]bool{}
	for _, s := range segments {
		for run, r := range s.Runs {
			size, class := core.Size(0), 0
			for i, chunk := range r.Chunks {
				if r.Type != core.TypeParity && r.Used.Has(i) && !seen[chunk.Hash] {
					seen[chunk.Hash], size = true, size+chunk.Size
				}
			}
			if r.Task == task {
				c.Fresh = append(c.Fresh, r.Run)
			} else {
				class = 1
				c.Reused[class] = append(c.Reused[class], &Reused{Run: r})
			}
			c.Classes[class].Runs = append(c.Classes[class].Runs, r.Size)
			if c.Bytes += size; !s.Signed(run) {
				c.NewBytes += size
			}
		}
	}
	return c
}

// Hash is over the hashes and sizes of all runs, but those of parity, which follow from the others.
func (c *Runs) Hash() core.Hash {
	all, _ := c.all(core.TaskID{})
	var runs []core.Chunk
	for _, r := range all {
		if r.Type != core.TypeParity {
			runs = append(runs, core.Chunk{Hash: r.Hash, Size: r.Size})
		}
	}
	return chunk.RunHash(runs)
}

// Group makes runs of the chunks that are to be sent, the manifest's own tree nodes last, and groups the reused ones by
// who keeps them. prefix is ALIAS.V.
func (c *Runs) Group(prefix string) {
	g := grouper{prefix: prefix, limit: core.RunSize(c.NewBytes)}
	for at, kind := range []core.FileType{core.TypeFile, core.TypeDirectory} {
		for _, chunk := range c.chunks[at] {
			g.add(kind, chunk)
		}
	}
	g.close()
	c.Fresh = g.runs
	class := plan.Class{}
	for _, r := range c.Fresh {
		class.Runs = append(class.Runs, r.Size)
	}
	c.Classes, c.Reused = []plan.Class{class}, [][]*Reused{nil}
	at := map[string]int{}
	for _, r := range c.uses {
		key := fmt.Sprint(r.Holders)
		i, ok := at[key]
		if !ok {
			i = len(c.Classes)
			at[key] = i
			c.Classes = append(c.Classes, plan.Class{Holders: r.Holders})
			c.Reused = append(c.Reused, nil)
		}
		c.Classes[i].Runs = append(c.Classes[i].Runs, r.Size)
		c.Reused[i] = append(c.Reused[i], r)
	}
}

// New is a part of a file of which nobody keeps anything yet, in runs. prefix is ALIAS.V.
func New(prefix string, chunks []core.Chunk) *Runs {
	c := &Runs{}
	for _, chunk := range chunks {
		c.add(core.TypeFile, chunk)
	}
	c.Bytes = c.NewBytes
	c.Group(prefix)
	return c
}

// grouper cuts a stream of chunks into runs, each chunk taken once.
type grouper struct {
	prefix string // ALIAS.V
	limit  core.Size
	order  int // of the next run
	open   []core.Chunk
	size   core.Size
	kind   core.FileType
	runs   []core.Run
}

// add appends a chunk; the run before it is closed where it would grow past the limit or is of another type.
func (g *grouper) add(kind core.FileType, c core.Chunk) {
	if len(g.open) > 0 && (g.size+c.Size > g.limit || kind != g.kind || len(g.open) == maxRunChunks) {
		g.close()
	}
	g.kind = kind
	g.open = append(g.open, c)
	g.size += c.Size
}

func (g *grouper) close() {
	if len(g.open) == 0 {
		return
	}
	g.runs = append(g.runs, core.Run{
		File: core.File{
			Name: fmt.Sprintf("%s.%d", g.prefix, g.order), Type: g.kind, Order: g.order,
			Hash: chunk.RunHash(g.open), Size: g.size,
		},
		Chunks: g.open,
	})
	g.order++
	g.open, g.size = nil, 0
}
