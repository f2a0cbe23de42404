// SPDX-License-Identifier: Apache-2.0

package link

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/link/linktest"
	"github.com/bkp-tool/bkp/core/wire"
)

// talk sends messages and data from one host to another and checks that they arrive in order.
func talk(t *testing.T, from, to *host) {
	t.Helper()
	s := from.to(to)
	for q := range uint64(5) {
		if err := s.Send(wire.StateQuery{Query: q}); err != nil {
			t.Fatal(err)
		}
		if err := s.SendData(t.Context(), 7, uint32(q), 3, bytes.Repeat([]byte{byte(q)}, 200_000)); err != nil {
			t.Fatal(err)
		}
	}
	after(time.Second)
	to.mu.Lock()
	defer to.mu.Unlock()
	for q := range uint64(5) {
		if want := (wire.StateQuery{Query: q}); len(to.messages) != 5 || to.messages[q] != wire.Message(want) {
			t.Fatalf("%s heard %v from %s; want query %d in its place", to.name, to.messages, from.name, q)
		}
		d := to.data[q]
		if d.Transfer != 7 || d.Chunk != uint32(q) || d.Offset != 3 ||
			!bytes.Equal(d.Bytes, bytes.Repeat([]byte{byte(q)}, 200_000)) {
			t.Fatalf("%s got other data than %s sent as chunk %d: chunk %d, %d bytes", to.name, from.name, q, d.Chunk,
				len(d.Bytes))
		}
	}
	to.messages, to.data = nil, nil
}

func TestTwoHubs(t *testing.T) {
	for _, scheme := range []string{"wss", "ws"} {
		t.Run(scheme, func(t *testing.T) {
			bubble(t, func(t *testing.T, net *linktest.Net) {
				net.Delay = 20 * time.Millisecond
				plaintext := func(c *Config) { c.Plaintext = scheme == "ws" }
				a, b := newHost(t, net, "a", plaintext), newHost(t, net, "b", plaintext)
				a.serve(net)
				b.serve(net)
				a.hub.Dial(b.peer(scheme))
				b.hub.Dial(a.peer(scheme))
				after(3 * time.Second)
				talk(t, a, b)
				talk(t, b, a)
				if n := net.Conns(); n != 6 {
					t.Errorf("%d ends of connections are open; want both of 3", n)
				}
				for _, way := range [][2]*host{{a, b}, {b, a}} {
					s, p := way[0].to(way[1]), way[0].to(way[1]).Peer()
					if p.ID != way[1].id() || p.Listen != way[1].name+":8001" || p.Labels["zone"] != way[1].name ||
						!p.Token || p.TLS != (scheme == "wss") {
						t.Errorf("%s knows its peer as %+v", way[0].name, p)
					}
					if d := s.Delay(); d != net.Delay {
						t.Errorf("delay from %s = %v; want %v", way[0].name, d, net.Delay)
					}
					if ago := time.Since(s.LastSeen()); ago > pingEvery {
						t.Errorf("%s saw its peer %v ago", way[0].name, ago)
					}
				}
				a.close()
				after(time.Millisecond)
				mustContain(t, "b's session", b.down(), "the peer says: the node is stopping")
				b.close()
			})
		})
	}
}

// What goes from a listener to a dialler is not masked: each side dials the socket that it receives on, unless it
// cannot.
func TestWhoDialsTheDataSockets(t *testing.T) {
	silent := func(c *Config) { c.Listen = "" }
	for _, c := range []struct {
		name   string
		change func(*Config)
		serves bool
		back   bool          // the listener dials the socket that it receives on
		within time.Duration // the session stands
	}{
		{"both listen", nil, true, true, 500 * time.Millisecond},
		{"the dialler is not reached where it says that it is", nil, false, false, time.Second},
		{"the dialler listens nowhere", silent, false, false, 500 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, net *linktest.Net) {
				net.Delay = 10 * time.Millisecond
				dialler, listener := newHost(t, net, "a", c.change), newHost(t, net, "b", nil)
				defer dialler.close()
				defer listener.close()
				if c.serves {
					dialler.serve(net)
				}
				listener.serve(net)
				dialler.hub.Dial(listener.peer("wss"))
				after(c.within)
				out, in := dialler.to(listener), listener.to(dialler)
				if !out.in.dialled || in.out.dialled {
					t.Error("the dialler did not dial the socket that it receives on")
				}
				if in.in.dialled != c.back || out.out.dialled == c.back {
					t.Errorf("the listener dialled the socket that it receives on: %v; want %v", in.in.dialled, c.back)
				}
				after(time.Minute) // what was late is refused, and nothing comes of it
				if dialler.to(listener) != out || net.Conns() != 6 {
					t.Errorf("%d ends of connections are open; want both of the 3 that were", net.Conns())
				}
				talk(t, dialler, listener)
				talk(t, listener, dialler)
			})
		})
	}
}

// The dialler waits for no round trip longer than the session may take to stand.
func TestAFarPeerThatCannotBeDialledBack(t *testing.T) {
	bubble(t, func(t *testing.T, n *linktest.Net) {
		n.Delay = 350 * time.Millisecond
		a, b := newHost(t, n, "a", nil), newHost(t, n, "b", nil)
		defer a.close()
		defer b.close()
		b.serve(n)
		a.hub.Dial(b.peer("wss"))
		after(30 * time.Second)
		talk(t, a, b)
		talk(t, b, a)
	})
}

func TestReachable(t *testing.T) {
	for _, c := range []struct {
		listen, from string
		want         bool
	}{
		{"", "10.0.0.1:5", false},
		{"10.0.0.2:8001", "10.0.0.1:5", true},
		{"127.0.0.1:8001", "10.0.0.1:5", false},
		{"127.0.0.1:8001", "127.0.0.1:5", true},
		{"[::1]:8001", "localhost:5", true},
		{":8001", "10.0.0.1:5", true},
	} {
		if got := reachable(c.listen, c.from); got != c.want {
			t.Errorf("a node at %q is reached from %q: %v; want %v", c.listen, c.from, got, c.want)
		}
	}
}

// A dialler that has waited long enough dials all its sockets; what the listener dials all the same comes too late and
// is let go.
func TestDialledBackTooLate(t *testing.T) {
	bubble(t, func(t *testing.T, n *linktest.Net) {
		n.Delay = 10 * time.Millisecond
		a := newHost(t, n, "a", nil)
		b := newHost(t, n, "b", func(c *Config) {
			dial := c.Dial
			c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				time.Sleep(2 * time.Second)
				return dial(ctx, network, address)
			}
		})
		defer a.close()
		defer b.close()
		a.serve(n)
		b.serve(n)
		a.hub.Dial(b.peer("wss"))
		after(time.Second)
		s := a.to(b)
		after(time.Minute)
		if a.to(b) != s || !s.out.dialled || n.Conns() != 6 {
			t.Errorf("the session was replaced, or %d ends of connections are open; want both of the first 3",
				n.Conns())
		}
		talk(t, b, a)
	})
}

func TestFiveHubs(t *testing.T) {
	bubble(t, func(t *testing.T, net *linktest.Net) {
		net.Delay = 5 * time.Millisecond
		var hosts []*host
		for i := range 5 {
			h := newHost(t, net, fmt.Sprint("n", i), nil)
			hosts = append(hosts, h)
			defer h.close()
		}
		for i, h := range hosts {
			time.Sleep(time.Duration(i%3) * 300 * time.Millisecond)
			h.serve(net)
			for _, other := range hosts {
				if other != h {
					h.hub.Dial(other.peer("wss"))
				}
			}
		}
		after(20 * time.Second)
		for _, a := range hosts {
			if n := len(a.hub.Sessions()); n != 4 {
				t.Errorf("%s has %d sessions; want 4", a.name, n)
			}
			for _, b := range hosts {
				if a != b {
					talk(t, a, b)
				}
			}
		}
		if n := net.Conns(); n != 10*3*2 {
			t.Errorf("%d ends of connections are open; want both of 3 for each of 10 pairs", n)
		}
		lost := hosts[2]
		net.Cut(lost.name)
		after(time.Second)
		for _, h := range hosts {
			want := 3
			if h == lost {
				want = 0
			}
			if n := len(h.hub.Sessions()); n != want {
				t.Errorf("with %s cut off, %s has %d sessions; want %d", lost.name, h.name, n, want)
			}
		}
		net.Mend(lost.name)
		after(20 * time.Second)
		talk(t, hosts[4], lost)
	})
}

// Sessions dialled from both sides at the same moment leave one, the lower ID's, however the messages cross.
func TestBothDialAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, net *linktest.Net) {
		net.Delay = 50 * time.Millisecond
		a, b := newHost(t, net, "a", nil), newHost(t, net, "b", nil)
		if b.id().Compare(a.id()) < 0 {
			a, b = b, a
		}
		a.serve(net)
		b.serve(net)
		a.hub.Dial(b.peer("wss"))
		b.hub.Dial(a.peer("wss"))
		after(30 * time.Second)
		if !a.to(b).Peer().Dialled || b.to(a).Peer().Dialled {
			t.Error("the session that stays is not the one that the lower ID dialled")
		}
		if n := net.Conns(); n != 6 {
			t.Errorf("%d ends of connections are open; want both of 3", n)
		}
		if n := a.log.count("peer down") + b.log.count("peer down"); n != 0 {
			t.Errorf("%d complaints about a duplicate session; want none", n)
		}
		a.close()
		b.close()
	})
}

func TestAnyOrderOfStart(t *testing.T) {
	bubble(t, func(t *testing.T, net *linktest.Net) {
		a, b := newHost(t, net, "a", nil), newHost(t, net, "b", nil)
		defer a.close()
		defer b.close()
		a.hub.Dial(b.peer("wss"))
		after(10 * time.Minute)
		if n := a.log.count("peer down"); n != 1 {
			t.Errorf("a peer that is down for long was logged %d times; want once", n)
		}
		if d := a.hub.Diallers(); len(d) != 1 || d[0].Err == nil {
			t.Errorf("dialler = %+v; want its reason", d)
		}
		b.serve(net)
		after(16 * time.Second) // 10 s and jitter
		talk(t, a, b)
		if d := a.hub.Diallers(); d[0].Err != nil || d[0].ID != b.id() {
			t.Errorf("dialler = %+v; want no complaint", d)
		}
	})
}

func TestBackoffIsShortAtFirst(t *testing.T) {
	bubble(t, func(t *testing.T, net *linktest.Net) {
		a, b := newHost(t, net, "a", nil), newHost(t, net, "b", nil)
		defer a.close()
		defer b.close()
		a.hub.Dial(b.peer("wss"))
		after(100 * time.Millisecond)
		b.serve(net)
		after(time.Second)
		a.to(b)
	})
}

// A node that was killed and started anew takes its place again, whoever dialled before and whoever does now.
func TestNewEpochReplaces(t *testing.T) {
	for _, c := range []struct{ name, old, fresh string }{
		{"it dialled and dials", "b", "b"}, {"it was dialled and dials", "a", "b"},
	} {
		for _, lower := range []bool{false, true} {
			t.Run(text("%s, lower %v", c.name, lower), func(t *testing.T) {
				bubble(t, func(t *testing.T, net *linktest.Net) {
					a, b := newHost(t, net, "a", nil), newHost(t, net, "b", nil)
					for (b.id().Compare(a.id()) < 0) != lower {
						b = newHost(t, net, "b", nil)
					}
					a.serve(net)
					b.serve(net)
					if c.old == "b" {
						b.hub.Dial(a.peer("wss"))
					} else {
						a.hub.Dial(b.peer("wss"))
					}
					after(time.Second)
					old := a.to(b)
					net.Silence("b") // as after kill -9: nobody says goodbye
					net.Mend("b")
					again := newHost(t, net, "b2", func(c *Config) { c.Signer = b.hub.config.Signer })
					again.hub.Dial(a.peer("wss"))
					after(4 * time.Second)
					s := a.to(again)
					if s == old || s.Peer().Epoch != again.hub.config.Epoch {
						t.Errorf("a still has the session of epoch %v", s.Peer().Epoch)
					}
					mustContain(t, "the old session", a.down(), "started anew")
					b.close()
					again.close()
					a.close()
				})
			})
		}
	}
}

// Of two nodes that run with one key the one that was there first stays, however often the other comes, until it is
// gone; both the peer and the clone say why.
func TestTwoNodesWithOneKey(t *testing.T) {
	bubble(t, func(t *testing.T, net *linktest.Net) {
		a, b := newHost(t, net, "a", nil), newHost(t, net, "b", nil)
		a.serve(net)
		b.hub.Dial(a.peer("wss"))
		after(time.Second)
		first := a.to(b)
		clone := newHost(t, net, "c", func(c *Config) { c.Signer = b.hub.config.Signer })
		clone.hub.Dial(a.peer("wss"))
		after(2 * time.Minute)
		if a.to(b) != first {
			t.Errorf("a has gone over to the other: %s", a.down())
		}
		if n := a.log.count("level=WARN msg=\"two nodes run with one key"); n != 1 {
			t.Errorf("a warned %d times", n)
		}
		if n := clone.log.count("two nodes run with the key of " + b.id().Short()); n != 1 {
			t.Errorf("the clone said %d times why", n)
		}
		b.close()
		after(15 * time.Second)
		if s := a.to(b); s.Peer().Epoch != clone.hub.config.Epoch {
			t.Error("the clone is not let in when the other is gone")
		}
		clone.close()
		a.close()
	})
}

func TestSilentPeerIsGoneAfterThreePings(t *testing.T) {
	bubble(t, func(t *testing.T, net *linktest.Net) {
		a, b := newHost(t, net, "a", nil), newHost(t, net, "b", nil)
		defer a.close()
		defer b.close()
		b.serve(net)
		a.hub.Dial(b.peer("wss"))
		after(time.Second)
		s := a.to(b)
		after(time.Minute)
		if s.ended() != nil {
			t.Fatalf("a quiet session ended: %v", s.ended())
		}
		net.Silence("b")
		began := time.Now()
		<-s.Done()
		if took := time.Since(began); took < 10*time.Second || took > 20*time.Second {
			t.Errorf("the peer was given up after %v; want about %v", took, gone)
		}
		after(5 * time.Second)
	})
}

// A receiver that does not take data holds the sender back; it does not lose the session, and control messages pass.
func TestBackPressure(t *testing.T) {
	bubble(t, func(t *testing.T, net *linktest.Net) {
		a, b := newHost(t, net, "a", nil), newHost(t, net, "b", nil)
		defer a.close()
		defer b.close()
		b.block = make(chan struct{})
		b.serve(net)
		a.hub.Dial(b.peer("wss"))
		after(time.Second)
		s := a.to(b)
		sent := make(chan error, 1)
		go func() {
			for i := range 3 {
				if err := s.SendData(context.Background(), 1, uint32(i), 0, make([]byte, wire.MaxData)); err != nil {
					sent <- err
					return
				}
			}
			sent <- nil
		}()
		after(45 * time.Second)
		select {
		case err := <-sent:
			t.Fatalf("3 MiB went into a receiver that takes none: %v", err)
		default:
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.SendData(ctx, 1, 9, 0, []byte("x")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("SendData waited for its turn beyond its context: %v", err)
		}
		if err := s.Send(wire.StateQuery{Query: 1}); err != nil {
			t.Fatal(err)
		}
		after(time.Second)
		if len(b.messages) != 1 {
			t.Errorf("behind blocked data, %d control messages arrived; want 1", len(b.messages))
		}
		close(b.block)
		if err := <-sent; err != nil {
			t.Errorf("after the block: %v", err)
		}
		synctest.Wait()
	})
}

func TestSendToWhoDoesNotRead(t *testing.T) {
	bubble(t, func(t *testing.T, net *linktest.Net) {
		a, b := newHost(t, net, "a", nil), newHost(t, net, "b", nil)
		defer a.close()
		defer b.close()
		b.serve(net)
		a.hub.Dial(b.peer("wss"))
		after(time.Second)
		s := a.to(b)
		const most = 100 * maxQueued // b does read, but not as fast
		var err error
		for n := 0; err == nil && n < most; n++ {
			err = s.Send(wire.StateQuery{Query: 1})
		}
		if core.CodeOf(err) != core.CodeBusy {
			t.Errorf("%d messages were queued without an error: %v", most, err)
		}
		after(10 * time.Second)
		if err := s.SendData(t.Context(), 1, 0, 0, []byte("x")); err == nil {
			t.Error("SendData on an ended session succeeded")
		}
	})
}

func TestForget(t *testing.T) {
	bubble(t, func(t *testing.T, net *linktest.Net) {
		a, b := newHost(t, net, "a", nil), newHost(t, net, "b", nil)
		defer a.close()
		defer b.close()
		b.serve(net)
		a.hub.Dial(b.peer("wss"))
		after(time.Second)
		a.to(b)
		a.hub.Forget(b.peer("wss"))
		after(time.Minute)
		if len(a.hub.Sessions()) != 0 || len(b.hub.Sessions()) != 0 || len(a.hub.Diallers()) != 0 {
			t.Errorf("a forgotten peer is still there: %v", a.hub.Diallers())
		}
		mustContain(t, "b's session", b.down(), "removed from the peer list")
	})
}

func TestWhatWasSentBeforeCloseArrives(t *testing.T) {
	bubble(t, func(t *testing.T, net *linktest.Net) {
		a, b := newHost(t, net, "a", nil), newHost(t, net, "b", nil)
		defer a.close()
		defer b.close()
		b.serve(net)
		a.hub.Dial(b.peer("wss"))
		after(time.Second)
		s := a.to(b)
		for q := range uint64(100) {
			s.Send(wire.StateQuery{Query: q})
		}
		s.Close(core.ReasonStopped, "enough")
		after(100 * time.Millisecond)
		if len(b.messages) != 100 {
			t.Errorf("%d of 100 messages arrived", len(b.messages))
		}
		mustContain(t, "b's session", b.down(), "the peer says: enough")
	})
}

// The trace holds the conversation of the control socket as both sides saw it.
func TestTrace(t *testing.T) {
	bubble(t, func(t *testing.T, net *linktest.Net) {
		traces := map[string]*[]string{"a": {}, "b": {}}
		var mu sync.Mutex
		traced := func(name string) func(*Config) {
			return func(c *Config) {
				c.Trace = func(dir string, peer core.ID, m wire.Message) {
					mu.Lock()
					defer mu.Unlock()
					*traces[name] = append(*traces[name], dir+" "+m.Type())
				}
			}
		}
		a, b := newHost(t, net, "a", traced("a")), newHost(t, net, "b", traced("b"))
		b.serve(net)
		a.hub.Dial(b.peer("wss"))
		after(time.Second)
		a.to(b).Send(wire.BandwidthCoordination{Size: 1})
		after(time.Second)
		a.close()
		b.close()
		for name, want := range map[string]string{
			"a": "sent HELLO, received HELLO, sent AUTH, received AUTH, sent BANDWIDTH_COORDINATION",
			"b": "received HELLO, sent HELLO, received AUTH, sent AUTH, received BANDWIDTH_COORDINATION",
		} {
			if got := strings.Join(*traces[name], ", "); got != want {
				t.Errorf("trace of %s: %s; want %s", name, got, want)
			}
		}
	})
}
