// SPDX-License-Identifier: Apache-2.0

package node

import (
	"fmt"
	"sync"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/link"
	"github.com/bkp-tool/bkp/core/task"
	"github.com/bkp-tool/bkp/core/wire"
)

// beginPatience is how long data may wait for the TRANSMISSION_BEGIN that travels on the control socket.
const beginPatience = 5 * time.Second

// incoming is one run that arrives. Its data reader alone touches what stands below keep.
type incoming struct {
	transfer uint64
	chunks   []core.Chunk // those that are sent
	keep     func(i int, c core.Chunk, data []byte) error
	done     func(err error) // called once, on the data reader
	dropped  func()          // called where the run is given up instead

	at   int           // chunk under way
	held time.Duration // its reader was at work, and not with the socket
	data []byte
}

type incomingKey struct {
	session  *link.Session
	transfer uint64
}

// incomingRuns finds the run that a data message belongs to. Sessions' data readers use it beside the loop.
type incomingRuns struct {
	mu    sync.Mutex
	live  map[incomingKey]*incoming     // nil: given up, what still comes is dropped
	over  map[*link.Session][]uint64    // the last maxGivenUp that were given up
	wait  map[incomingKey]chan struct{} // data that came before its BEGIN
	spare sync.Pool                     // *[]byte buffers of chunks
}

func (f *incomingRuns) init() {
	f.live, f.wait, f.over = map[incomingKey]*incoming{}, map[incomingKey]chan struct{}{}, map[*link.Session][]uint64{}
}

// maxGivenUp is how many transfers of a session that were given up are remembered: far more than can be on their way.
const maxGivenUp = 4096

// forgo drops what still comes of a transfer. The caller holds mu.
func (f *incomingRuns) forgo(key incomingKey) {
	f.live[key] = nil
	over := append(f.over[key.session], key.transfer)
	if len(over) > maxGivenUp {
		delete(f.live, incomingKey{key.session, over[0]})
		over = over[1:]
	}
	f.over[key.session] = over
}

// begin makes a run known. A transfer number that is in use is an error.
func (f *incomingRuns) begin(s *link.Session, in *incoming) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := incomingKey{s, in.transfer}
	if _, used := f.live[key]; used {
		return fmt.Errorf("transfer %d began twice", in.transfer)
	}
	f.live[key] = in
	if wait := f.wait[key]; wait != nil {
		close(wait)
		delete(f.wait, key)
	}
	return nil
}

// refuse drops whatever data comes for a transfer that was not begun here.
func (f *incomingRuns) refuse(s *link.Session, transfer uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := incomingKey{s, transfer}
	if _, used := f.live[key]; used {
		return
	}
	f.forgo(key)
	if wait := f.wait[key]; wait != nil {
		close(wait)
		delete(f.wait, key)
	}
}

// find waits for the run of a transfer; ok is false where none began in time.
func (f *incomingRuns) find(s *link.Session, transfer uint64) (in *incoming, ok bool) {
	key := incomingKey{s, transfer}
	f.mu.Lock()
	in, ok = f.live[key]
	if ok {
		f.mu.Unlock()
		return in, true
	}
	wait := make(chan struct{})
	f.wait[key] = wait
	f.mu.Unlock()
	timer := time.NewTimer(beginPatience)
	defer timer.Stop()
	select {
	case <-wait:
	case <-timer.C:
	case <-s.Done():
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.wait, key)
	in, ok = f.live[key]
	return in, ok
}

// end forgets a run that is complete; of one that failed more may be on its way.
func (f *incomingRuns) end(s *link.Session, transfer uint64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		f.forgo(incomingKey{s, transfer})
		return
	}
	delete(f.live, incomingKey{s, transfer})
}

// giveUp ends a run that will not be completed: its data is dropped from now on.
func (f *incomingRuns) giveUp(s *link.Session, transfer uint64) {
	f.mu.Lock()
	in := f.live[incomingKey{s, transfer}]
	if in != nil {
		f.forgo(incomingKey{s, transfer})
	}
	f.mu.Unlock()
	if in != nil && in.dropped != nil {
		in.dropped()
	}
}

// drop forgets everything of a session that is gone.
func (f *incomingRuns) drop(s *link.Session) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.over, s)
	for key, in := range f.live {
		if key.session == s {
			delete(f.live, key)
			if in != nil && in.dropped != nil {
				in.dropped()
			}
		}
	}
}

// onBegin prepares for a run's data.
func (n *state) onBegin(p *peer, m wire.TransmissionBegin) {
	f := n.flows[flowKey{p.id, m.Flow}]
	var in *incoming
	var number int
	var err error
	switch {
	case f == nil || f.Sends:
		err = fmt.Errorf("no flow %d is open to receive", m.Flow)
	case chunk.RunHash(m.Chunks) != m.Hash && f.side.purpose() == purposeStore:
		err = fmt.Errorf("the chunk list does not match the run's hash")
	default:
		if side, ok := f.side.(arrivals); ok {
			in, number, err = side.begin(f, m)
		}
	}
	if err == nil {
		in.transfer = m.Transfer
		if _, again := f.byRun[number]; again {
			err = fmt.Errorf("run %d began twice", m.Run)
		} else {
			err = n.incoming.begin(p.session, in)
		}
	}
	if err != nil {
		n.incoming.refuse(p.session, m.Transfer)
		n.send(p.id, wire.TransmissionAbort{Flow: m.Flow, Transfer: m.Transfer, Code: core.ReasonProtocol,
			Reason: err.Error()})
		return
	}
	f.bind(m.Transfer, number)
	f.incoming[number] = in
	n.step(f, task.Event{Kind: task.Begun, Run: number})
}

// runEnded is the event that all of a run came, or that it cannot.
type runEnded struct {
	flow *flow
	run  int
	why  error
}

func (e runEnded) apply(n *state) {
	if e.why == nil {
		n.received(e.flow, e.run)
	} else {
		n.step(e.flow, task.Event{Kind: task.RunFailed, Run: e.run, Reason: reasonFor(e.why)})
	}
}

// receive takes one data message. It runs on the data socket's reader, so blocking here holds the sender back.
func (n *Node) receive(s *link.Session, d wire.Data) {
	in, ok := n.incoming.find(s, d.Transfer)
	if !ok {
		s.Close(core.ReasonProtocol, fmt.Sprintf("data of transfer %d, which never began", d.Transfer))
		return
	}
	if in == nil {
		return // given up
	}
	began := time.Now()
	whole, err := n.incoming.take(in, d)
	in.held += time.Since(began)
	if err == nil && !whole {
		return
	}
	n.incoming.end(s, d.Transfer, err)
	in.done(err)
}

// heldTime is how long the reader was at work with a run, in seconds; 0 where it did not come as data.
func (in *incoming) heldTime() float64 {
	if in == nil {
		return 0
	}
	return finiteSeconds(in.held)
}

// take adds a data message to its run; whole tells that the run is complete.
func (f *incomingRuns) take(in *incoming, d wire.Data) (whole bool, err error) {
	if int(d.Chunk) != in.at || in.at >= len(in.chunks) || int(d.Offset) != len(in.data) {
		return false, core.Fail(core.CodeFailed, "data of chunk %d at %d out of order", d.Chunk, d.Offset)
	}
	c := in.chunks[in.at]
	if core.Size(len(in.data)+len(d.Bytes)) > c.Size {
		return false, core.Fail(core.CodeFailed, "chunk %d is longer than announced", d.Chunk)
	}
	if in.data == nil {
		in.data = f.buffer(int(c.Size))
	}
	in.data = append(in.data, d.Bytes...)
	if core.Size(len(in.data)) < c.Size {
		return false, nil
	}
	if chunk.Hash(in.data) != c.Hash {
		return false, core.Fail(core.CodeWrong, "chunk %d does not match its hash %s", d.Chunk, c.Hash)
	}
	if err := in.keep(in.at, c, in.data); err != nil {
		return false, err
	}
	spare := in.data
	f.spare.Put(&spare)
	in.data = nil
	in.at++
	return in.at == len(in.chunks), nil
}

func (f *incomingRuns) buffer(size int) []byte {
	if b, ok := f.spare.Get().(*[]byte); ok && cap(*b) >= size {
		return (*b)[:0]
	}
	return make([]byte, 0, size)
}
