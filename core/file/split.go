package file

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/manifest"
	"golang.org/x/sync/errgroup"
)

// Store is where a split puts what it sealed.
type Store interface {
	// Find is the stored form of the plain chunk with this id, where the store has it.
	Find(id core.Hash) (core.Chunk, bool)
	// Put keeps a chunk and reports whether it was new. Safe for many goroutines.
	Put(c core.Chunk, id core.Hash, data []byte) (isNew bool, err error)
	// Barrier returns when everything put before it is durable.
	Barrier() error
}

// SplitInput is all that a split needs.
type SplitInput struct {
	Source   *Source
	Params   chunk.Params
	Level    chunk.Level
	Secrets  chunk.Secrets
	Store    Store
	Workers  int                  // 0: one a core
	Recheck  bool                 // open again what was just sealed
	Progress func(done core.Size) // called from one goroutine after every chunk; nil: not
}

// SplitResult is what a split came to.
type SplitResult struct {
	Root        core.Sealed // of the manifest; all below it is durable
	Bytes       core.Size   // plain
	Chunks      int
	NewChunks   int       // that the store did not have
	Nodes       int       // tree nodes of the manifest
	StoredBytes core.Size // of new chunks and new tree nodes
}

// Split cuts the source, seals what the store does not know, and makes a manifest of all. When ctx ends, or something fails,
// it returns at once; where it was waiting for a plain reader then, one goroutine stays behind in that Read until it returns.
func Split(ctx context.Context, in SplitInput) (SplitResult, error) {
	if err := in.Params.Check(); err != nil {
		return SplitResult{}, err
	}
	p := newPipeline(in)
	sealer, err := newNodeSealer(in)
	if err != nil {
		return SplitResult{}, err
	}
	workers := make([]*worker, workersFor(in))
	for i := range workers {
		if workers[i], err = newWorker(in); err != nil {
			return SplitResult{}, err
		}
	}
	group, inner := errgroup.WithContext(ctx)
	stopReading, cancel := context.WithCancel(inner)
	defer cancel()
	reading := make(chan struct{})
	go func() {
		defer close(reading)
		p.read(stopReading)
	}()
	group.Go(func() error { return p.cut(inner) })
	for _, w := range workers {
		group.Go(func() error { return p.work(inner, w) })
	}
	var result SplitResult
	group.Go(func() (err error) {
		result, err = p.collect(inner, sealer)
		return err
	})
	err = group.Wait()
	cancel()
	if in.Source.file != nil {
		<-reading // a file's Read always ends; a pipe's may not
	}
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, context.Canceled) {
		err = cause
	}
	if err != nil {
		return SplitResult{}, fmt.Errorf("split %s: %w", in.Source.name, err)
	}
	if err := in.Store.Barrier(); err != nil {
		return SplitResult{}, fmt.Errorf("split %s: %w", in.Source.name, err)
	}
	return result, nil
}

// workersFor is one a core, but fewer where their chunks are so large that memory would not stay small.
func workersFor(in SplitInput) int {
	if in.Workers > 0 {
		return in.Workers
	}
	const budget, compressor = 160 << 20, 8 << 20
	return min(runtime.GOMAXPROCS(0), max(4, budget/(3*in.Params.Max+compressor)))
}

// collect gives the chunks to the manifest in the order of the file.
func (p *pipeline) collect(ctx context.Context, sealer *nodeSealer) (r SplitResult, err error) {
	builder := manifest.NewBuilder(sealer)
	for {
		j, err := receive(ctx, p.ordered)
		if j == nil {
			if err != nil {
				return r, err
			}
			break
		}
		if _, err := receive(ctx, j.done); err != nil {
			return r, err
		}
		if err := builder.Add(j.sealed); err != nil {
			return r, err
		}
		r.Chunks++
		r.Bytes += j.sealed.Plain
		if j.isNew {
			r.NewChunks++
			r.StoredBytes += j.sealed.Size
		}
		p.idle <- j // there is room for all of them
		if p.in.Progress != nil {
			p.in.Progress(r.Bytes)
		}
	}
	if !p.whole {
		return r, nil // cut failed and says why
	}
	cutting := p.in.Params
	r.Root, err = builder.Finish(manifest.Info{Method: cutting.Method, Min: cutting.Min, Avg: cutting.Avg, Max: cutting.Max})
	r.Nodes = sealer.nodes
	r.StoredBytes += sealer.stored
	return r, err
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
