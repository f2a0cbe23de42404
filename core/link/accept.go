// SPDX-License-Identifier: Apache-2.0

package link

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/wire"
	"github.com/cenkalti/backoff/v5"
	"github.com/gorilla/websocket"
)

// Serve accepts sockets until the hub or the listener is closed. It takes wss and, where Config.Plaintext is set, ws on
// the same port.
func (h *Hub) Serve(l net.Listener) error {
	if h.unfit != nil {
		return h.unfit
	}
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		l.Close()
		return nil
	}
	h.listeners = append(h.listeners, l)
	h.mu.Unlock()
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = 5*time.Millisecond, time.Second
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
			wait.Reset()
			h.accepted(conn)
		case h.ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept: %w", err)
		default: // out of file descriptors, or a connection that went before it was taken
			h.config.Log.Debug("accept", "error", err)
			if !h.sleep(wait.NextBackOff()) {
				return nil
			}
		}
	}
}

// sleep waits unless the hub closes first.
func (h *Hub) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-h.ctx.Done():
		return false
	}
}

// accepted lets a connection prove itself.
func (h *Hub) accepted(conn net.Conn) {
	in := h.strangers.enter(conn)
	if !h.start(func() {
		err := h.listenSide(in)
		if h.strangers.leave(in) {
			err = errCrowded
		}
		if err != nil && !duplicate(err) && h.ctx.Err() == nil && h.news(conn, err) {
			h.config.Log.Info("connection refused", "address", conn.RemoteAddr().String(), "error", err)
		}
	}) {
		h.strangers.leave(in)
		conn.Close()
	}
}

// maxCallers bounds how many refused hosts are remembered.
const maxCallers = 1024

// news reports whether it is the first time that this host is refused for this: a host that keeps trying is logged
// once.
func (h *Hub) news(conn net.Conn, err error) bool {
	host := conn.RemoteAddr().String()
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.callers[host] == err.Error() {
		return false
	}
	if len(h.callers) >= maxCallers {
		clear(h.callers)
	}
	h.callers[host] = err.Error()
	return true
}

// listenSide takes one connection from its first byte to its place in a session.
func (h *Hub) listenSide(in *stranger) error {
	conn := in.Conn
	tune(conn)
	deadline := time.Now().Add(handshakeTimeout)
	conn.SetDeadline(deadline)
	stop := context.AfterFunc(h.ctx, func() { conn.Close() })
	defer stop()
	sock, err := h.upgrade(conn, deadline)
	if err != nil {
		conn.Close()
		return explain(err)
	}
	if sock.tls != nil && h.knows(*sock.tls) {
		h.strangers.leave(in) // it has proved a pinned key: no crowd of strangers takes its place
	}
	if err := h.introduced(sock); err != nil {
		sock.bow(err)
		return err
	}
	return nil
}

// introduced takes a socket from HELLO to its place in a session, or joins a new member.
func (h *Hub) introduced(sock *socket) error {
	began := time.Now()
	hs, err := h.greet(sock)
	if err != nil {
		return err
	}
	if hs.theirs.Channel == wire.ChannelJoin {
		return hs.joinListener()
	}
	who, err := hs.introduceListener(began)
	switch {
	case err != nil:
		return err
	case who.channel == wire.ChannelControl:
		return h.listenControl(sock, who, hs)
	}
	return h.listenData(sock, who, hs)
}

// knows reports whether the other side of a TLS connection has proved a key that is pinned here.
func (h *Hub) knows(state tls.ConnectionState) bool {
	pub, err := nodeKey(state)
	return err == nil && h.pinned(key.IDOf(pub))
}

func (h *Hub) listenControl(sock *socket, in *introduction, hs *handshake) error {
	s := newSession(h, sock, in)
	if err := h.claim(s); err != nil {
		return err
	}
	welcome := hs.welcome()
	if welcome != nil {
		s.end(welcome)
	}
	if !h.start(s.run) {
		h.leave(s)
		return errClosed
	}
	if welcome == nil {
		h.start(func() { h.dialBack(s) })
	}
	return nil
}

func (h *Hub) listenData(sock *socket, in *introduction, hs *handshake) error {
	s, err := h.pending(in.peer, in.channel)
	if err != nil {
		return err
	}
	if err := s.reserve(in.channel); err != nil {
		return err
	}
	if err := hs.welcome(); err != nil {
		s.end(err)
		return err
	}
	return s.attach(in.channel, sock)
}

// upgrade looks at the first byte for TLS, reads the HTTP request, and answers it as a WebSocket.
func (h *Hub) upgrade(conn net.Conn, deadline time.Time) (*socket, error) {
	first := bufio.NewReaderSize(conn, 16)
	conn.SetReadDeadline(time.Now().Add(firstByte))
	b, err := first.Peek(1)
	if err != nil {
		return nil, fmt.Errorf("first byte: %w", err)
	}
	conn.SetReadDeadline(deadline)
	sock := &socket{raw: conn, address: conn.RemoteAddr().String()}
	stream := net.Conn(conn)
	const tlsHandshake = 0x16
	secure := b[0] == tlsHandshake
	request := first
	if secure {
		sock.records = newCorked(&replay{Conn: conn, first: first})
		server := tls.Server(sock.records, tlsConfig(h.cert, anybody))
		if err := server.HandshakeContext(h.ctx); err != nil {
			return nil, fmt.Errorf("TLS: %w", err)
		}
		state := server.ConnectionState()
		sock.tls, stream = &state, server
		request = bufio.NewReader(server)
	}
	limited := bufio.NewReader(io.LimitReader(request, maxHeader))
	r, err := http.ReadRequest(limited)
	if err != nil {
		return nil, fmt.Errorf("HTTP request: %w", err)
	}
	w := &response{conn: stream, in: limited}
	if status, words := h.refuseRequest(r, secure); status != 0 {
		http.Error(w, words, status)
		return nil, errors.New(words)
	}
	up := websocket.Upgrader{
		Subprotocols: subprotocols, ReadBufferSize: readBufferSize, WriteBufferSize: writeBufferSize,
		WriteBufferPool:  &writeBuffers,
		HandshakeTimeout: handshakeTimeout, CheckOrigin: func(*http.Request) bool { return true },
	}
	if sock.Conn, err = up.Upgrade(w, r, nil); err != nil {
		return nil, err
	}
	sock.dialect = wire.Dialect{Version: versionOf(sock.Subprotocol())}
	return sock, nil
}

// tlsRequired is what a listener says to a ws dialler that may not come in that way; the dialler looks for it.
const tlsRequired = "this node takes wss only"

// refuseRequest says what is wrong with a request, or 0. Browsers send an Origin; no web page may speak to a node.
func (h *Hub) refuseRequest(r *http.Request, secure bool) (int, string) {
	switch {
	case !secure && !h.config.Plaintext:
		return http.StatusUpgradeRequired, tlsRequired
	case r.URL.Path != path:
		return http.StatusNotFound, fmt.Sprintf("nothing at %.80q", r.URL.Path)
	case r.Header["Origin"] != nil:
		return http.StatusForbidden, "requests with an Origin are refused"
	case !slices.ContainsFunc(websocket.Subprotocols(r), func(offered string) bool { return versionOf(offered) > 0 }):
		return http.StatusBadRequest, "none of the subprotocols " + strings.Join(subprotocols, ", ") + " is offered"
	}
	return 0, ""
}

// replay is a connection whose first bytes were read already.
type replay struct {
	net.Conn
	first *bufio.Reader // nil once it is empty
}

func (c *replay) Read(p []byte) (int, error) {
	if c.first == nil {
		return c.Conn.Read(p)
	}
	n, err := c.first.Read(p[:min(len(p), c.first.Buffered())])
	if c.first.Buffered() == 0 {
		c.first = nil
	}
	return n, err
}

// response answers one HTTP request on conn, and hands conn over when it becomes a WebSocket.
type response struct {
	conn   net.Conn
	in     *bufio.Reader
	header http.Header
	status int
}

func (w *response) Header() http.Header {
	if w.header == nil {
		w.header = http.Header{}
	}
	return w.header
}

func (w *response) WriteHeader(status int) { w.status = status }

// Write is called once, with the whole body of a refusal.
func (w *response) Write(body []byte) (int, error) {
	reply := http.Response{
		StatusCode: w.status, ProtoMajor: 1, ProtoMinor: 1, Header: w.Header(), Close: true,
		ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(string(body))),
	}
	return len(body), reply.Write(w.conn)
}

func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.conn, bufio.NewReadWriter(w.in, bufio.NewWriterSize(w.conn, 16)), nil
}
