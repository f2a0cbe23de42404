// SPDX-License-Identifier: Apache-2.0

package file

import (
	"context"
	"errors"
	"sync"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"golang.org/x/sync/errgroup"
)

// Store is where a split puts what it sealed: of a storage.Store what it needs, with the same promises.
type Store interface {
	Chunks
	Find(ctx context.Context, id core.Hash) (c core.Chunk, found bool, err error)
	Has(ctx context.Context, hash core.Hash) (bool, error)
	Put(ctx context.Context, c core.Chunk, id core.Hash, data []byte) (isNew bool, err error)
	Barrier(ctx context.Context) error
}

// SplitInput is all that a split needs.
type SplitInput struct {
	Source  *Source
	Params  chunk.Params
	Level   chunk.Level
	Secrets chunk.Secrets
	Store   Store
	Workers int    // 0: one a core
	Recheck bool   // open again what was just sealed
	Digest  string // of the whole file, to stand in the manifest: "", "sha256" or "blake3"
	// split a plain reader without a byte too; else that is an error, as its writer may have failed
	Empty    bool
	Progress func(done core.Size) // called from one goroutine after every chunk; nil: not
	// Chunk is told every chunk and hole in the order of the file, what Resume stands for included, from one goroutine;
	// an error ends the split. Where it turns out that Resume is of no use it is told from the start again. nil: nobody
	// is.
	Chunk func(Piece) error

	// Since is the version before, where only what changed since is to be read; nil: all is. The source must be a file
	// or a block device, and there is no digest of what was not read.
	Since *Since

	// Resume is where an interrupted split of the same source came to; nil: nowhere.
	Resume *Checkpoint
	// Every is how many plain bytes lie between two checkpoints, and Checkpoint takes them, one after the other from a
	// goroutine of its own, when all that they stand for is durable. nil, or a source without a stamp: there are none.
	Every      core.Size
	Checkpoint func(Checkpoint) error

	marks bool // cut by marks, however few cores there are
}

// Piece is a chunk, or a hole, where it stands in the file.
type Piece struct {
	core.Sealed
	Offset core.Size
	IsNew  bool // the store did not have it
}

// SplitResult is what a split came to.
type SplitResult struct {
	Root        core.Sealed // of the manifest; all below it is durable
	Bytes       core.Size   // plain
	Resumed     core.Size   // of them: split before, by one that was interrupted
	Kept        core.Size   // of them: as they were in the version before, and not read
	Chunks      int
	NewChunks   int       // that the store did not have
	Nodes       int       // tree nodes of the manifest
	StoredBytes core.Size // of new chunks and new tree nodes
}

// Split cuts the source, seals what the store does not know, and makes a manifest of all. When ctx ends, or something
// fails, it returns at once; where it was waiting for a plain reader then, one goroutine stays behind in that Read
// until it returns.
func Split(ctx context.Context, in SplitInput) (SplitResult, error) {
	r, err := split(ctx, in)
	if err != nil {
		return SplitResult{}, in.Source.named(err)
	}
	return r, nil
}

func split(ctx context.Context, in SplitInput) (SplitResult, error) {
	if err := in.Params.Check(); err != nil {
		return SplitResult{}, err
	}
	extents, err := in.extents(ctx)
	if err != nil {
		return SplitResult{}, err
	}
	cores, done := takeCores()
	defer done()
	digest, err := newDigester(in)
	if err != nil {
		return SplitResult{}, err
	}
	c, err := newCollector(ctx, in, digest)
	if err != nil {
		return SplitResult{}, err
	}
	defer c.kept.close()
	workers := make([]*worker, workersFor(in, cores))
	for i := range workers {
		if workers[i], err = newWorker(in); err != nil {
			return SplitResult{}, err
		}
	}
	p := newPipeline(in, extents, cores, c.builder.Size(), digest)
	group, inner := errgroup.WithContext(ctx)
	stopReading, cancel := context.WithCancel(inner)
	defer cancel()
	var reading sync.WaitGroup
	for range p.readers {
		reading.Go(func() { p.read(stopReading) })
	}
	group.Go(func() error { return p.cut(inner) })
	for _, w := range workers {
		group.Go(func() error { return p.work(inner, w) })
	}
	if digest != nil {
		group.Go(func() error { return digest.run(inner, p, c.result.Resumed) })
	}
	group.Go(func() error { return c.collect(inner, p) })
	err = group.Wait()
	cancel()
	if in.Source.file != nil {
		reading.Wait() // a file's Read always ends; a pipe's may not
	}
	err = errors.Join(err, c.wait())
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, context.Canceled) {
		err = cause
	}
	if err == nil && c.result.Bytes == 0 && in.Source.before == nil && in.Source.file == nil && !in.Empty {
		err = errNothing
	}
	if err == nil {
		err = c.finish()
	}
	if err == nil {
		err = in.Store.Barrier(ctx)
	}
	return c.result, err
}

var errNothing = core.WithHint(core.Fail(core.CodeFailed, "not a byte came, so there is no version of it"),
	"see why whatever writes to it ended at once, or add --allow-empty")

// workersFor is one a core, and some more for those that wait for the store to take their chunk; but fewer where chunks
// are so large that memory would not stay small.
func workersFor(in SplitInput, cores int) int {
	if in.Workers > 0 {
		return in.Workers
	}
	const budget, compressor = 160 << 20, 8 << 20
	return min(cores+waiting, max(min(cores, 4), budget/(3*in.Params.Max+compressor)))
}

// receive takes from a channel: the zero value without an error where it is closed, with one where ctx has ended.
func receive[T any](ctx context.Context, from <-chan T) (v T, err error) {
	select {
	case v = <-from:
		return v, nil
	case <-ctx.Done():
		return v, context.Cause(ctx)
	}
}

// Ahead bounds how many plain bytes a split may have sealed beyond the last chunk that it told of.
func Ahead(p chunk.Params) core.Size { return jobCount * core.Size(p.Max) }
