// SPDX-License-Identifier: Apache-2.0

// Package linktest is a network in memory for tests of whole nodes: hosts, listeners and connections with small
// buffers, a delay, hosts that vanish and hosts that fall silent. It runs inside a testing/synctest bubble, where its
// delays cost no time.
package linktest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"
)

// DefaultBuffer is how many bytes a connection of New holds in each direction before a write blocks.
const DefaultBuffer = 16 << 10

// Net is a network. Addresses are HOST:PORT, any words; a host is whatever stands in front of the last colon.
type Net struct {
	Delay  time.Duration // from a write to when it may be read; set before the first connection
	Buffer int           // bytes per direction; set before the first connection

	mu        sync.Mutex
	listeners map[string]*listener
	conns     map[*conn]bool // both ends of each
	cut       map[string]bool
	silent    map[string]bool
	ports     int
}

// New is a network without delay.
func New() *Net {
	return &Net{
		Buffer: DefaultBuffer, listeners: map[string]*listener{}, conns: map[*conn]bool{},
		cut: map[string]bool{}, silent: map[string]bool{}, ports: 40000,
	}
}

// addr is HOST:PORT.
type addr string

func (addr) Network() string  { return "memory" }
func (a addr) String() string { return string(a) }
func (a addr) host() string   { return string(a)[:max(strings.LastIndexByte(string(a), ':'), 0)] }

type listener struct {
	net    *Net
	addr   addr
	queue  chan *conn
	closed chan struct{}
	once   sync.Once
}

// Listen takes connections for an address that nobody else listens at.
func (n *Net) Listen(address string) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners[address] != nil {
		return nil, n.fail("listen", address, syscall.EADDRINUSE)
	}
	l := &listener{net: n, addr: addr(address), queue: make(chan *conn, 128), closed: make(chan struct{})}
	n.listeners[address] = l
	return l, nil
}

func (n *Net) fail(op, address string, err error) error {
	return &net.OpError{Op: op, Net: "memory", Addr: addr(address), Err: err}
}

func (l *listener) Addr() net.Addr { return l.addr }

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.closed:
		return nil, l.net.fail("accept", string(l.addr), net.ErrClosed)
	}
}

func (l *listener) Close() error {
	l.once.Do(func() {
		l.net.mu.Lock()
		defer l.net.mu.Unlock()
		delete(l.net.listeners, string(l.addr))
		close(l.closed)
		for len(l.queue) > 0 {
			(<-l.queue).fail(syscall.ECONNRESET)
		}
	})
	return nil
}

// From is the dial function of a host, as link.Config takes it.
func (n *Net) From(host string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, _, address string) (net.Conn, error) { return n.dial(ctx, host, address) }
}

// Dial connects to a listener from a host of no other use.
func (n *Net) Dial(address string) (net.Conn, error) {
	return n.dial(context.Background(), "client", address)
}

func (n *Net) dial(ctx context.Context, host, address string) (net.Conn, error) {
	if n.Delay > 0 {
		t := time.NewTimer(2 * n.Delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil, n.fail("dial", address, ctx.Err())
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.listeners[address]
	switch {
	case ctx.Err() != nil:
		return nil, n.fail("dial", address, ctx.Err())
	case n.cut[host] || n.cut[addr(address).host()]:
		return nil, n.fail("dial", address, syscall.EHOSTUNREACH)
	case l == nil:
		return nil, n.fail("dial", address, syscall.ECONNREFUSED)
	}
	n.ports++
	near, far := n.pipe(addr(fmt.Sprintf("%s:%d", host, n.ports)), l.addr)
	select {
	case l.queue <- far:
		n.conns[near], n.conns[far] = true, true
		return near, nil
	default:
		return nil, n.fail("dial", address, syscall.ECONNREFUSED)
	}
}

// Pipe is a pair of connected ends outside any host.
func (n *Net) Pipe() (net.Conn, net.Conn) { return n.pipe("near:1", "far:1") }

// Cut takes a host from the network as if its power failed and its neighbours were told at once: its connections break,
// and nothing reaches it until Mend.
func (n *Net) Cut(host string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[host] = true
	for c := range n.conns {
		if c.local.host() == host || c.remote.host() == host {
			c.fail(syscall.ECONNRESET)
		}
	}
}

// Silence makes what a host writes, and what is written to it, disappear without an error until Mend. Connections that
// it hit stay broken.
func (n *Net) Silence(host string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.silent[host] = true
	for c := range n.conns {
		if c.local.host() == host || c.remote.host() == host {
			c.out.swallow()
		}
	}
}

// Mend undoes Cut and Silence for new connections.
func (n *Net) Mend(host string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.cut, host)
	delete(n.silent, host)
}

// forget is called by a connection that was closed.
func (n *Net) forget(c *conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, c)
}

// Conns is how many ends of connections are open.
func (n *Net) Conns() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.conns)
}

var errBroken = errors.New("broken pipe")
