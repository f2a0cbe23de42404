// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/bkp-tool/bkp/core"
)

// streamPatience is how long a command and its stream wait for each other; their caller sends both at once.
const streamPatience = 10 * time.Second

// copySize is how much of a stream is in hand.
const copySize = 256 << 10

// pipe is a stream between its request and its command. Nothing is kept in it: who writes waits for who reads.
type pipe struct {
	in     bool // the command reads from it
	reader *io.PipeReader
	writer *io.PipeWriter
}

func newPipe(in bool) *pipe {
	r, w := io.Pipe()
	return &pipe{in, r, w}
}

// stream is the command's end.
func (p *pipe) stream() stream {
	if p.in {
		return stream{in: p.reader}
	}
	return stream{out: p.writer}
}

// breakOff has the command find err, unless the stream has ended.
func (p *pipe) breakOff(err error) {
	if p.in {
		_ = p.writer.CloseWithError(err)
	} else {
		_ = p.reader.CloseWithError(err)
	}
}

// leave lets the request go once its command has ended; unless it did well, what it gave out is not whole.
func (p *pipe) leave(well bool) {
	switch {
	case p.in:
		_ = p.reader.Close()
	case well:
		_ = p.writer.Close()
	default:
		_ = p.writer.CloseWithError(errNotWhole)
	}
}

var errNotWhole = errors.New("the command failed")

// copyOut passes on what a command gives out, as it comes.
func copyOut(w http.ResponseWriter, r io.Reader) error {
	buf := make([]byte, copySize)
	for flush := http.NewResponseController(w).Flush; ; {
		n, err := r.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return err
			}
			if err := flush(); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// meetings is where commands and their streams find each other, by the name of the stream, whichever comes first.
type meetings struct {
	mu sync.Mutex
	at map[string]*meeting
}

// meeting is one name; it is there while anybody waits.
type meeting struct {
	pipes   chan *pipe
	waiting int
}

// enter is the meeting of that name until leave is called.
func (m *meetings) enter(name string) (at *meeting, leave func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.at == nil {
		m.at = map[string]*meeting{}
	}
	at = m.at[name]
	if at == nil {
		at = &meeting{pipes: make(chan *pipe)}
		m.at[name] = at
	}
	at.waiting++
	return at, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if at.waiting--; at.waiting == 0 {
			delete(m.at, name)
		}
	}
}

// offer hands a stream to its command.
func (m *meetings) offer(ctx context.Context, name string, p *pipe) error {
	at, leave := m.enter(name)
	defer leave()
	select {
	case at.pipes <- p:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(streamPatience):
		return core.Fail(core.CodeUsage, "no command came for the stream %.80q", name)
	}
}

// claim waits for the stream of a command.
func (m *meetings) claim(ctx context.Context, name string) (*pipe, error) {
	at, leave := m.enter(name)
	defer leave()
	select {
	case p := <-at.pipes:
		return p, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-time.After(streamPatience):
		return nil, core.Fail(core.CodeUsage, "the stream %.80q of the command did not come", name)
	}
}
