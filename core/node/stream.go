package node

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"sync"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/wire"
)

// stream is the bytes that a call takes in, or gives out. In this process they are passed on as they are; to another
// they have a connection of their own beside that of the call, so that a command that goes away is noticed however much
// is on its way.
type stream struct {
	in  io.Reader
	out io.Writer
}

// streamOf is the stream of a call's arguments, where they have one.
func streamOf(args any) (s stream) {
	switch a := args.(type) {
	case control.FetchArgs:
		s.out = a.Out
	case control.BackupArgs:
		s.in = a.In
	}
	return s
}

// attach gives arguments that were decoded their stream.
func attach(args any, s stream) {
	switch a := args.(type) {
	case *control.FetchArgs:
		a.Out = s.out
	case *control.BackupArgs:
		a.In = s.in
	}
}

// streamPatience is how long a stream waits for its call, which the command sends at once.
const streamPatience = 10 * time.Second

// streams is the connections of streams whose calls have not come yet, by name.
type streams struct {
	mu      sync.Mutex
	waiting map[string]net.Conn
}

// keep keeps a connection for its call; who does not come for it in time finds it closed.
func (s *streams) keep(name string, conn net.Conn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting[name] != nil {
		return core.Fail(core.CodeUsage, "a stream of that name is there already")
	}
	if s.waiting == nil {
		s.waiting = map[string]net.Conn{}
	}
	s.waiting[name] = conn
	time.AfterFunc(streamPatience, func() {
		if late := s.take(name); late != nil {
			late.Close()
		}
	})
	return nil
}

// take is the connection of a stream, the caller's from now on; nil where there is none.
func (s *streams) take(name string) net.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	conn := s.waiting[name]
	delete(s.waiting, name)
	return conn
}

// attached makes the stream of a call out of its connection. What is given out has its end marked by finish alone.
func attached(conn net.Conn) (s stream, finish func() error) {
	out := httputil.NewChunkedWriter(conn)
	return stream{in: httputil.NewChunkedReader(bufio.NewReaderSize(conn, 64<<10)), out: out}, func() error {
		if err := out.Close(); err != nil {
			return fmt.Errorf("end the stream: %w", err)
		}
		return nil
	}
}

// remoteStream is the command's end of a stream.
type remoteStream struct {
	name   string
	conn   net.Conn
	copied chan error // what became of the bytes that the node gives out; nil where it gives none
}

// openStream connects a stream to the running node. From then on it is copied; what fails on this side ends the call by
// cancel.
func (r *Remote) openStream(s stream, cancel context.CancelCauseFunc) (*remoteStream, error) {
	conn, err := net.Dial("unix", r.socket)
	if err != nil {
		return nil, fmt.Errorf("reach the running node: %w", err)
	}
	var random [16]byte
	rand.Read(random[:])
	o := &remoteStream{name: hex.EncodeToString(random[:]), conn: conn}
	lines := bufio.NewReaderSize(conn, 64<<10)
	if err := o.announce(lines); err != nil {
		conn.Close()
		return nil, err
	}
	if s.in != nil {
		go o.feed(s.in, cancel)
	}
	if s.out != nil {
		o.copied = make(chan error, 1)
		go func() { o.copied <- drain(s.out, httputil.NewChunkedReader(lines), cancel) }()
	}
	return o, nil
}

// announce names the stream and waits until the node has it.
func (o *remoteStream) announce(lines *bufio.Reader) error {
	raw, err := wire.Encode(wire.LocalStream{Stream: o.name})
	if err == nil {
		_, err = o.conn.Write(append(raw, '\n'))
	}
	if err == nil {
		raw, err = readLine(lines)
	}
	if err != nil {
		return fmt.Errorf("open a stream to the running node: %w", err)
	}
	m, err := wire.DecodeLocal(raw)
	if answer, ok := m.(wire.LocalResult); ok {
		err = take(answer, nil)
	}
	if err != nil {
		return core.WithHint(fmt.Errorf("open a stream to the running node: %w", err),
			"if it is of an older release, start it again: bkp node status")
	}
	return nil
}

// feed passes on what the call takes in. It stays behind in a Read that does not return.
func (o *remoteStream) feed(in io.Reader, cancel context.CancelCauseFunc) {
	out := httputil.NewChunkedWriter(o.conn)
	buf := make([]byte, 256<<10)
	for {
		n, err := in.Read(buf)
		if n > 0 {
			if _, err := out.Write(buf[:n]); err != nil {
				return // the node wants no more: its answer says why
			}
		}
		switch {
		case err == io.EOF:
			out.Close()
			return
		case err != nil:
			cancel(err)
			return
		}
	}
}

// drain copies what the call gives out. An end that is not marked is the node's to explain.
func drain(out io.Writer, in io.Reader, cancel context.CancelCauseFunc) error {
	buf := make([]byte, 256<<10)
	for {
		n, err := in.Read(buf)
		if n > 0 {
			if _, err := out.Write(buf[:n]); err != nil {
				cancel(err)
				return err
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("the running node's stream broke off: %w", err)
		}
	}
}

// finish returns once all that the call gave out has been passed on.
func (o *remoteStream) finish(ctx context.Context) error {
	if o == nil || o.copied == nil {
		return nil
	}
	select {
	case err := <-o.copied:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (o *remoteStream) Close() error {
	if o == nil {
		return nil
	}
	return o.conn.Close()
}
