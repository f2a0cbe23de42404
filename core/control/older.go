// SPDX-License-Identifier: Apache-2.0

package control

import (
	"io"
	"net"

	"github.com/bkp-tool/bkp/core"
)

// Releases before this one spoke lines of JSON on the socket, each an object. A node of theirs answers anything else
// with such a line, and their commands begin with one: whoever meets the other is told so.

// errOlderNode is why a node's answer is not HTTP.
var errOlderNode = core.WithHint(core.Fail(core.CodeFailed, "the running node is of an older release and does not "+
	"understand this program"), "stop it and start it again with this program: bkp node start")

// toOlderCaller is what a command of an older release prints.
const toOlderCaller = `{"type":"LOCAL_RESULT","code":1,"error":"the running node is of a newer release and does not ` +
	`understand this program","hint":"take the program that the node was started with"}` + "\n"

// olderCallers turns away commands of older releases.
type olderCallers struct{ net.Listener }

func (l olderCallers) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &listening{Conn: conn}, nil
}

// listening is a connection that looks at the first byte.
type listening struct {
	net.Conn
	heard bool
}

func (c *listening) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && !c.heard {
		c.heard = true
		if p[0] == '{' {
			_, _ = io.WriteString(c.Conn, toOlderCaller)
			return 0, io.EOF
		}
	}
	return n, err
}
