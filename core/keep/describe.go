// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"context"
	"fmt"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
)

// describe puts descriptions of a segment and of runs of it beside the chunks. They are durable after a barrier, and
// live once the holdings have them: until then they are pinned, or nothing can be collected yet.
func (t *Target) describe(s core.Segment, runs []core.Holding) (described []core.Described, err error) {
	id := core.SegmentID{Task: s.Task, Number: s.Number}
	parts := []core.Description{{Segment: &s, Root: chunk.LicenseRoot(s.Files, s.Reused)}}
	chunks := 0
	for _, r := range runs {
		if len(parts) == 1 || chunks+len(r.Chunks) > describedChunks {
			parts, chunks = append(parts, core.Description{}), 0
		}
		last := &parts[len(parts)-1]
		last.Runs, chunks = append(last.Runs, r), chunks+len(r.Chunks)
	}
	for _, d := range parts {
		c, err := t.putDescription(d)
		if err != nil {
			t.pins.Release(chunksOf(described))
			return nil, err
		}
		described = append(described, core.Described{Segment: id, Chunk: c})
	}
	return described, nil
}

// describedChunks is how many chunks the runs of one description have together, unless one alone has more: about 3 MiB
// of description.
const describedChunks = 1 << 16

// putDescription puts a description, and pins it.
func (t *Target) putDescription(d core.Description) (core.Chunk, error) {
	c, id, data, err := t.Holdings.Describe(d)
	if err == nil {
		ctx := context.WithoutCancel(t.ctx)
		if err = t.pins.While(c, func() error { return t.put(ctx, c, id, data) }); err != nil {
			t.pins.Release([]core.Chunk{c})
		}
	}
	if err != nil {
		return c, fmt.Errorf("describe what is kept: %w", err)
	}
	return c, nil
}

func chunksOf(described []core.Described) (chunks []core.Chunk) {
	for _, d := range described {
		chunks = append(chunks, d.Chunk)
	}
	return chunks
}

// putRefDescribed makes a ref durable, and before that all that the packs have to have of it.
func (t *Target) putRefDescribed(r core.HeldRef) error {
	r.Described = core.Chunk{}
	c, err := t.putDescription(core.Description{Ref: &r})
	if err != nil {
		return err
	}
	defer t.pins.Release([]core.Chunk{c})
	if err := t.Keeping.Barrier(context.WithoutCancel(t.ctx)); err != nil {
		return fmt.Errorf("make records durable: %w", err)
	}
	r.Described = c
	return t.Holdings.PutRef(r)
}
