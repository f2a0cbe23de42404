// SPDX-License-Identifier: Apache-2.0

package link

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/wire"
)

// counter is a handler that counts and forgets.
type counter struct {
	up       chan *Session
	bytes    atomic.Int64
	wrong    atomic.Int64 // data messages whose bytes are not what their header says
	messages atomic.Int64
}

func (c *counter) Up(s *Session)                  { c.up <- s }
func (c *counter) Down(*Session, error)           {}
func (c *counter) Message(*Session, wire.Message) { c.messages.Add(1) }
func (c *counter) Data(_ *Session, d wire.Data) {
	if len(d.Bytes) < 8 || binary.LittleEndian.Uint64(d.Bytes) != d.Transfer+uint64(d.Chunk) {
		c.wrong.Add(1)
	}
	c.bytes.Add(int64(len(d.Bytes)))
}

// loopback is a session over real TCP: from who dialled, and from who listened.
func loopback(t testing.TB, scheme string) (dialler, listener *Session, atDialler, atListener *counter) {
	t.Helper()
	hubs := make([]*Hub, 2)
	counters := []*counter{{up: make(chan *Session, 1)}, {up: make(chan *Session, 1)}}
	for i := range hubs {
		hubs[i] = New(Config{Signer: newSigner(t), Epoch: core.Epoch(i + 1), Token: clusterToken,
			Plaintext: scheme == "ws"}, counters[i])
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go hubs[1].Serve(l)
	hubs[0].Dial(core.Peer{Scheme: scheme, Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		for _, h := range hubs {
			if err := h.Close(ctx); err != nil {
				t.Error(err)
			}
		}
	})
	for i, s := range []**Session{&dialler, &listener} {
		select {
		case *s = <-counters[i].up:
		case <-time.After(10 * time.Second):
			t.Fatalf("no session over %s: %+v", scheme, hubs[0].Diallers())
		}
	}
	return dialler, listener, counters[0], counters[1]
}

// stream sends total bytes in messages of the given size and waits for their arrival.
func stream(t testing.TB, s *Session, at *counter, size int, total int64) {
	t.Helper()
	payload := bytes.Repeat([]byte{0xa5}, size)
	want := at.bytes.Load() + total
	for n := int64(0); n < total; n += int64(size) {
		chunk := uint32(n / int64(size) % 1000)
		binary.LittleEndian.PutUint64(payload, 5+uint64(chunk))
		if err := s.SendData(t.Context(), 5, chunk, 0, payload[:min(int64(size), total-n)]); err != nil {
			t.Fatal(err)
		}
	}
	for give := time.Now().Add(30 * time.Second); at.bytes.Load() < want; runtime.Gosched() {
		if time.Now().After(give) {
			t.Fatalf("%d of %d bytes arrived", at.bytes.Load(), want)
		}
	}
}

func TestLoopback(t *testing.T) {
	for _, scheme := range []string{"wss", "ws"} {
		t.Run(scheme, func(t *testing.T) {
			dialler, listener, atDialler, atListener := loopback(t, scheme)
			const total = 16 << 20
			stream(t, dialler, atListener, 200_000, total)
			stream(t, listener, atDialler, wire.MaxData, total)
			if n := atDialler.wrong.Load() + atListener.wrong.Load(); n > 0 {
				t.Errorf("%d data messages arrived with other bytes than they left", n)
			}
			// The largest control messages too.
			files := make([]core.File, 8000)
			for i := range files {
				files[i] = core.File{Name: strings.Repeat("n", 200), Type: core.TypeFile, Order: i, Size: 1}
			}
			if err := listener.Send(wire.StateReport{Files: files}); err != nil {
				t.Fatal(err)
			}
			for give := time.Now().Add(10 * time.Second); atDialler.messages.Load() == 0; time.Sleep(time.Millisecond) {
				if time.Now().After(give) {
					t.Fatal("a large control message did not arrive")
				}
			}
			if d := dialler.Delay(); d <= 0 || d > time.Second {
				t.Errorf("delay over loopback = %v", d)
			}
		})
	}
}

// Many goroutines share a session's data socket; their messages do not mix.
func TestSendDataTakesTurns(t *testing.T) {
	dialler, _, _, atListener := loopback(t, "ws")
	const each = 200
	done := make(chan struct{})
	for flow := range 4 {
		go func() {
			defer func() { done <- struct{}{} }()
			payload := make([]byte, 3000)
			for i := range each {
				binary.LittleEndian.PutUint64(payload, uint64(flow+i))
				if err := dialler.SendData(t.Context(), uint64(flow), uint32(i), 0, payload); err != nil {
					t.Error(err)
					return
				}
			}
		}()
	}
	for range 4 {
		<-done
	}
	for give := time.Now().Add(10 * time.Second); atListener.bytes.Load() < 4*each*3000; time.Sleep(time.Millisecond) {
		if time.Now().After(give) {
			t.Fatalf("%d bytes arrived", atListener.bytes.Load())
		}
	}
	if n := atListener.wrong.Load(); n > 0 {
		t.Errorf("%d messages mixed", n)
	}
}

// BenchmarkSendData is the throughput of one session over loopback TCP, sender and receiver in one process: "down" is
// from who listened (no masking, the common case), "up" from who dialled.
func BenchmarkSendData(b *testing.B) {
	for _, scheme := range []string{"ws", "wss"} {
		for _, way := range []string{"down", "up"} {
			for _, size := range []int{64 << 10, 256 << 10, wire.MaxData} {
				b.Run(scheme+"/"+way+"/"+core.Size(size).String(), func(b *testing.B) {
					dialler, listener, atDialler, atListener := loopback(b, scheme)
					s, at := listener, atDialler
					if way == "up" {
						s, at = dialler, atListener
					}
					b.SetBytes(int64(size))
					b.ReportAllocs()
					b.ResetTimer()
					stream(b, s, at, size, int64(size)*int64(b.N))
				})
			}
		}
	}
}
