// SPDX-License-Identifier: Apache-2.0

package linktest

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// conn is one end of a connection: it reads from in and writes to out, which the other end has the other way round.
type conn struct {
	net           *Net
	in, out       *half
	local, remote addr
}

func (n *Net) pipe(a, b addr) (near, far *conn) {
	x, y := newHalf(n), newHalf(n)
	if n.silent[a.host()] || n.silent[b.host()] {
		x.swallow()
		y.swallow()
	}
	return &conn{n, x, y, a, b}, &conn{n, y, x, b, a}
}

func (c *conn) LocalAddr() net.Addr                { return c.local }
func (c *conn) RemoteAddr() net.Addr               { return c.remote }
func (c *conn) Read(p []byte) (int, error)         { return c.in.read(p) }
func (c *conn) Write(p []byte) (int, error)        { return c.out.write(p) }
func (c *conn) SetReadDeadline(t time.Time) error  { c.in.reader.set(c.in, t); return nil }
func (c *conn) SetWriteDeadline(t time.Time) error { c.out.writer.set(c.out, t); return nil }

func (c *conn) SetDeadline(t time.Time) error {
	c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

// Close lets the other end read what was written, then EOF; what it writes fails.
func (c *conn) Close() error {
	c.in.end(net.ErrClosed, errBroken)
	c.out.end(nil, net.ErrClosed)
	c.net.forget(c)
	return nil
}

// fail breaks both directions for both ends, losing what is on its way.
func (c *conn) fail(err error) {
	c.in.end(err, err)
	c.out.end(err, err)
}

// half is one direction. Its locks are held for no longer than a copy takes.
type half struct {
	mu      sync.Mutex
	changed sync.Cond
	size    int
	delay   time.Duration

	buf     []byte
	pieces  []piece // of buf, in order
	readErr error   // for the reader at once
	eof     bool    // for the reader once buf is empty
	sendErr error   // for the writer
	silent  bool

	reader, writer deadline
}

// piece is how many bytes may be read from a moment on.
type piece struct {
	n  int
	at time.Time
}

func newHalf(n *Net) *half {
	h := &half{size: n.Buffer, delay: n.Delay}
	h.changed.L = &h.mu
	return h
}

// end gives the reader and the writer an error each, where they have none; no error for the reader is EOF.
func (h *half) end(reader, writer error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if reader == nil {
		h.eof = true
	} else if h.readErr == nil {
		h.readErr = reader
	}
	if h.sendErr == nil {
		h.sendErr = writer
	}
	h.changed.Broadcast()
}

// swallow makes everything that is written disappear.
func (h *half) swallow() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.silent, h.buf, h.pieces = true, nil, nil
	h.changed.Broadcast()
}

func (h *half) read(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.readErr != nil:
			return 0, h.readErr
		case h.reader.passed:
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, nil
		case len(h.pieces) > 0:
			wait := time.Until(h.pieces[0].at)
			if wait <= 0 {
				return h.take(p), nil
			}
			wake := time.AfterFunc(wait, h.wake)
			h.changed.Wait()
			wake.Stop()
			continue
		case h.eof && !h.silent:
			return 0, io.EOF
		}
		h.changed.Wait()
	}
}

func (h *half) wake() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.changed.Broadcast()
}

// take moves the first piece, or what fits of it.
func (h *half) take(p []byte) int {
	n := copy(p, h.buf[:h.pieces[0].n])
	h.buf = h.buf[n:]
	if h.pieces[0].n -= n; h.pieces[0].n == 0 {
		h.pieces = h.pieces[1:]
	}
	h.changed.Broadcast()
	return n
}

func (h *half) write(p []byte) (sent int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.sendErr != nil:
			return sent, h.sendErr
		case h.writer.passed:
			return sent, os.ErrDeadlineExceeded
		case h.silent:
			return sent + len(p), nil
		}
		if n := min(len(p), h.size-len(h.buf)); n > 0 {
			h.buf = append(h.buf, p[:n]...)
			h.pieces = append(h.pieces, piece{n, time.Now().Add(h.delay)})
			h.changed.Broadcast()
			sent, p = sent+n, p[n:]
		}
		if len(p) == 0 {
			return sent, nil
		}
		h.changed.Wait()
	}
}

// deadline is that of the reads, or of the writes, of one direction. Guarded by the half's lock.
type deadline struct {
	timer  *time.Timer
	passed bool
	turn   int // of the last set: a timer that was stopped too late has another
}

func (d *deadline) set(h *half, t time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
	}
	d.turn++
	turn, left := d.turn, time.Until(t)
	d.passed = !t.IsZero() && left <= 0
	if d.passed {
		h.changed.Broadcast()
	}
	if t.IsZero() || d.passed {
		return
	}
	d.timer = time.AfterFunc(left, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if d.turn == turn {
			d.passed = true
			h.changed.Broadcast()
		}
	})
}
