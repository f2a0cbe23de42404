// SPDX-License-Identifier: Apache-2.0

package link

import (
	"encoding/binary"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/wire"
	"github.com/gorilla/websocket"
)

// The loops of a session, each a goroutine that ends when the session does:
//
//	readControl   control socket → Handler.Message, and answers to pings
//	writeControl  queue → control socket, then the reason why it ends
//	readData      in → Handler.Data
//	readOut       out, where only answers and the end come from
//	keepAlive     pings

// watch sets what the sockets do with pings and pongs. Those of the control socket tell whether the peer lives, for all
// three: a data socket that the peer does not read for a while is back pressure.
func (s *Session) watch() {
	s.control.SetPongHandler(func(payload string) error {
		s.saw()
		s.ponged(payload)
		return s.control.SetReadDeadline(time.Now().Add(gone))
	})
	s.in.SetPongHandler(func(string) error { return nil })
	s.out.SetPongHandler(func(string) error { return nil })
	for _, sock := range []*socket{s.control, s.in} {
		answer := sock.PingHandler()
		sock.SetPingHandler(func(payload string) error {
			s.saw()
			sock.SetReadDeadline(time.Now().Add(gone))
			answer(payload) // where it cannot be written, what comes next is the end, and may say why
			return nil
		})
	}
}

func (s *Session) readControl() {
	for {
		s.control.SetReadDeadline(time.Now().Add(gone))
		if s.ended() != nil {
			s.control.drain(time.Now().Add(lingerTimeout))
			return
		}
		err := s.turns.wait(s.h.ctx, s.over)
		if err == nil {
			err = s.control.receive(s.h.memory, s.heard)
		}
		if err != nil {
			s.end(err)
		}
	}
}

// heard handles one message. One that belongs to a feature of the peer's alone is skipped.
func (s *Session) heard(data []byte) error {
	m, skipped, err := s.control.dialect.Decode(data)
	if err != nil {
		return protocol(err)
	}
	s.saw()
	if skipped > 0 && s.skipped.Add(int64(skipped)) == int64(skipped) {
		s.h.config.Log.Debug("skipped what belongs to features that this node does not have", "peer", s.peer.ID.Short(),
			"members", skipped)
	}
	switch m.(type) {
	case nil:
		return nil
	case wire.Hello, wire.Auth, wire.Join, wire.Joined:
		return refuse(core.ReasonProtocol, "a second %s", m.Type())
	}
	if s.h.config.Trace != nil {
		s.h.config.Trace(received, s.peer.ID, m)
	}
	s.turn = s.turns.begin(len(data))
	defer s.turn.release()
	s.h.handler.Message(s, m)
	return nil
}

func (s *Session) writeControl() {
	for {
		select {
		case o := <-s.queue:
			s.write(o, controlWrite)
		case <-s.over:
			for len(s.queue) > 0 {
				if !s.write(<-s.queue, lingerTimeout) {
					break
				}
			}
			s.control.WriteControl(websocket.CloseMessage, closeFrame(s.ended()), time.Now().Add(lingerTimeout))
			return
		}
	}
}

func (s *Session) write(o outgoing, timeout time.Duration) bool {
	s.queued.Add(-int64(len(o.data)))
	if s.h.config.Trace != nil {
		s.h.config.Trace(sent, s.peer.ID, o.m)
	}
	if err := s.control.send(o.data, time.Now().Add(timeout)); err != nil {
		s.end(explain(err))
		return false
	}
	return true
}

func (s *Session) readData() {
	for s.ended() == nil {
		s.in.SetReadDeadline(time.Now().Add(dataWrite))
		kind, r, err := s.in.NextReader()
		if err != nil {
			s.lose(err)
			return
		}
		if kind != websocket.BinaryMessage {
			s.end(refuse(core.ReasonProtocol, "a text frame on a data socket"))
			return
		}
		buf := dataBuffers.Get().(*[wire.DataHeader + wire.MaxData]byte)
		d, err := receiveData(r, buf[:])
		if err == nil {
			s.saw()
			s.h.handler.Data(s, d)
		}
		dataBuffers.Put(buf)
		if err != nil {
			s.end(err)
			return
		}
	}
}

// lose ends the session because of a data socket that cannot be read, a moment later: where the peer ended it, the
// control socket brings the reason.
func (s *Session) lose(err error) {
	wait := time.NewTimer(wordsTimeout)
	defer wait.Stop()
	select {
	case <-s.over:
	case <-wait.C:
	}
	s.end(explain(err))
}

// readOut reads the sending socket, on which the peer sends nothing but answers to pings.
func (s *Session) readOut() {
	s.out.SetReadDeadline(time.Now().Add(gone))
	if _, _, err := s.out.NextReader(); err != nil {
		s.lose(err)
		return
	}
	s.end(refuse(core.ReasonProtocol, "data on the socket of the other direction"))
}

// keepAlive pings the control socket, counts what is not answered, and keeps the data sockets from going idle.
func (s *Session) keepAlive() {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		if missed := s.sendPing(); missed > pingsMissed {
			s.end(refuse(core.ReasonStopped, "%d pings were not answered", pingsMissed))
			return
		}
		s.out.WriteControl(websocket.PingMessage, nil, time.Now().Add(lingerTimeout))
		s.out.SetReadDeadline(time.Now().Add(gone))
		select {
		case <-tick.C:
		case <-s.over:
			return
		}
	}
}

// sendPing sends a numbered ping and returns how many since the last answer have been sent.
func (s *Session) sendPing() (missed int) {
	s.rttMu.Lock()
	s.missed++
	s.ping++
	s.pinged = time.Now()
	missed = s.missed
	var number [8]byte
	binary.LittleEndian.PutUint64(number[:], s.ping)
	s.rttMu.Unlock()
	s.control.WriteControl(websocket.PingMessage, number[:], time.Now().Add(lingerTimeout))
	return missed
}

// ponged measures the round trip of the ping that was sent last; an answer to an older one only shows life.
func (s *Session) ponged(payload string) {
	s.rttMu.Lock()
	s.missed = 0
	s.pongs++
	last := len(payload) == 8 && binary.LittleEndian.Uint64([]byte(payload)) == s.ping && !s.pinged.IsZero()
	rtt := time.Since(s.pinged)
	if last {
		s.pinged = time.Time{}
	}
	s.rttMu.Unlock()
	if last {
		s.measured(rtt)
	}
}
