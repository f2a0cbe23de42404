// SPDX-License-Identifier: Apache-2.0

package file

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
)

// streamWindow bounds how far an assembly reads ahead of what was written: two windows stand in memory at most.
const streamWindow = 32 * core.MiB

// Stream is an Output that writes the bytes in order, once they are verified.
type Stream struct {
	ctx    context.Context
	out    io.Writer
	mu     sync.Mutex
	base   core.Size // of the first byte in held
	held   []byte
	failed error // of a write: what of it was written nobody knows, so nothing follows
}

// NewStream writes to out. When ctx ends it waits no longer for a Write that does not return: one goroutine stays
// behind in that.
func NewStream(ctx context.Context, out io.Writer) *Stream {
	return &Stream{ctx: ctx, out: out, held: make([]byte, 0, 2*streamWindow+chunk.MaxPlain)}
}

// Window is how much is put together at a time.
func (s *Stream) Window() core.Size { return streamWindow }

// ReadAt has nothing: what was written is gone.
func (s *Stream) ReadAt([]byte, int64) (int, error) { return 0, io.EOF }

// WriteAt holds bytes until everything before them is there. Safe for many goroutines.
func (s *Stream) WriteAt(p []byte, at int64) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return 0, s.failed
	}
	from := core.Size(at) - s.base
	if from < 0 {
		return 0, fmt.Errorf("write at %d: the stream is past that", at)
	}
	s.grow(from + core.Size(len(p)))
	return copy(s.held[from:], p), nil
}

// grow makes held at least size bytes long; what was never written is zero.
func (s *Stream) grow(size core.Size) {
	if old := core.Size(len(s.held)); size > old {
		s.held = slices.Grow(s.held, int(size-old))[:size]
		clear(s.held[old:])
	}
}

// Flush writes everything before at; meanwhile WriteAt waits.
func (s *Stream) Flush(at core.Size) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return s.failed
	}
	s.grow(at - s.base)
	ready := int(at - s.base)
	if s.failed = s.write(s.held[:ready]); s.failed != nil {
		return s.failed
	}
	s.held = s.held[:copy(s.held, s.held[ready:])]
	s.base = at
	return nil
}

func (s *Stream) write(p []byte) error {
	written := make(chan error, 1)
	go func() {
		_, err := s.out.Write(p)
		written <- err
	}()
	select {
	case err := <-written:
		return err
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
}

// Commit has nothing to do: every byte was passed on by Flush.
func (s *Stream) Commit() error { return nil }

// Abort keeps nothing: what was passed on cannot be taken back.
func (s *Stream) Abort(bool) string { return "" }
