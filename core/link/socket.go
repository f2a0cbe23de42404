// SPDX-License-Identifier: Apache-2.0

package link

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/wire"
	"github.com/gorilla/websocket"
)

// writeBuffers is shared by all sockets: an idle one holds no buffer.
var writeBuffers sync.Pool

// controlBuffers hold control messages while they are read.
var controlBuffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// dataBuffers holds room for one data message each, taken while it is read and handled.
var dataBuffers = sync.Pool{New: func() any { return new([wire.DataHeader + wire.MaxData]byte) }}

// socket is a WebSocket connection before and after it has proved itself.
type socket struct {
	*websocket.Conn
	raw     net.Conn
	tls     *tls.ConnectionState // nil over ws
	records *corked              // under TLS; nil over ws
	dialled bool
	address string // as dialled, or the remote one
	dialect wire.Dialect
}

// Close closes at once: TLS would first try to say goodbye to a peer that may not be reading, and the close frame did
// so already.
func (s *socket) Close() error { return s.raw.Close() }

// binding is what both sides' proofs are bound to: this TLS connection, or the nonces of its HELLOs.
func (s *socket) binding(dialler, listener core.Hash) ([]byte, error) {
	if s.tls == nil {
		return wire.PlainBinding(dialler, listener), nil
	}
	return s.tls.ExportKeyingMaterial(wire.ExporterLabel, nil, wire.BindingSize)
}

// send writes one control message before the deadline.
func (s *socket) send(data []byte, deadline time.Time) error {
	if err := s.SetWriteDeadline(deadline); err != nil {
		return err
	}
	return s.WriteMessage(websocket.TextMessage, data)
}

// receive reads one control message of at most the read limit and hands it to use, which must not keep it. What use
// makes of it counts against the budget until it returns.
func (s *socket) receive(b *budget, use func(data []byte) error) error {
	kind, r, err := s.NextReader()
	if err != nil {
		return explain(err)
	}
	if kind != websocket.TextMessage {
		return refuse(core.ReasonProtocol, "a binary frame on a control socket")
	}
	buf := controlBuffers.Get().(*bytes.Buffer)
	defer controlBuffers.Put(buf)
	buf.Reset()
	giveBack, err := b.read(r, buf, func() { s.Close() })
	if err != nil {
		return err
	}
	defer giveBack()
	return use(buf.Bytes())
}

// receiveData reads one data message into buf.
func receiveData(r io.Reader, buf []byte) (wire.Data, error) {
	n := 0
	for {
		k, err := r.Read(buf[n:])
		n += k
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return wire.Data{}, explain(err)
		}
	}
	d, err := wire.ParseData(buf[:n])
	if err != nil {
		return wire.Data{}, refuse(core.ReasonProtocol, "%v", err)
	}
	return d, nil
}

// sendData writes one data message: where the bytes are many and this side need not mask them, they go out from where
// they are.
func (s *socket) sendData(header []byte, d wire.Data, deadline time.Time) (err error) {
	if err := s.SetWriteDeadline(deadline); err != nil {
		return err
	}
	if s.records != nil {
		s.records.cork()
		defer func() { err = errors.Join(err, s.records.uncork()) }()
	}
	w, err := s.NextWriter(websocket.BinaryMessage)
	if err != nil {
		return err
	}
	if _, err := w.Write(wire.AppendDataHeader(header[:0], d)); err != nil {
		return err
	}
	if _, err := w.Write(d.Bytes); err != nil {
		return err
	}
	return w.Close()
}

// bow tells the other side why, waits a moment for it to have read that, and closes.
func (s *socket) bow(why error) {
	deadline := time.Now().Add(lingerTimeout)
	if s.WriteControl(websocket.CloseMessage, closeFrame(why), deadline) == nil {
		s.drain(deadline)
	}
	s.Close()
}

// drain reads and forgets until the other side has closed, or the deadline.
func (s *socket) drain(deadline time.Time) {
	s.SetReadDeadline(deadline)
	for {
		if _, _, err := s.NextReader(); err != nil {
			return
		}
	}
}

// tune sets what a TCP connection needs: no waiting to fill a packet, and little unsent data in the kernel, where it
// could not be overtaken by a message that matters more.
func tune(conn net.Conn) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	tcp.SetNoDelay(true)
	if raw, err := tcp.SyscallConn(); err == nil {
		raw.Control(lowerUnsent)
	}
}
