// SPDX-License-Identifier: Apache-2.0

package control

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestBytesArriveAsTheyAre in either direction, however they are cut.
func TestBytesArriveAsTheyAre(t *testing.T) {
	content := make([]byte, 3<<20)
	rand.NewChaCha8([32]byte{7}).Read(content)
	var taken bytes.Buffer
	socket, _ := serve(t, fakeNode{
		fetched: func(out io.Writer) error {
			for rest := content; len(rest) > 0; {
				n := min(len(rest), 1+rand.IntN(600<<10))
				if _, err := out.Write(rest[:n]); err != nil {
					return err
				}
				rest = rest[n:]
			}
			return nil
		},
		backed: func(in io.Reader) error { _, err := taken.ReadFrom(in); return err },
	})
	c := dialled(t, socket)
	var given bytes.Buffer
	if err := c.Call(t.Context(), CommandFetch, FetchArgs{Out: &given}, new(FetchResult), nil); err != nil {
		t.Error(err)
	}
	in := BackupArgs{In: bytes.NewReader(content)}
	if err := c.Call(t.Context(), CommandBackup, in, new(BackupResult), nil); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(given.Bytes(), content) || !bytes.Equal(taken.Bytes(), content) {
		t.Errorf("%d bytes came out, %d went in, of %d", given.Len(), taken.Len(), len(content))
	}
}

// TestBackPressure: a command does not run ahead of who takes what it gives, but for what is on its way.
func TestBackPressure(t *testing.T) {
	var written atomic.Int64
	socket, _ := serve(t, fakeNode{fetched: func(out io.Writer) error {
		for buf := make([]byte, 64<<10); ; {
			n, err := out.Write(buf)
			written.Add(int64(n))
			if err != nil {
				return err
			}
		}
	}})
	stuck := newStuck()
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan error)
	go func() {
		ended <- dialled(t, socket).Call(ctx, CommandFetch, FetchArgs{Out: stuck}, new(FetchResult), nil)
	}()
	<-stuck.reached
	var before int64
	for {
		time.Sleep(50 * time.Millisecond)
		now := written.Load()
		if now == before {
			break
		}
		before = now
	}
	if before > 4<<20 {
		t.Errorf("%d bytes were given while nobody took them", before)
	}
	enough := errors.New("enough")
	cancel(enough)
	close(stuck.free)
	if err := <-ended; !errors.Is(err, enough) {
		t.Error(err)
	}
}

// stuck takes nothing until it is freed.
type stuck struct{ reached, free chan struct{} }

func newStuck() *stuck { return &stuck{make(chan struct{}, 1000), make(chan struct{})} }

func (s *stuck) Write(p []byte) (int, error) {
	s.reached <- struct{}{}
	<-s.free
	return len(p), nil
}

func (s *stuck) Read([]byte) (int, error) {
	s.reached <- struct{}{}
	<-s.free
	return 0, io.EOF
}

// broken fails after some bytes.
type broken struct{ left int }

var errBroken = errors.New("no space left on device")

func (b *broken) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, errBroken
	}
	return len(p), nil
}

func (b *broken) Read(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, errBroken
	}
	return len(p), nil
}

// TestWhatCannotBeWrittenEndsTheCommand here and there, with the reason.
func TestWhatCannotBeWrittenEndsTheCommand(t *testing.T) {
	there := make(chan error, 1)
	socket, _ := serve(t, fakeNode{fetched: func(out io.Writer) error {
		for buf := make([]byte, 64<<10); ; {
			if _, err := out.Write(buf); err != nil {
				there <- err
				return err
			}
		}
	}})
	err := dialled(t, socket).Call(t.Context(), CommandFetch, FetchArgs{Out: &broken{1 << 20}}, new(FetchResult), nil)
	if !errors.Is(err, errBroken) {
		t.Error(err)
	}
	if err := <-there; !errors.Is(err, errCallerGone) {
		t.Error(err)
	}
}

// TestWhatCannotBeReadEndsTheCommand: never as if the input had come to its end.
func TestWhatCannotBeReadEndsTheCommand(t *testing.T) {
	there := make(chan error, 1)
	socket, _ := serve(t, fakeNode{backed: func(in io.Reader) error {
		_, err := io.Copy(io.Discard, in)
		there <- err
		return err
	}})
	err := dialled(t, socket).Call(t.Context(), CommandBackup, BackupArgs{In: &broken{1 << 20}}, new(BackupResult), nil)
	if !errors.Is(err, errBroken) {
		t.Error(err)
	}
	if err := <-there; err == nil {
		t.Error("the input that broke off ended well")
	}
}

// TestAKilledCommandEndsNoInput: of one that is killed nothing says goodbye, the sockets just close.
func TestAKilledCommandEndsNoInput(t *testing.T) {
	there := make(chan error, 1)
	socket, _ := serve(t, fakeNode{backed: func(in io.Reader) error {
		_, err := io.Copy(io.Discard, in)
		there <- err
		return err
	}})
	var conns []net.Conn
	for _, request := range []string{
		"POST /v1/backup?stream=1 HTTP/1.1\r\nHost: bkp\r\nContent-Length: 2\r\n\r\n{}",
		"POST /v1/streams/1 HTTP/1.1\r\nHost: bkp\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
	} {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, request)
		conns = append(conns, conn)
	}
	select {
	case err := <-there:
		t.Error("it ended before:", err)
	case <-time.After(50 * time.Millisecond):
	}
	conns[1].Close()
	if err := <-there; err == nil {
		t.Error("the input of a command that was killed ended well")
	}
	conns[0].Close()
}

// TestACommandThatFailsEndsItsStream, also one that stalls: the caller has the command's error.
func TestACommandThatFailsEndsItsStream(t *testing.T) {
	failed := errors.New("peer n3 refused run 17")
	socket, _ := serve(t, fakeNode{
		fetched: func(out io.Writer) error {
			_, err := out.Write([]byte("half of it"))
			return errors.Join(err, failed)
		},
		backed: func(io.Reader) error { return failed },
	})
	c := dialled(t, socket)
	var out strings.Builder
	if err := c.Call(t.Context(), CommandFetch, FetchArgs{Out: &out}, new(FetchResult), nil); err == nil ||
		err.Error() != failed.Error() {
		t.Error(err)
	}
	// The stream itself ends in another way than a whole one.
	go c.Call(t.Context(), CommandFetch+"?stream=7", FetchArgs{}, new(FetchResult), nil)
	answer, err := c.do(t.Context(), "GET", "/v1/streams/7", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(answer.Body); err == nil || string(got) != "half of it" {
		t.Errorf("%q, %v", got, err)
	}
	in := newStuck()
	defer close(in.free)
	if err := c.Call(t.Context(), CommandBackup, BackupArgs{In: in}, new(BackupResult), nil); err == nil ||
		err.Error() != failed.Error() {
		t.Error(err)
	}
}
