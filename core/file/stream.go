package file

import (
	"fmt"
	"io"
	"sync"

	"github.com/bkp-tool/bkp/core"
)

// streamWindow bounds how far an assembly reads ahead of what was written: two windows stand in memory at most.
const streamWindow = 32 * core.MiB

// Stream is an Output that writes the bytes in order, once they are verified.
type Stream struct {
	out  io.Writer
	mu   sync.Mutex
	base core.Size // of the first byte in held
	held []byte
}

// NewStream writes to out.
func NewStream(out io.Writer) *Stream { return &Stream{out: out} }

// Window is how much is put together at a time.
func (s *Stream) Window() core.Size { return streamWindow }

// ReadAt has nothing: what was written is gone.
func (s *Stream) ReadAt([]byte, int64) (int, error) { return 0, io.EOF }

// WriteAt holds bytes until everything before them is there. Safe for many goroutines.
func (s *Stream) WriteAt(p []byte, at int64) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from := core.Size(at) - s.base
	if from < 0 {
		return 0, fmt.Errorf("write at %d: the stream is past that", at)
	}
	s.grow(from + core.Size(len(p)))
	return copy(s.held[from:], p), nil
}

// grow makes held at least size bytes long; what was never written is zero.
func (s *Stream) grow(size core.Size) {
	if missing := size - core.Size(len(s.held)); missing > 0 {
		s.held = append(s.held, make([]byte, missing)...)
	}
}

// Flush writes everything before at.
func (s *Stream) Flush(at core.Size) error {
	s.mu.Lock()
	s.grow(at - s.base)
	ready := s.held[:at-s.base]
	s.held = append([]byte(nil), s.held[at-s.base:]...)
	s.base = at
	s.mu.Unlock()
	_, err := s.out.Write(ready)
	return err
}
