// SPDX-License-Identifier: Apache-2.0

package link

import (
	"bytes"
	"context"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/link/linktest"
	"github.com/bkp-tool/bkp/core/wire"
)

// BAD-INPUT 57: eight strangers that each sent 1 MiB of `{},{},…` instead of HELLO made a node allocate 2 GB.
func TestWhatStrangersCost(t *testing.T) {
	const strangers, allowed = 8, 4 << 20 // read and write buffers of eight sockets, mostly
	for _, member := range []string{`"links":[{}`, `"files":[{}`, `"accounts":[{}`} {
		message := []byte(`{"type":"STATE_REPORT",` + member + strings.Repeat(`,{}`, 1<<20/3-20) + `]}`)
		hub := New(Config{Signer: newSigner(t), Epoch: 1, Token: clusterToken, Plaintext: true},
			&counter{up: make(chan *Session, 1)})
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go hub.Serve(l)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		var all sync.WaitGroup
		for range strangers {
			all.Go(func() {
				ws, _, err := websocket.DefaultDialer.Dial("ws://"+l.Addr().String()+path,
					map[string][]string{"Sec-WebSocket-Protocol": {"bkp.v1"}})
				if err != nil {
					t.Error(err)
					return
				}
				defer ws.Close()
				ws.SetReadDeadline(time.Now().Add(10 * time.Second))
				ws.WriteMessage(websocket.TextMessage, message)
				for err == nil {
					_, _, err = ws.ReadMessage()
				}
			})
		}
		all.Wait()
		runtime.ReadMemStats(&after)
		if took := int64(after.TotalAlloc - before.TotalAlloc); took > allowed {
			t.Errorf("%d strangers that send %d bytes of %s… each make the node allocate %d bytes", strangers,
				len(message), member, took)
		} else {
			t.Logf("%s: %d bytes", member, took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if err := hub.Close(ctx); err != nil {
			t.Error(err)
		}
		cancel()
	}
}

// As many large messages as there are seats, whoever sends them and however slowly; small ones pass beside them.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		b := newBudget(ctx)
		var late, had, refused int
		var mu sync.Mutex
		read := func(r io.Reader) {
			giveBack, err := b.read(r, new(bytes.Buffer), func() { mu.Lock(); late++; mu.Unlock() })
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				mustContain(t, "the last one", err.Error(), "too many messages")
				refused++
				return
			}
			had++
			giveBack()
		}
		state := func(when string, wantHad, wantRefused, wantLate int) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if had != wantHad || refused != wantRefused || late != wantLate {
				t.Errorf("%s: %d were read, %d refused, %d late; want %d, %d, %d", when, had, refused, late, wantHad,
					wantRefused, wantLate)
			}
		}
		var ends []*io.PipeWriter
		for range largeMessages + 2 {
			r, w := io.Pipe()
			ends = append(ends, w)
			go read(r)
			go w.Write(make([]byte, smallMessage+1))
			synctest.Wait()
		}
		state("all seats taken", 0, 0, 0)
		read(bytes.NewReader(make([]byte, smallMessage-1)))
		state("a small one", 1, 0, 0)
		ends[0].Close() // the next one takes its seat
		state("one ended", 2, 0, 0)
		time.Sleep(budgetWait)
		state("the last one waited", 2, 1, 0)
		time.Sleep(largeRead)
		state("the others are too slow", 2, 1, largeMessages)
		for _, w := range ends {
			w.Close()
		}
		state("all ended", 2+largeMessages, 1, largeMessages)
	})
}

// BAD-INPUT 58: connections that send next to nothing, more than there are places, do not keep a member out.
func TestIdleStrangers(t *testing.T) {
	for name, greeting := range map[string]string{"nothing": "", "a byte": "x",
		"half a request": "GET /bkp HTTP/1.1\r\nHost"} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, net *linktest.Net) {
				victim, member := newHost(t, net, "victim", nil),
					newHost(t, net, "member", func(c *Config) { c.Listen = "" })
				victim.serve(net)
				defer victim.close()
				defer member.close()
				for range 2*maxHandshakes + 10 {
					conn, err := net.Dial("victim:8001")
					if err != nil {
						t.Fatal(err)
					}
					defer conn.Close()
					go conn.Write([]byte(greeting))
					after(0)
				}
				net.Delay = 50 * time.Millisecond
				after(time.Second)
				member.hub.Dial(victim.peer("wss"))
				after(2 * time.Second)
				member.to(victim)
				if n := victim.log.count("lost its place"); n > 1 {
					t.Errorf("%d lines of log tell of it", n)
				}
			})
		})
	}
}

func TestCrowd(t *testing.T) {
	var s strangers
	var all []*stranger
	enter := func(address string) *stranger {
		conn, _ := net.Pipe()
		in := s.enter(at{conn, address})
		all = append(all, in)
		return in
	}
	lone, far := enter("192.0.2.1:1"), enter("[2001:db8:1::1]:1")
	first := enter("198.51.100.1:1")
	for len(s.all) < maxHandshakes {
		enter("198.51.100.2:1") // of the same /24
	}
	enter("[2001:db8:2::1]:1")
	if !s.leave(first) || s.leave(lone) || s.leave(far) || len(s.all) != maxHandshakes-2 {
		t.Errorf("the place of another was taken, of %d", len(s.all))
	}
	for _, in := range all {
		in.Close()
	}
}

// Who has proved a pinned key keeps its seat beside a crowd that comes after it; another key does not.
func TestPinnedKeyHasASeatOfItsOwn(t *testing.T) {
	for name, pinned := range map[string]bool{"pinned": true, "not pinned": false} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, net *linktest.Net) {
				known := pins{}
				victim := newHost(t, net, "victim", func(c *Config) { c.Pins = known })
				victim.serve(net)
				defer victim.close()
				r := &rogue{t: t, net: net, signer: newSigner(t), token: clusterToken, epoch: 1, tls: true}
				if pinned {
					known[r.signer.ID()] = ""
				}
				ws := r.open() // over TLS, by which it has proved its key
				for range maxHandshakes + 1 {
					conn, err := net.Dial("victim:8001")
					if err != nil {
						t.Fatal(err)
					}
					defer conn.Close()
					after(0)
				}
				r.write(ws, r.myHello(wire.ChannelControl))
				if _, _, err := ws.ReadMessage(); (err == nil) != pinned {
					t.Errorf("it is answered with %v", err)
				}
				ws.Close()
			})
		})
	}
}

// at is a connection from an address.
type at struct {
	net.Conn
	address string
}

func (a at) RemoteAddr() net.Addr { return named(a.address) }

type named string

func (n named) Network() string { return "tcp" }
func (n named) String() string  { return string(n) }

// A node whose HELLO nobody would read says so itself.
func TestTooManyLabels(t *testing.T) {
	labels := map[string]string{}
	for i := range 64 {
		labels[text("%d", i)] = strings.Repeat("x", 255)
	}
	bubble(t, func(t *testing.T, net *linktest.Net) {
		a := newHost(t, net, "a", func(c *Config) { c.Labels = labels })
		l, err := net.Listen("a:8001")
		if err != nil {
			t.Fatal(err)
		}
		mustContain(t, "listening", a.hub.Serve(l).Error(), "cannot introduce itself")
		l.Close()
		a.hub.Dial(core.Peer{Scheme: "wss", Host: "b", Port: 8001})
		after(time.Second)
		err = a.hub.Diallers()[0].Err
		mustContain(t, "dialling", err.Error(), "cannot introduce itself")
		mustContain(t, "hint", core.HintOf(err), "labels")
		a.close()
	})
}
