// SPDX-License-Identifier: Apache-2.0

package linktest

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/nettest"
)

func TestConn(t *testing.T) {
	for name, delay := range map[string]time.Duration{"at once": 0, "delayed": time.Microsecond} {
		t.Run(name, func(t *testing.T) {
			nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
				n := New()
				n.Delay, n.Buffer = delay, 4096
				l, err := n.Listen("a:1")
				if err != nil {
					return nil, nil, nil, err
				}
				if c1, err = n.Dial("a:1"); err != nil {
					return nil, nil, nil, err
				}
				if c2, err = l.Accept(); err != nil {
					return nil, nil, nil, err
				}
				return c1, c2, func() { c1.Close(); c2.Close(); l.Close() }, nil
			})
		})
	}
}

// connect is both ends of a connection from host a to host b.
func connect(t *testing.T, n *Net) (a, b net.Conn) {
	t.Helper()
	l, err := n.Listen("b:1")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err = n.From("a")(t.Context(), "tcp", "b:1")
	if err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return a, b
}

func TestDelayIsVirtual(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		n.Delay = 40 * time.Millisecond
		began := time.Now()
		a, b := connect(t, n)
		if took := time.Since(began); took != 80*time.Millisecond {
			t.Errorf("dialling took %v, want a round trip of 80ms", took)
		}
		began = time.Now()
		go a.Write([]byte("x"))
		if _, err := io.ReadFull(b, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != 40*time.Millisecond {
			t.Errorf("a byte took %v, want 40ms", took)
		}
	})
}

func TestWriteBlocksOnceTheBufferIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		a, _ := connect(t, n)
		a.SetWriteDeadline(time.Now().Add(time.Second))
		sent, err := a.Write(make([]byte, DefaultBuffer+1))
		if e, ok := errors.AsType[net.Error](err); sent != DefaultBuffer || !ok || !e.Timeout() {
			t.Errorf("wrote %d bytes: %v; want %d and a timeout", sent, err, DefaultBuffer)
		}
	})
}

func TestCutAndMend(t *testing.T) {
	n := New()
	a, b := connect(t, n)
	n.Cut("b")
	if _, err := a.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read over a cut connection: %v; want a reset", err)
	}
	if _, err := b.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("write over a cut connection: %v; want a reset", err)
	}
	l, _ := n.Listen("b:2")
	if _, err := n.Dial("b:2"); !errors.Is(err, syscall.EHOSTUNREACH) {
		t.Errorf("dial a cut host: %v; want unreachable", err)
	}
	n.Mend("b")
	if _, err := n.Dial("b:2"); err != nil {
		t.Errorf("dial a mended host: %v", err)
	}
	l.Close()
	if _, err := n.Dial("b:2"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial a closed listener: %v; want refused", err)
	}
	a.Close()
	b.Close()
}

func TestSilenceSwallowsBothWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		a, b := connect(t, n)
		n.Silence("b")
		for name, way := range map[string][2]net.Conn{"to": {a, b}, "from": {b, a}} {
			if _, err := way[0].Write(make([]byte, 10*DefaultBuffer)); err != nil {
				t.Errorf("write %s a silent host: %v", name, err)
			}
			way[1].SetReadDeadline(time.Now().Add(time.Minute))
			_, err := way[1].Read(make([]byte, 1))
			if e, ok := errors.AsType[net.Error](err); !ok || !e.Timeout() {
				t.Errorf("read what was written %s a silent host: %v; want a timeout", name, err)
			}
		}
	})
}
