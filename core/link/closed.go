// SPDX-License-Identifier: Apache-2.0

package link

import (
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/bkp-tool/bkp/core"
	"github.com/gorilla/websocket"
)

// Closed is in the chain of the error of a session, or of an attempt at one, that either side ended for a reason.
type Closed struct {
	Code   core.Reason
	Reason string
	ByPeer bool
}

func (c *Closed) Error() string {
	if c.ByPeer {
		return "the peer says: " + c.Reason
	}
	return c.Reason
}

// refuse makes the error with which this side ends a socket, and which the other side is told.
func refuse(code core.Reason, format string, args ...any) error {
	return &core.Error{Code: code.ExitCode(), Err: &Closed{Code: code, Reason: fmt.Sprintf(format, args...)}}
}

// protocol makes an error of decoding one that ends the socket.
func protocol(err error) error {
	if err == nil {
		return nil
	}
	return refuse(core.ReasonProtocol, "%v", err)
}

// closeBase is where the close codes that carry a core.Reason begin, in the range left to applications.
const closeBase = 4000

// closeText is how much of a reason fits in a close frame.
const closeText = 123

// closeFrame tells the other side why; reasons that are nobody else's business are told as ReasonStopped.
func closeFrame(err error) []byte {
	if c, ok := errors.AsType[*Closed](err); ok && !c.ByPeer {
		return websocket.FormatCloseMessage(closeBase+int(c.Code), clip(c.Reason, closeText))
	}
	return websocket.FormatCloseMessage(closeBase+int(core.ReasonStopped), "closed")
}

// clip shortens s to n bytes without cutting a character.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:n]
}

// explain turns what a socket's reads and writes return into words: the peer's own reason where it gave one.
func explain(err error) error {
	closed, ok := errors.AsType[*websocket.CloseError](err)
	switch {
	case errors.Is(err, websocket.ErrReadLimit):
		return refuse(core.ReasonProtocol, "a message over the size limit")
	case !ok:
		return plain(err)
	case closed.Code >= closeBase && closed.Code < closeBase+1000:
		code := core.Reason(closed.Code - closeBase)
		return &core.Error{Code: code.ExitCode(), Err: &Closed{Code: code, Reason: printable(closed.Text),
			ByPeer: true}}
	case closed.Code == websocket.CloseMessageTooBig:
		return &core.Error{Code: core.CodeFailed, Err: &Closed{Code: core.ReasonProtocol,
			Reason: "a message over the size limit", ByPeer: true}}
	case closed.Code == websocket.CloseProtocolError:
		return &core.Error{Code: core.CodeFailed, Err: &Closed{Code: core.ReasonProtocol,
			Reason: "protocol error: " + printable(closed.Text), ByPeer: true}}
	case closed.Code == websocket.CloseAbnormalClosure:
		return errors.New("connection lost")
	}
	return plain(closed)
}

// printable keeps a stranger's words from steering a terminal.
func printable(s string) string {
	q := strconv.Quote(s)
	return q[1 : len(q)-1]
}

// plain leaves out the addresses of a network error, which change with every attempt and hide that it is the same error
// again.
func plain(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Err != nil {
		return fmt.Errorf("%s: %w", op.Op, op.Err)
	}
	return err
}
