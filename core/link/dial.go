// SPDX-License-Identifier: Apache-2.0

package link

import (
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

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/wire"
	"github.com/cenkalti/backoff/v5"
	"github.com/gorilla/websocket"
)

// dialler keeps a session with one entry of the peer list, whoever of the two dials it in the end.
type dialler struct {
	h      *Hub
	peer   core.Peer
	ctx    context.Context
	cancel context.CancelFunc
	hurry  chan struct{} // has a value where it is to try now

	// Guarded by h.mu.
	found  core.ID // who answered there last
	err    error   // why there is no session; nil while there is one, or before the first attempt ended
	trying bool    // an attempt has not ended yet
}

// Dialled is how it stands with one entry of the peer list.
type Dialled struct {
	Peer core.Peer
	ID   core.ID // who answers there, zero while unknown
	Err  error   // why there is no session, nil if there is one, or it is tried for the first time or on Retry
}

// Dial keeps a session with p until Forget or Close: it dials again, ever more seldom up to every 10 s, as long as
// there is none. A second call for an address changes nothing. It reports whether it was the first.
func (h *Hub) Dial(p core.Peer) bool {
	d := &dialler{h: h, peer: p, found: p.ID, trying: true, hurry: make(chan struct{}, 1)}
	d.ctx, d.cancel = context.WithCancel(h.ctx)
	h.mu.Lock()
	_, known := h.diallers[p.Address()]
	if !known && !h.closed {
		h.diallers[p.Address()] = d
	}
	h.mu.Unlock()
	if known || !h.start(d.run) {
		d.cancel()
		return false
	}
	return true
}

// Retry has diallers that failed try at once, rather than when their next turn comes: those of some nodes and those
// that never found anybody, or all if ids is nil. It returns what they dial.
func (h *Hub) Retry(ids []core.ID) (again []core.Peer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range h.diallers {
		if d.err == nil || ids != nil && d.found != (core.ID{}) && !slices.Contains(ids, d.found) {
			continue
		}
		again, d.trying = append(again, d.peer), true
		select {
		case d.hurry <- struct{}{}:
		default:
		}
	}
	return again
}

// Forget ends the dialler for p's address and, if it leads to a session, that session.
func (h *Hub) Forget(p core.Peer) {
	h.mu.Lock()
	d := h.diallers[p.Address()]
	delete(h.diallers, p.Address())
	var s *Session
	if d != nil {
		s = h.sessions[d.found]
	}
	h.mu.Unlock()
	if d != nil {
		d.cancel()
	}
	if s != nil {
		s.Close(core.ReasonStopped, "removed from the peer list")
	}
}

// Diallers says how it stands with each entry of the peer list, in no order.
func (h *Hub) Diallers() []Dialled {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []Dialled
	for _, d := range h.diallers {
		state := Dialled{Peer: d.peer, ID: d.found, Err: d.err}
		if s := h.sessions[d.found]; d.trying || s != nil && s.stands() {
			state.Err = nil
		}
		all = append(all, state)
	}
	return all
}

// run dials until the dialler is cancelled. A peer that stays down is logged once for each reason, not for each try.
func (d *dialler) run() {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = 200*time.Millisecond, 10*time.Second
	for d.ctx.Err() == nil {
		s := d.current()
		var err error
		if s == nil {
			s, err = d.attempt()
		}
		if s != nil {
			d.note(nil)
			began := time.Now()
			select {
			case <-s.down:
			case <-d.ctx.Done():
				return
			}
			if err = s.ended(); time.Since(began) >= steady {
				wait.Reset()
			}
		}
		if d.ctx.Err() != nil {
			return
		}
		d.note(err)
		if errors.Is(err, errSelf) {
			return
		}
		d.pause(wait.NextBackOff())
	}
}

// pause sleeps, and wakes when the dialler is cancelled or in a hurry.
func (d *dialler) pause(wait time.Duration) {
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-d.hurry:
	case <-d.ctx.Done():
	}
}

// current is the session with the node that is expected there, or on its way to be one.
func (d *dialler) current() *Session {
	d.h.mu.Lock()
	defer d.h.mu.Unlock()
	if s := d.h.sessions[d.found]; s != nil && s.ended() == nil {
		return s
	}
	return nil
}

// note keeps why there is no session, and logs what is new about it.
func (d *dialler) note(err error) {
	if duplicate(err) {
		err = nil // the other side's stays, or is about to come
	}
	d.h.mu.Lock()
	old := d.err
	d.err, d.trying = err, len(d.hurry) > 0
	d.h.mu.Unlock()
	switch {
	case err != nil && (old == nil || old.Error() != err.Error()):
		d.h.config.Log.Warn("peer down", "address", d.peer.Address(), "error", err)
	case err == nil && old != nil:
		d.h.config.Log.Info("peer reached", "address", d.peer.Address())
	}
}

// attempt dials the control socket, the data sockets that are this side's to dial, and starts the session.
func (d *dialler) attempt() (*Session, error) {
	h := d.h
	sock, in, err := h.dialSocket(d.ctx, d.peer, wire.ChannelControl, d.met)
	if err != nil {
		return nil, err
	}
	s := newSession(h, sock, in)
	if err := h.claim(s); err != nil {
		sock.bow(err)
		return nil, err
	}
	if !h.start(s.run) {
		h.leave(s)
		sock.Close()
		return nil, errClosed
	}
	h.start(func() { d.dataSocket(s, wire.ChannelDataReceive) })
	h.start(func() {
		if reachable(h.config.Listen, d.peer.Address()) { // the peer may dial it
			wait := time.NewTimer(min(patience+10*in.rtt, mostPatience))
			defer wait.Stop()
			select {
			case <-wait.C:
			case <-s.over:
				return
			}
		}
		d.dataSocket(s, wire.ChannelDataSend)
	})
	return s, nil
}

// dataSocket dials a data socket, unless the peer was first. Its place is taken before, so that who dialled the control
// socket decides which of two stays.
func (d *dialler) dataSocket(s *Session, channel string) {
	if s.reserve(channel) != nil {
		return
	}
	peer := d.peer
	peer.ID = s.peer.ID
	if err := d.h.joinSocket(d.ctx, s, peer, channel, d.met); err != nil {
		s.end(err)
	}
}

// dialBack dials the socket that this side receives on in a session which the peer dialled: what goes from a listener
// to a dialler need not be masked. Where the peer is not reached, it dials that socket itself.
func (h *Hub) dialBack(s *Session) {
	if !reachable(s.peer.Listen, s.peer.Address) {
		return
	}
	scheme := "ws"
	if s.peer.TLS {
		scheme = "wss"
	}
	peer, err := core.ParsePeer(scheme + "://" + s.peer.ID.String() + "@" + s.peer.Listen)
	if err == nil {
		ctx, cancel := context.WithCancel(h.ctx)
		defer cancel()
		h.start(func() {
			select {
			case <-s.over:
				cancel()
			case <-ctx.Done():
			}
		})
		err = h.joinSocket(ctx, s, peer, wire.ChannelDataBack, func(wire.Hello) error { return nil })
	}
	if err != nil {
		h.config.Log.Debug("the peer was not dialled back", "peer", s.peer.ID.Short(), "address", s.peer.Listen,
			"error", err)
	}
}

// reachable reports whether a node that listens at one address may be reached there from another: its loopback is its
// own.
func reachable(listen, from string) bool {
	return listen != "" && (!onLoopback(listen) || onLoopback(from))
}

// onLoopback reports whether HOST:PORT is an address that nobody but its own machine reaches.
func onLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}

// joinSocket dials a data socket and puts it in its place in the session.
func (h *Hub) joinSocket(ctx context.Context, s *Session, peer core.Peer, channel string,
	met func(wire.Hello) error) error {
	sock, in, err := h.dialSocket(ctx, peer, channel, met)
	if err != nil {
		return err
	}
	switch {
	case in.peer.Epoch != s.peer.Epoch:
		err = refuse(core.ReasonStopped, "the node has started anew")
	case channel == wire.ChannelDataBack:
		err = s.reserve(channel)
	}
	if err == nil {
		err = s.attach(channel, sock)
	}
	if err != nil {
		sock.bow(err)
	}
	return err
}

// dialSocket dials one socket and introduces this node on it. Where the peer names an ID, that node must answer; met is
// told who does.
func (h *Hub) dialSocket(ctx context.Context, peer core.Peer, channel string, met func(wire.Hello) error) (*socket,
	*introduction, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	sock, stop, err := h.connect(ctx, peer, only(peer.ID))
	if err != nil {
		return nil, nil, err
	}
	in, err := h.introduceDialler(sock, channel, peer.ID, met)
	if err != nil {
		sock.bow(err)
		return nil, nil, err
	}
	stop()
	return sock, in, nil
}

// connect opens a WebSocket to a node whose key is wanted, which a ws connection does not tell. It is closed with ctx,
// until stop is called.
func (h *Hub) connect(ctx context.Context, peer core.Peer, wanted func(core.ID) error) (sock *socket, stop func() bool,
	err error) {
	if peer.Scheme == "ws" && !h.config.Plaintext {
		return nil, nil, core.WithHint(core.Fail(core.CodeRefused, "plaintext ws:// is not allowed here"),
			"write wss://, or start with --insecure-plaintext")
	}
	if h.unfit != nil {
		return nil, nil, h.unfit
	}
	sock = &socket{dialled: true, address: peer.Address()}
	stop = func() bool { return true }
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := h.config.Dial(ctx, network, address)
		if err == nil {
			tune(conn)
			sock.raw = conn
			stop = context.AfterFunc(ctx, func() { conn.Close() })
		}
		return conn, err
	}
	ws := websocket.Dialer{
		NetDialContext: dial, Subprotocols: subprotocols,
		ReadBufferSize: readBufferSize, WriteBufferSize: writeBufferSize, WriteBufferPool: &writeBuffers,
		NetDialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			sock.records = newCorked(conn)
			client := tls.Client(sock.records, tlsConfig(h.cert, wanted))
			if err := client.HandshakeContext(ctx); err != nil {
				conn.Close()
				return nil, err
			}
			state := client.ConnectionState()
			sock.tls = &state
			return client, nil
		},
	}
	conn, reply, err := ws.DialContext(ctx, peer.Scheme+"://"+peer.Address()+path, nil)
	if err != nil {
		return nil, nil, dialError(err, reply)
	}
	sock.Conn, sock.dialect = conn, wire.Dialect{Version: versionOf(conn.Subprotocol())}
	if sock.dialect.Version == 0 {
		err := refuse(core.ReasonProtocol, "it chose the subprotocol %.40q; this node speaks %s", conn.Subprotocol(),
			strings.Join(subprotocols, ", "))
		sock.bow(err)
		return nil, nil, err
	}
	return sock, stop, nil
}

// met learns who answers, and gives up where that node has a session with this one: it dialled while this dialler did.
func (d *dialler) met(hello wire.Hello) error {
	d.h.mu.Lock()
	defer d.h.mu.Unlock()
	d.found = hello.Node
	s := d.h.sessions[hello.Node]
	if hello.Channel == wire.ChannelControl && s != nil && s.ended() == nil && s.peer.Epoch == hello.Epoch {
		return refuse(core.ReasonHave, "another session with this node stands")
	}
	return nil
}

// dialError says what a failed dial means.
func dialError(err error, reply *http.Response) error {
	if closed, ok := errors.AsType[*Closed](err); ok { // out of VerifyConnection
		return &core.Error{Code: closed.Code.ExitCode(), Hint: core.HintOf(err), Err: closed}
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return core.WithHint(core.Fail(core.CodeRefused, "the peer does not speak wss"),
			"if it was started with --insecure-plaintext, write ws:// and start this node so as well")
	}
	if reply != nil && errors.Is(err, websocket.ErrBadHandshake) {
		body, _ := io.ReadAll(io.LimitReader(reply.Body, 256))
		words := printable(strings.TrimSpace(string(body)))
		if words == tlsRequired {
			return core.WithHint(core.Fail(core.CodeRefused, "the peer takes wss:// only"),
				"write wss:// in the peer list")
		}
		return fmt.Errorf("the peer answered %s: %s", reply.Status, words)
	}
	return plain(err)
}
