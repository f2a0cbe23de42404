// SPDX-License-Identifier: Apache-2.0

package link

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/link/linktest"
	"github.com/bkp-tool/bkp/core/wire"
)

// rogue is a dialler that does what it likes, one step after another.
type rogue struct {
	t      *testing.T
	net    *linktest.Net
	signer *key.Signer
	token  []byte
	epoch  core.Epoch
	tls    bool

	v     int               // the version that it offers; 0 is the newest
	hello func(*wire.Hello) // what is different about its HELLO
	auth  func(*wire.Auth)  // and its AUTH

	control, send, receive *websocket.Conn
	raw                    map[*websocket.Conn]net.Conn
}

func (r *rogue) version() int { return cmp.Or(r.v, wire.Version) }

// open upgrades a connection and says nothing.
func (r *rogue) open() *websocket.Conn {
	r.t.Helper()
	var raw net.Conn
	dial := func(_, address string) (net.Conn, error) {
		conn, err := r.net.Dial(address)
		raw = conn
		if err == nil && r.tls {
			cert, err := certificate(r.signer)
			if err != nil {
				return nil, err
			}
			conn = tls.Client(conn, tlsConfig(cert, anybody))
		}
		return conn, err
	}
	d := websocket.Dialer{NetDial: dial, Subprotocols: []string{text("bkp.v%d", r.version())}}
	ws, _, err := d.Dial("ws://victim:8001"+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	pong := ws.PingHandler()
	ws.SetPingHandler(func(s string) error { pong(s); return nil })
	if r.raw == nil {
		r.raw = map[*websocket.Conn]net.Conn{}
	}
	r.raw[ws] = raw
	return ws
}

func (r *rogue) write(ws *websocket.Conn, m wire.Message) {
	r.t.Helper()
	data, err := wire.Encode(m)
	if err != nil {
		r.t.Fatal(err)
	}
	r.text(ws, string(data))
}

func (r *rogue) text(ws *websocket.Conn, s string) { ws.WriteMessage(websocket.TextMessage, []byte(s)) }

func (r *rogue) bytes(ws *websocket.Conn, b []byte) { ws.WriteMessage(websocket.BinaryMessage, b) }

func (r *rogue) myHello(channel string) wire.Hello {
	h := wire.Hello{
		V: r.version(), Node: r.signer.ID(), Key: r.signer.Public(), Nonce: core.Hash{1}, Channel: channel,
		Epoch: r.epoch, Time: time.Now().Unix(),
	}
	if r.hello != nil {
		r.hello(&h)
	}
	return h
}

// greet opens a channel with HELLO and AUTH. It returns the socket whatever became of it, and the listener's HELLO.
func (r *rogue) greet(channel string) *websocket.Conn {
	r.t.Helper()
	ws := r.open()
	mine := r.myHello(channel)
	r.write(ws, mine)
	_, data, err := ws.ReadMessage()
	if err != nil {
		return ws // refused already; the next read says so again
	}
	m, err := wire.Decode(data)
	if err != nil {
		r.t.Fatal(err)
	}
	theirs := m.(wire.Hello)
	binding := wire.PlainBinding(mine.Nonce, theirs.Nonce)
	if r.tls {
		state := ws.NetConn().(*tls.Conn).ConnectionState()
		binding, _ = state.ExportKeyingMaterial(wire.ExporterLabel, nil, wire.BindingSize)
	}
	auth := wire.Auth{Signature: r.signer.Sign(wire.ProofMessage(wire.SideDial, binding, mine.Node, theirs.Node))}
	if r.token != nil {
		auth.Proof = wire.Proof(r.token, wire.SideDial, binding, mine.Node, theirs.Node)
	}
	if r.auth != nil {
		r.auth(&auth)
	}
	r.write(ws, auth)
	return ws
}

// join is a whole session.
func (r *rogue) join() {
	r.t.Helper()
	r.control = r.greet(wire.ChannelControl)
	r.mustWelcome(r.control)
	r.send = r.greet(wire.ChannelDataSend)
	r.mustWelcome(r.send)
	r.receive = r.greet(wire.ChannelDataReceive)
	r.mustWelcome(r.receive)
}

func (r *rogue) mustWelcome(ws *websocket.Conn) {
	r.t.Helper()
	if _, data, err := ws.ReadMessage(); err != nil || !strings.Contains(string(data), `"AUTH"`) {
		r.t.Fatalf("the listener answered AUTH with %s, %v", data, err)
	}
}

// end reads until the socket is closed and says how.
func (r *rogue) end(ws *websocket.Conn) string {
	for {
		if _, _, err := ws.ReadMessage(); err != nil {
			if c, ok := errors.AsType[*websocket.CloseError](err); ok {
				return text("%d %s", c.Code, c.Text)
			}
			return err.Error()
		}
	}
}

// frame is a WebSocket frame of a client with a header only: the length is a lie.
func frame(kind byte, length uint64) []byte {
	b := append([]byte{0x80 | kind, 0x80 | 127}, make([]byte, 12)...)
	binary.BigEndian.PutUint64(b[2:], length)
	return b
}

const (
	told = "4002 " // close code of ReasonProtocol
	barr = "4020 " // of ReasonRights
)

// What a peer with a good name may do wrong once it has a session: each ends the session, with words for both sides.
func TestMisbehavingPeers(t *testing.T) {
	message := func(s string) func(*rogue) *websocket.Conn {
		return func(r *rogue) *websocket.Conn { r.text(r.control, s); return r.control }
	}
	data := func(b []byte) func(*rogue) *websocket.Conn {
		return func(r *rogue) *websocket.Conn { r.bytes(r.send, b); return r.control }
	}
	header := func(chunk, offset uint32, payload int) []byte {
		return append(wire.AppendDataHeader(nil, wire.Data{Chunk: chunk, Offset: offset}), make([]byte, payload)...)
	}
	raw := func(b []byte) func(*rogue) *websocket.Conn {
		return func(r *rogue) *websocket.Conn { r.raw[r.control].Write(b); return r.control }
	}
	apply := `{"type":"STORAGE_APPLY","flow":1,"task":"00000000000000000000000000000001","segment":0,"filename":"a.1.0","size":9,"rate":%s,"runs":[{"start":0,"length":1}]}`
	for _, c := range []struct {
		name string
		do   func(*rogue) *websocket.Conn // returns the socket that ends
		told string                       // to the peer
		down string                       // to the handler
	}{
		{"20 control message over the limit", message(`{"type":"` + strings.Repeat("x", wire.MaxMessage)), "1009 ",
			"size limit"},
		{"20 data message over the limit", data(header(0, 0, wire.MaxData+1)), told, "size limit"},
		{"21 length 2^63-1", raw(frame(1, 1<<63-1)), "1009 ", "size limit"},
		{"21 length 2^64-1", raw(frame(1, 1<<64-1)), told, "size limit"},
		{"22 unknown type", message(`{"type":"GIVE_ME"}`), told, `unknown message type "GIVE_ME"`},
		{"27 text frame for data", func(r *rogue) *websocket.Conn { r.text(r.send, "x"); return r.control }, told,
			"text frame on a data socket"},
		{"27 binary frame for control", func(r *rogue) *websocket.Conn {
			r.bytes(r.control,
				[]byte("{}"))
			return r.control
		}, told, "binary frame on a control socket"},
		{"28 nesting 10,000 deep", message(`{"type":` + strings.Repeat("[", 10000)), told, "nested deeper than 16"},
		{"29 lease of 0", message(text(apply, "0")), told, "rate 0 is not within"},
		{"29 negative lease", message(text(apply, "-1")), told, "rate -1 is not within"},
		{"29 lease above any capacity", message(text(apply, "1152921504606846977")), told, "is not within"},
		{"29 lease beyond numbers", message(text(apply, "9223372036854775808")), told, "rate"},
		{"data message without bytes", data(header(0, 0, 0)), told, "the header alone"},
		{"data message of another version", data(append([]byte{2}, header(0, 0, 5)[1:]...)), told, "version 2"},
		{"data beyond any chunk", data(header(0, 1<<32-1, 5)), told, "ends at byte 4294967300"},
		{"data for a chunk that no run has", data(header(1<<32-1, 0, 5)), told, "a run has at most"},
		{"data on the other direction's socket", func(r *rogue) *websocket.Conn {
			r.bytes(r.receive,
				header(0, 0, 5))
			return r.control
		}, told, "the other direction"},
		{"second HELLO", func(r *rogue) *websocket.Conn {
			r.write(r.control,
				r.myHello(wire.ChannelControl))
			return r.control
		}, told, "a second HELLO"},
		{"second AUTH", func(r *rogue) *websocket.Conn {
			r.write(r.control, wire.Auth{Signature: make([]byte, 64)})
			return r.control
		}, told, "a second AUTH"},
		{"second data socket", func(r *rogue) *websocket.Conn { return r.greet(wire.ChannelDataSend) },
			told + "a second data-send socket", ""},
		{"reserved bits", raw([]byte{0xf1, 0x80, 0, 0, 0, 0}), "1002 RSV", "RSV"},
		{"frame without a mask", raw([]byte{0x81, 0x02, '{', '}'}), "1002 bad MASK", "bad MASK"},
		{"close frame with nonsense", raw([]byte{0x88, 0x82, 0, 0, 0, 0, 0, 1}), "1002 bad close code",
			"bad close code"},
		{"data socket closed", func(r *rogue) *websocket.Conn { r.send.Close(); return r.control }, "4017 ",
			"connection lost"},
		{"connection closed", func(r *rogue) *websocket.Conn { r.control.Close(); return r.send }, "",
			"connection lost"},
		{"goodbye to steer a terminal", func(r *rogue) *websocket.Conn {
			r.control.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(4017, "\x1b[2Jbye"))
			return r.control
		}, "4017 ", `the peer says: \x1b[2Jbye`},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, net *linktest.Net) {
				victim := newHost(t, net, "victim", func(c *Config) { c.Plaintext = true })
				victim.serve(net)
				defer victim.close()
				r := &rogue{t: t, net: net, signer: newSigner(t), token: clusterToken, epoch: 1}
				r.join()
				after(0)
				s := victim.hub.Session(r.signer.ID())
				if s == nil {
					t.Fatal("the rogue got no session")
				}
				got := make(chan string, 1)
				ws := c.do(r)
				go func() { got <- r.end(ws) }()
				if end := <-got; !strings.HasPrefix(end, c.told) {
					t.Errorf("the peer is told %q; want %q", end, c.told)
				}
				if c.name == "second data socket" {
					if s.ended() != nil {
						t.Errorf("the session of a node whose extra socket was refused ended: %v", s.ended())
					}
				} else {
					after(5 * time.Second)
					mustContain(t, "reason", victim.down(), c.down)
				}
				for _, ws := range []*websocket.Conn{r.control, r.send, r.receive, ws} {
					ws.Close()
				}
			})
		})
	}
}

// Who is not let in, and what they are told.
func TestStrangers(t *testing.T) {
	other := newSigner(t)
	for _, c := range []struct {
		name string
		make func(*rogue)
		do   func(*rogue) *websocket.Conn // nil: greet on the control channel
		told string
	}{
		{"31 unpinned key without a token", func(r *rogue) { r.token = nil }, nil,
			barr + "node %s is not pinned here and showed no cluster token"},
		{"31 unpinned key with another token", func(r *rogue) { r.token = []byte("another") }, nil,
			barr + "node %s is not pinned here and has another cluster token"},
		{"32 clock a day fast", func(r *rogue) { r.hello = func(h *wire.Hello) { h.Time += 86400 } }, nil,
			barr + "clocks differ by 24h0m0s: yours 2000-01-02T00:00:00Z, mine 2000-01-01T00:00:00Z"},
		{"32 clock a day slow", func(r *rogue) { r.hello = func(h *wire.Hello) { h.Time -= 86400 } }, nil,
			barr + "clocks differ by 24h0m0s: yours 1999-12-31T00:00:00Z, mine 2000-01-01T00:00:00Z"},
		{"32 clock 301 s fast", func(r *rogue) { r.hello = func(h *wire.Hello) { h.Time += 301 } }, nil,
			barr + "clocks differ by 5m1s"},
		{"32 OK: clock 300 s fast", func(r *rogue) { r.hello = func(h *wire.Hello) { h.Time += 300 } }, nil, ""},
		{"32 OK: clock 300 s slow", func(r *rogue) { r.hello = func(h *wire.Hello) { h.Time -= 300 } }, nil, ""},
		{"another's ID", func(r *rogue) { r.hello = func(h *wire.Hello) { h.Node = other.ID() } }, nil,
			barr + "HELLO names node"},
		{"another's key", func(r *rogue) {
			r.hello = func(h *wire.Hello) {
				h.Node, h.Key = other.ID(),
					other.Public()
			}
		}, nil, barr + "the signature in AUTH is wrong"},
		{"another's key over TLS", func(r *rogue) {
			r.tls = true
			r.hello = func(h *wire.Hello) { h.Node, h.Key = other.ID(), other.Public() }
		}, nil, barr + "the HELLO's key is not the TLS connection's key"},
		{"OK: its own key over TLS", func(r *rogue) { r.tls = true }, nil, ""},
		{"small-order key", func(r *rogue) {
			r.hello = func(h *wire.Hello) {
				h.Key = append([]byte{1},
					make([]byte, 31)...)
			}
		}, nil, barr + "HELLO: "},
		{"wrong signature", func(r *rogue) { r.auth = func(a *wire.Auth) { a.Signature[0] ^= 1 } }, nil,
			barr + "the signature in AUTH is wrong"},
		{"the other side's signature", func(r *rogue) {
			r.auth = func(a *wire.Auth) {
				a.Signature = r.signer.Sign(wire.ProofMessage(wire.SideListen, nil, r.signer.ID(), r.signer.ID()))
			}
		}, nil, barr + "the signature in AUTH is wrong"},
		{"another protocol version", func(r *rogue) { r.v, r.hello = 1, func(h *wire.Hello) { h.V = 2 } }, nil,
			told + "HELLO of protocol version 2 on a socket of version 1"},
		{"AUTH first", nil, func(r *rogue) *websocket.Conn {
			ws := r.open()
			r.write(ws, wire.Auth{Signature: make([]byte, 64)})
			return ws
		}, told + "AUTH before HELLO"},
		{"a task before AUTH", nil, func(r *rogue) *websocket.Conn {
			ws := r.open()
			r.write(ws, r.myHello(wire.ChannelControl))
			r.write(ws, wire.StateQuery{})
			return ws
		}, told + "STATE_QUERY before AUTH"},
		{"20 HELLO over the limit", nil, func(r *rogue) *websocket.Conn {
			ws := r.open()
			r.text(ws, `{"type":"HELLO","listen":"`+strings.Repeat("x", wire.MaxHello)+`"}`)
			return ws
		}, "1009 "},
		{"data socket without a control socket", nil, func(r *rogue) *websocket.Conn { return r.greet(wire.ChannelDataSend) }, "4014 a data socket without a control socket"},
		{"data socket of another epoch", nil, func(r *rogue) *websocket.Conn {
			r.mustWelcome(r.greet(wire.ChannelControl))
			r.epoch++
			return r.greet(wire.ChannelDataSend)
		}, "4014 a data socket without a control socket"},
		{"control socket alone", nil, func(r *rogue) *websocket.Conn {
			ws := r.greet(wire.ChannelControl)
			r.mustWelcome(ws)
			return ws
		}, told + "the data sockets did not come within 10s"},
		{"nothing said", nil, (*rogue).open, "4017 "},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, net *linktest.Net) {
				victim := newHost(t, net, "victim", func(c *Config) { c.Plaintext = true })
				victim.serve(net)
				defer victim.close()
				r := &rogue{t: t, net: net, signer: newSigner(t), token: clusterToken, epoch: 1}
				if c.make != nil {
					c.make(r)
				}
				if c.told == "" {
					r.mustWelcome(r.greet(wire.ChannelControl))
				} else {
					do := c.do
					if do == nil {
						do = func(r *rogue) *websocket.Conn { return r.greet(wire.ChannelControl) }
					}
					want := strings.ReplaceAll(c.told, "%s", r.signer.ID().Short())
					if end := r.end(do(r)); !strings.HasPrefix(end, want) {
						t.Errorf("told %q; want %q", end, want)
					}
				}
				for ws := range r.raw {
					ws.Close()
				}
				after(time.Minute)
				if len(victim.ups) != 0 {
					t.Error("a session came of it")
				}
			})
		})
	}
}

// The HTTP side of the door.
func TestRequests(t *testing.T) {
	request := "GET /bkp HTTP/1.1\r\nHost: v\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: bkp.v1\r\n"
	for _, c := range []struct {
		name, request, want string
		secureOnly          bool
	}{
		{"OK", request, "HTTP/1.1 101 ", false},
		{"30 plaintext where wss is required", request, "HTTP/1.1 426 Upgrade Required", true},
		{"Origin", request + "Origin: http://v\r\n", "HTTP/1.1 403 Forbidden", false},
		{"path", strings.Replace(request, "/bkp", "/metrics", 1), "HTTP/1.1 404 Not Found", false},
		{"no subprotocol", strings.Replace(request, "bkp.v1", "chat", 1), "HTTP/1.1 400 Bad Request", false},
		{"not a WebSocket", "GET /bkp HTTP/1.1\r\nHost: v\r\nSec-WebSocket-Protocol: bkp.v1\r\n",
			"HTTP/1.1 400 Bad Request", false},
		{"not HTTP", "SSH-2.0-OpenSSH_9.9\r\n", "", false},
		{"endless header", request + "X: " + strings.Repeat("x", 1<<20), "", false},
		{"nothing", "", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, net *linktest.Net) {
				victim := newHost(t, net, "victim", func(h *Config) { h.Plaintext = !c.secureOnly })
				victim.serve(net)
				defer victim.close()
				conn, err := net.Dial("victim:8001")
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				if c.request != "" {
					go conn.Write([]byte(c.request + "\r\n"))
				}
				var got bytes.Buffer
				conn.SetReadDeadline(time.Now().Add(2 * handshakeTimeout))
				buf := make([]byte, 1024)
				for {
					n, err := conn.Read(buf)
					if got.Write(buf[:n]); err != nil || bytes.HasPrefix(got.Bytes(), []byte("HTTP/1.1 101")) {
						break
					}
				}
				if c.want == "" && got.Len() > 0 || !strings.HasPrefix(got.String(), c.want) {
					t.Errorf("answer %q; want %q", got.String(), c.want)
				}
			})
		})
	}
}

// Who talks but answers no ping is as good as gone: nobody knows whether it hears.
func TestUnansweredPings(t *testing.T) {
	bubble(t, func(t *testing.T, net *linktest.Net) {
		victim := newHost(t, net, "victim", plaintext)
		victim.serve(net)
		defer victim.close()
		r := &rogue{t: t, net: net, signer: newSigner(t), token: clusterToken, epoch: 1}
		r.join()
		r.control.SetPingHandler(func(string) error { return nil })
		go r.end(r.control)
		for range 30 {
			after(time.Second)
			r.write(r.control, wire.StateQuery{})
		}
		mustContain(t, "reason", victim.down(), "3 pings were not answered")
		for ws := range r.raw {
			ws.Close()
		}
	})
}
