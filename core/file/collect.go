// SPDX-License-Identifier: Apache-2.0

package file

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/manifest"
)

// Checkpoint is where a split had come to when all before was durable.
type Checkpoint struct {
	Root  core.Sealed // of a manifest of the source's first bytes
	Bytes core.Size   // how many
	Stamp string      // of the source then
}

// collector gives the chunks to the manifest in the order of the file, and makes checkpoints.
type collector struct {
	ctx     context.Context // of the split: a checkpoint that is under way outlives the pipeline
	in      SplitInput
	digest  *digester
	sealer  *nodeSealer
	builder *manifest.Builder
	kept    *keeper // nil: all is read
	result  SplitResult
	saved   core.Size  // bytes at the last checkpoint
	saving  chan error // has its result; nil: none is under way
}

func newCollector(ctx context.Context, in SplitInput, digest *digester) (*collector, error) {
	sealer, err := newNodeSealer(ctx, in)
	if err != nil {
		return nil, err
	}
	kept, err := newKeeper(ctx, in)
	if err != nil {
		return nil, err
	}
	fresh := func() *collector {
		return &collector{ctx: ctx, in: in, digest: digest, sealer: sealer, builder: manifest.NewBuilder(sealer), kept: kept}
	}
	c := fresh()
	if in.Resume == nil || in.Resume.Stamp == "" || in.Resume.Stamp != in.stamp() {
		return c, nil
	}
	if err := c.resume(ctx); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return fresh(), nil // from the start, then
	}
	return c, nil
}

// resume takes over what an interrupted split has in its manifest, where all of it is still there.
func (c *collector) resume(ctx context.Context) error {
	opener := &nodeOpener{ctx, c.in.Store, chunk.NewOpener()}
	info, err := manifest.Stat(c.in.Resume.Root, opener)
	if err != nil {
		return err
	}
	if (chunk.Params{Method: info.Method, Min: info.Min, Avg: info.Avg, Max: info.Max}) != c.in.Params {
		return fmt.Errorf("it was cut in another way")
	}
	err = manifest.Walk(c.in.Resume.Root, opener, func(e manifest.Entry) error {
		if !e.Hole() {
			if has, err := c.in.Store.Has(ctx, e.Chunk.Hash); !has || err != nil {
				return cmp.Or(err, core.ErrNotFound)
			}
		}
		if err := c.count(e.Chunk, false); err != nil {
			return err
		}
		return errors.Join(c.builder.Add(e.Chunk), context.Cause(ctx))
	})
	c.result.Resumed, c.saved = c.result.Bytes, c.result.Bytes
	return err
}

// collect takes the chunks of a pipeline until there are no more.
func (c *collector) collect(ctx context.Context, p *pipeline) error {
	for {
		j, err := receive(ctx, p.ordered)
		if j == nil {
			return err
		}
		if _, err := receive(ctx, j.done); err != nil {
			return err
		}
		if err := c.take(j); err != nil {
			return err
		}
		p.idle <- j // there is room for all of them
		if c.in.Progress != nil {
			c.in.Progress(c.result.Bytes)
		}
		if err := c.save(); err != nil {
			return err
		}
	}
}

// take adds what a job stands for to the manifest.
func (c *collector) take(j *job) error {
	if !j.kept {
		return errors.Join(c.builder.Add(j.sealed), c.count(j.sealed, j.isNew))
	}
	from := c.result.Bytes
	c.result.Kept += j.sealed.Plain
	return c.kept.keep(from, from+j.sealed.Plain, func(s core.Sealed) error {
		if err := c.builder.Add(s); err != nil {
			return err
		}
		return c.count(s, false)
	})
}

// count adds an entry to the result. A hole is no chunk.
func (c *collector) count(s core.Sealed, isNew bool) error {
	at := c.result.Bytes
	c.result.Bytes += s.Plain
	if !s.Hash.IsZero() {
		c.result.Chunks++
	}
	if isNew {
		c.result.NewChunks++
		c.result.StoredBytes += s.Size
	}
	if c.in.Chunk == nil {
		return nil
	}
	return c.in.Chunk(Piece{s, at, isNew})
}

// save makes a checkpoint where it is time for one, and the last one is done.
func (c *collector) save() error {
	if c.in.Checkpoint == nil || c.in.stamp() == "" || c.result.Bytes-c.saved < c.in.Every {
		return nil
	}
	if c.saving != nil && len(c.saving) == 0 {
		return nil
	}
	if err := c.wait(); err != nil {
		return err
	}
	root, err := c.builder.Snapshot(c.info())
	if err != nil {
		return err
	}
	reached := Checkpoint{Root: root, Bytes: c.result.Bytes, Stamp: c.in.stamp()}
	c.saved, c.saving = c.result.Bytes, make(chan error, 1)
	go func(done chan<- error) { // wait waits for it
		err := c.in.Store.Barrier(c.ctx)
		if err == nil {
			err = c.in.Checkpoint(reached)
		}
		done <- err
	}(c.saving)
	return nil
}

// wait returns when no checkpoint is under way.
func (c *collector) wait() (err error) {
	if c.saving != nil {
		err, c.saving = <-c.saving, nil
	}
	return err
}

func (c *collector) info() manifest.Info {
	p := c.in.Params
	return manifest.Info{Method: p.Method, Min: p.Min, Avg: p.Avg, Max: p.Max}
}

// finish makes the root of all.
func (c *collector) finish() (err error) {
	info := c.info()
	info.DigestName, info.Digest = c.digest.sum()
	c.result.Root, err = c.builder.Finish(info)
	c.result.Nodes = c.sealer.nodes
	c.result.StoredBytes += c.sealer.stored
	return err
}
