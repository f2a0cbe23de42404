// SPDX-License-Identifier: Apache-2.0

package link

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/wire"
	"github.com/gorilla/websocket"
)

// Session is this node's standing connection with a peer: a control socket and two data sockets, one for each
// direction. Its methods may be called by any goroutine.
type Session struct {
	h      *Hub
	peer   Peer
	before *Session // which it replaces; its Down comes first

	control, in, out *socket       // in and out are set by attach, and fixed once ready is closed
	ready            chan struct{} // closed when all three are there
	over             chan struct{} // closed when it begins to end
	down             chan struct{} // closed when Down has returned

	mu       sync.Mutex
	err      error         // why it ended; set before over is closed
	reserved map[bool]bool // whether the socket that this side receives on, or sends on, is on its way
	up       atomic.Bool

	turns turns
	turn  *turn // of the message that the handler has now

	queue   chan outgoing
	queued  atomic.Int64 // bytes in queue
	skipped atomic.Int64 // types and members of the peer's that this build does not know

	writing chan struct{} // holds one token: who has it writes to out
	pacing  sync.Mutex
	// that the kernel may send at on out, as its users asked for; 0 is as fast as it can; guarded by pacing
	paced  core.Rate
	header [wire.DataHeader]byte

	health
}

// outgoing is an encoded control message that waits to be written.
type outgoing struct {
	m    wire.Message
	data []byte
}

func newSession(h *Hub, control *socket, in *introduction) *Session {
	s := &Session{
		h: h, peer: in.peer, control: control,
		ready: make(chan struct{}), over: make(chan struct{}), down: make(chan struct{}),
		reserved: map[bool]bool{},
		turns:    newTurns(),
		queue:    make(chan outgoing, maxQueued),
		writing:  make(chan struct{}, 1),
	}
	s.saw()
	s.measured(in.rtt)
	return s
}

// Peer is who stands at the other end.
func (s *Session) Peer() Peer { return s.peer }

// Version is the version of the protocol that both ends speak.
func (s *Session) Version() int { return s.control.dialect.Version }

// Has reports whether both ends have a feature. What belongs to one is left out of messages to a peer without it, and
// messages that are of its kind are not sent.
func (s *Session) Has(f wire.Feature) bool { return s.control.dialect.Has(f) }

// Skipped counts the messages and members that the peer has sent for features that this build does not have.
func (s *Session) Skipped() int64 { return s.skipped.Load() }

// Done is closed when the session begins to end.
func (s *Session) Done() <-chan struct{} { return s.over }

// Close ends the session for a reason that the peer is told, after what was sent before.
func (s *Session) Close(code core.Reason, reason string) { s.end(refuse(code, "%s", reason)) }

// Hold has the message that the handler is given now count until the function that it returns is called, once: what it
// asks for goes on after Handler.Message has returned. It is called during that only.
func (s *Session) Hold() (release func()) {
	t := s.turn
	t.hold()
	return t.release
}

// dialler is the node that dialled.
func (s *Session) dialler() core.ID {
	if s.peer.Dialled {
		return s.h.id
	}
	return s.peer.ID
}

// end makes the session end with err; the first call counts.
func (s *Session) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
		close(s.over)
	}
}

// ended is why the session ends, nil while it does not.
func (s *Session) ended() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// stands reports whether the handler has met it and it is not ending.
func (s *Session) stands() bool { return s.up.Load() && s.ended() == nil }

// receives reports whether this side receives on a data socket of a channel.
func (s *Session) receives(channel string) bool {
	return s.peer.Dialled == (channel == wire.ChannelDataReceive)
}

// reserve takes the place of a data socket, which only one may have.
func (s *Session) reserve(channel string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	side := s.receives(channel)
	switch {
	case s.err != nil:
		return s.err
	case !s.reserved[side]:
		s.reserved[side] = true
		return nil
	case channel == wire.ChannelDataBack: // who dialled the control socket has waited long enough, and dials this one
		return refuse(core.ReasonHave, "another socket for this direction is on its way")
	}
	return refuse(core.ReasonProtocol, "a second %s socket", channel)
}

// attach puts a data socket in its place.
func (s *Session) attach(channel string, sock *socket) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	if s.receives(channel) {
		s.in = sock
	} else {
		s.out = sock
	}
	if s.in != nil && s.out != nil {
		close(s.ready)
	}
	return nil
}

// run is the session's life, from its claimed place to Down.
func (s *Session) run() {
	defer close(s.down)
	defer s.h.leave(s)
	if s.before != nil {
		<-s.before.down
		s.before = nil
	}
	if !s.complete() {
		s.control.bow(s.ended())
		s.closeSockets()
		return
	}
	s.control.SetReadLimit(wire.MaxMessage)
	s.in.SetReadLimit(wire.DataHeader + wire.MaxData)
	s.out.SetReadLimit(wire.DataHeader + wire.MaxData)
	s.up.Store(true)
	s.h.handler.Up(s)

	s.watch()
	var loops sync.WaitGroup
	loops.Go(s.writeControl)
	loops.Go(s.keepAlive)
	loops.Go(s.readData)
	loops.Go(s.readOut)
	var reader sync.WaitGroup
	reader.Go(s.readControl)
	<-s.over
	s.in.SetReadDeadline(time.Now())
	s.out.SetReadDeadline(time.Now())
	s.control.SetReadDeadline(time.Now().Add(2 * lingerTimeout))
	stop := time.AfterFunc(2*lingerTimeout, s.closeSockets) // a writer may be stuck with its peer
	loops.Wait()
	reader.Wait()
	stop.Stop()
	s.closeSockets()
	s.h.handler.Down(s, s.ended())
}

// complete waits until the data sockets are there.
func (s *Session) complete() bool {
	late := time.NewTimer(handshakeTimeout)
	defer late.Stop()
	select {
	case <-s.ready:
	case <-s.over:
	case <-late.C:
		s.end(refuse(core.ReasonProtocol, "the data sockets did not come within %v", handshakeTimeout))
	}
	return s.ended() == nil
}

func (s *Session) closeSockets() {
	s.mu.Lock()
	sockets := []*socket{s.control, s.in, s.out}
	s.mu.Unlock()
	for _, sock := range sockets {
		if sock != nil {
			sock.Close()
		}
	}
}

// Send queues one control message; messages arrive in the order they were sent. It never blocks: a peer that does not
// read what is queued for it loses the session. The error says that m will not arrive.
func (s *Session) Send(m wire.Message) error {
	if err := s.ended(); err != nil {
		return s.sendError(m, err)
	}
	data, err := s.control.dialect.Encode(m)
	if err != nil {
		return s.sendError(m, err)
	}
	if s.h.config.Trace != nil {
		m = s.control.dialect.Trim(m)
	}
	if s.queued.Add(int64(len(data))) <= maxQueuedBytes {
		select {
		case s.queue <- outgoing{m, data}:
			return nil
		default:
		}
	}
	s.end(refuse(core.ReasonBusy, "control messages are not read"))
	return s.sendError(m, s.ended())
}

// Behind reports whether so much waits to be written already that nothing should be added which can as well be dropped.
func (s *Session) Behind() bool {
	return s.queued.Load() > maxQueuedBytes/2 || len(s.queue) > maxQueued/2
}

func (s *Session) sendError(m wire.Message, err error) error {
	return fmt.Errorf("send %s to %s: %w", m.Type(), s.peer.ID.Short(), err)
}

// SendData writes one data message and returns when the kernel has it; b is not kept. Calls take turns. ctx ends the
// waiting for a turn, but a message once begun is written to its end.
func (s *Session) SendData(ctx context.Context, transfer uint64, chunk, offset uint32, b []byte) error {
	d := wire.Data{Transfer: transfer, Chunk: chunk, Offset: offset, Bytes: b}
	if err := d.Check(); err != nil {
		return fmt.Errorf("send data to %s: %w", s.peer.ID.Short(), err)
	}
	select {
	case s.writing <- struct{}{}:
		defer func() { <-s.writing }()
	case <-s.over:
		return fmt.Errorf("send data to %s: %w", s.peer.ID.Short(), s.ended())
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := errors.Join(s.ended(), ctx.Err()); err != nil {
		return fmt.Errorf("send data to %s: %w", s.peer.ID.Short(), err)
	}
	if err := s.out.sendData(s.header[:], d, time.Now().Add(dataWrite)); err != nil {
		s.end(explain(err))
		return fmt.Errorf("send data to %s: %w", s.peer.ID.Short(), s.ended())
	}
	return nil
}

// Pace lets the kernel send so many bytes a second more, or less, on the data socket of this side: evenly, where
// SendData hands it much at a time. While all that was asked for comes to nothing it sends as fast as it can. For
// sessions that are Up.
func (s *Session) Pace(more core.Rate) {
	s.pacing.Lock()
	defer s.pacing.Unlock()
	s.paced += more
	if s.paced <= 0 {
		pace(s.out.raw, 0)
		return
	}
	pace(s.out.raw, max(s.paced, slowest))
}

// health is what is known of the connection's state.
type health struct {
	seen   atomic.Int64 // when something came last, Unix nanoseconds
	rttMu  sync.Mutex
	rtts   []time.Duration // the last 16, oldest first
	pinged time.Time       // when the ping under way was sent
	ping   uint64          // its number
	missed int             // pings since the last answer
	pongs  int             // answers so far
}

// rttSamples is how many round trips Delay looks back.
const rttSamples = 16

// Delay is the way to the peer: half the median of the last 16 round trips.
func (s *Session) Delay() time.Duration {
	s.rttMu.Lock()
	sorted := slices.Sorted(slices.Values(s.rtts))
	s.rttMu.Unlock()
	if len(sorted) == 0 {
		return 0
	}
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 4
}

// answers reports whether the peer answers a ping within answerTimeout.
func (s *Session) answers() bool {
	if !s.up.Load() {
		return false // nothing reads what it says yet
	}
	count := func() int {
		s.rttMu.Lock()
		defer s.rttMu.Unlock()
		return s.pongs
	}
	before := count()
	s.control.WriteControl(websocket.PingMessage, nil, time.Now().Add(lingerTimeout))
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	late := time.NewTimer(answerTimeout)
	defer late.Stop()
	for {
		select {
		case <-look.C:
			if count() > before {
				return s.ended() == nil
			}
		case <-s.over:
			return false
		case <-late.C:
			return false
		}
	}
}

// LastSeen is when something came from the peer last.
func (s *Session) LastSeen() time.Time { return time.Unix(0, s.seen.Load()) }

func (s *health) saw() { s.seen.Store(time.Now().UnixNano()) }

func (s *health) measured(rtt time.Duration) {
	s.rttMu.Lock()
	defer s.rttMu.Unlock()
	s.missed = 0
	if len(s.rtts) == rttSamples {
		s.rtts = s.rtts[1:]
	}
	s.rtts = append(s.rtts, rtt)
}
