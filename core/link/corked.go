// SPDX-License-Identifier: Apache-2.0

package link

import (
	"net"
	"sync"
)

// corked is the connection under TLS. TLS writes each record of 16 KiB by itself; while a data message is written,
// corked collects records and hands them on together, which more than halves the system calls.
type corked struct {
	net.Conn
	turn chan struct{} // holds one token: a lock that a virtual clock can see waiting
	buf  *[]byte       // what is collected; nil while not corked
}

// corkSize is how many bytes are handed on together at least, while there are more.
const corkSize = 96 << 10

var recordBuffers = sync.Pool{New: func() any { b := make([]byte, 0, corkSize+32<<10); return &b }}

func newCorked(conn net.Conn) *corked {
	return &corked{Conn: conn, turn: make(chan struct{}, 1)}
}

func (c *corked) Write(p []byte) (int, error) {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	if c.buf == nil {
		return c.Conn.Write(p)
	}
	*c.buf = append(*c.buf, p...)
	if len(*c.buf) < corkSize {
		return len(p), nil
	}
	return len(p), c.flush()
}

// flush is called with the turn held.
func (c *corked) flush() error {
	if len(*c.buf) == 0 {
		return nil
	}
	_, err := c.Conn.Write(*c.buf)
	*c.buf = (*c.buf)[:0]
	return err
}

// cork begins to collect; uncork ends that and hands on what was collected.
func (c *corked) cork() {
	c.turn <- struct{}{}
	c.buf = recordBuffers.Get().(*[]byte)
	<-c.turn
}

func (c *corked) uncork() error {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	err := c.flush()
	recordBuffers.Put(c.buf)
	c.buf = nil
	return err
}
