// SPDX-License-Identifier: Apache-2.0

package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/wire"
)

// The directions that Config.Trace is told.
const (
	sent     = "sent"
	received = "received"
)

var (
	errSelf   = refuse(core.ReasonProtocol, "that is this node itself")
	errClosed = refuse(core.ReasonStopped, "the node is stopping")
)

// Hub keeps this node's sessions: one for each peer, whoever dialled.
type Hub struct {
	config  Config
	id      core.ID
	cert    tls.Certificate
	unfit   error // why it can neither listen nor dial
	handler Handler

	ctx       context.Context // ends when Close begins
	cancel    context.CancelFunc
	work      sync.WaitGroup // everything that the hub started
	memory    *budget
	secret    atomic.Pointer[[]byte] // the cluster token
	strangers strangers

	mu        sync.Mutex
	sessions  map[core.ID]*Session // the one that counts for each peer, until it is down
	diallers  map[string]*dialler  // by address
	listeners []net.Listener
	callers   map[string]string      // hosts that were refused, and why
	rivals    map[core.ID]core.Epoch // processes that were turned away since another with the same key is here
	closed    bool
}

// New makes a hub; it does nothing before Serve or Dial.
func New(c Config, handler Handler) *Hub {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Dial == nil {
		c.Dial = new(net.Dialer).DialContext
	}
	h := &Hub{
		config: c, id: c.Signer.ID(), handler: handler,
		sessions: map[core.ID]*Session{},
		diallers: map[string]*dialler{},
		callers:  map[string]string{},
		rivals:   map[core.ID]core.Epoch{},
	}
	h.UseToken(c.Token)
	if h.cert, h.unfit = certificate(c.Signer); h.unfit == nil {
		h.unfit = h.introducible()
	}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.memory = newBudget(h.ctx)
	return h
}

// UseToken has the hub know another cluster token from now on. Sessions that stand are not asked again.
func (h *Hub) UseToken(token []byte) { h.secret.Store(&token) }

func (h *Hub) token() []byte { return *h.secret.Load() }

// Session is the session with a peer that stands now, or nil.
func (h *Hub) Session(id core.ID) *Session {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s := h.sessions[id]; s != nil && s.stands() {
		return s
	}
	return nil
}

// Sessions are all sessions that stand now, in the order of their peers' IDs.
func (h *Hub) Sessions() []*Session {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []*Session
	for _, s := range h.sessions {
		if s.stands() {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b *Session) int { return a.peer.ID.Compare(b.peer.ID) })
	return all
}

// Close ends diallers, listeners and sessions, telling peers that the node stops, and waits until every goroutine of
// the hub has ended and every Down has returned, or ctx has.
func (h *Hub) Close(ctx context.Context) error {
	h.mu.Lock()
	h.closed = true
	listeners := h.listeners
	h.listeners = nil
	for _, s := range h.sessions {
		s.end(errClosed)
	}
	h.mu.Unlock()
	h.cancel()
	for _, l := range listeners {
		l.Close()
	}
	done := make(chan struct{})
	go func() {
		h.work.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close sessions: %w", ctx.Err())
	}
}

// start runs f as the hub's own, unless the hub is closed.
func (h *Hub) start(f func()) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	h.work.Go(f)
	return true
}

// claim gives s the place of its peer's session. Of two that both sides dialled at once the one that the lower ID
// dialled stays, which both ends see alike; a session of another epoch, or dialled again by the same node, replaces
// what it left behind. Where what is there answers it was not left behind: two nodes run with one key, and the session
// that was first stays.
func (h *Hub) claim(s *Session) error {
	if h.contested(s) {
		return refuse(core.ReasonRights, "two nodes run with the key of %s: stop one of them, or remove node.key "+
			"of one for a new key", s.peer.ID.Short())
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return errClosed
	}
	old := h.sessions[s.peer.ID]
	if old != nil && old.ended() == nil {
		sameNode := old.peer.Epoch == s.peer.Epoch
		if sameNode && old.dialler() != s.dialler() && old.dialler().Compare(s.dialler()) < 0 {
			return refuse(core.ReasonHave, "another session with this node stands")
		}
		if sameNode {
			old.end(refuse(core.ReasonHave, "replaced by another session with this node"))
		} else {
			old.end(refuse(core.ReasonStopped, "the node has started anew"))
		}
	}
	s.before = old
	h.sessions[s.peer.ID] = s
	return nil
}

// contested reports whether a session with another process of the same node stands and answers, and warns of each such
// process once.
func (h *Hub) contested(s *Session) bool {
	h.mu.Lock()
	old := h.sessions[s.peer.ID]
	h.mu.Unlock()
	if old == nil || old.peer.Epoch == s.peer.Epoch || !old.answers() {
		return false
	}
	h.mu.Lock()
	known := h.rivals[s.peer.ID] == s.peer.Epoch
	h.rivals[s.peer.ID] = s.peer.Epoch
	h.mu.Unlock()
	if !known {
		h.config.Log.Warn("two nodes run with one key: one must be stopped, or its node.key removed", "peer",
			s.peer.ID.Short(), "address", old.peer.Address, "other", s.peer.Address)
	}
	return true
}

// leave gives up the place of s if it still has it.
func (h *Hub) leave(s *Session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sessions[s.peer.ID] == s {
		delete(h.sessions, s.peer.ID)
	}
}

// pending is the session that waits for a data socket which a peer has dialled. One that was dialled for a session
// between the same two that has just ended may be taken for the next one's: that one ends then, too, and is dialled
// anew.
func (h *Hub) pending(peer Peer, channel string) (*Session, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.sessions[peer.ID]
	switch {
	case s == nil || s.ended() != nil || s.peer.Epoch != peer.Epoch:
		return nil, refuse(core.ReasonUnknown, "a data socket without a control socket")
	case s.peer.Dialled != (channel == wire.ChannelDataBack): // it has just replaced the one that this data socket is for
		return nil, refuse(core.ReasonHave, "another session with this node stands")
	}
	return s, nil
}

// pinned reports whether a node's key is known, or named in the peer list.
func (h *Hub) pinned(id core.ID) bool {
	if h.config.Pins != nil && h.config.Pins.Known(id) {
		return true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range h.diallers {
		if d.peer.ID == id {
			return true
		}
	}
	return false
}

// duplicate reports whether an attempt ended only because another session with the same node stands.
func duplicate(err error) bool {
	c, ok := errors.AsType[*Closed](err)
	return ok && c.Code == core.ReasonHave
}
