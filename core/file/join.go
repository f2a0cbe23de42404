package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/manifest"
	"golang.org/x/sync/errgroup"
)

// Chunks is where a join gets stored bytes from. Safe for many goroutines.
type Chunks interface {
	// Get appends the stored bytes of a chunk, held against their hash, to dst.
	Get(hash core.Hash, dst []byte) ([]byte, error)
}

// JoinInput is all that a join needs.
type JoinInput struct {
	Root     core.Sealed
	Source   Chunks
	Target   io.WriterAt          // what is not written must read as zeros; safe for many goroutines
	Workers  int                  // 0: one a core
	Progress func(done core.Size) // plain bytes; called after every chunk, never twice at a time; nil: not
}

// Join writes the file below root to the target and returns how many stored bytes it read for that. Where it fails, the
// target holds a part of the file.
func Join(ctx context.Context, in JoinInput) (stored core.Size, err error) {
	workers := in.Workers
	if workers <= 0 {
		workers = min(runtime.GOMAXPROCS(0), 8)
	}
	group, inner := errgroup.WithContext(ctx)
	entries := make(chan manifest.Entry, workers)
	group.Go(func() error {
		defer close(entries)
		return manifest.Walk(in.Root, &nodeOpener{in.Source, chunk.NewOpener()}, func(e manifest.Entry) error {
			select {
			case entries <- e:
				return nil
			case <-inner.Done():
				return context.Cause(inner)
			}
		})
	})
	var mu sync.Mutex
	var done core.Size
	for range workers {
		group.Go(func() error {
			j := joiner{in: in, opener: chunk.NewOpener()}
			for e := range entries {
				read, err := j.join(e)
				if err != nil {
					return fmt.Errorf("chunk %s at %d: %w", e.Name, e.Offset, err)
				}
				mu.Lock()
				stored, done = stored+read, done+e.Span
				if in.Progress != nil {
					in.Progress(done)
				}
				mu.Unlock()
			}
			return nil
		})
	}
	err = group.Wait()
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, context.Canceled) {
		err = cause
	}
	if err != nil {
		return stored, fmt.Errorf("join: %w", err)
	}
	return stored, nil
}

// joiner opens and writes for one goroutine and keeps its memory from chunk to chunk.
type joiner struct {
	in     JoinInput
	opener *chunk.Opener
	stored []byte
	plain  []byte
}

func (j *joiner) join(e manifest.Entry) (read core.Size, err error) {
	if e.Hole() {
		return 0, nil
	}
	if j.stored, err = j.in.Source.Get(e.Chunk.Hash, j.stored[:0]); err != nil {
		return 0, err
	}
	if j.plain, err = j.opener.OpenSealed(j.plain[:0], core.KindChunk, e.Chunk, j.stored); err != nil {
		return 0, err
	}
	_, err = j.in.Target.WriteAt(j.plain, int64(e.Offset))
	return e.Chunk.Size, err
}

// nodeOpener opens a manifest's tree nodes for one goroutine.
type nodeOpener struct {
	source Chunks
	opener *chunk.Opener
}

// OpenNode makes it a manifest.Opener.
func (n *nodeOpener) OpenNode(s core.Sealed) ([]byte, error) {
	stored, err := n.source.Get(s.Hash, nil)
	if err != nil {
		return nil, err
	}
	return n.opener.OpenSealed(nil, core.KindNode, s, stored)
}
