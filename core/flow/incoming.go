// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"fmt"
	"sync"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/wire"
)

// beginPatience is how long data may wait for the TRANSMISSION_BEGIN that travels on the control socket.
const beginPatience = 5 * time.Second

// Incoming is one run that arrives, and what is done with it. Its data reader alone touches what stands below transfer.
type Incoming struct {
	Chunks  []core.Chunk // those that are sent
	Keep    func(i int, c core.Chunk, data []byte) error
	Done    func(err error) // called once, on the data reader: the run is here or cannot be
	Dropped func()          // called instead where the run is given up; may be nil

	transfer uint64
	at       int           // chunk under way
	held     time.Duration // its reader was at work, and not with the socket
	data     []byte
	room     core.Size // that data has of the budget; Arrivals.mu guards it
}

type incomingKey struct {
	session  Session
	transfer uint64
}

// Arrivals finds the run that a data message belongs to. Any goroutine may use it: sessions' data readers do.
type Arrivals struct {
	mu    sync.Mutex
	live  map[incomingKey]*Incoming     // nil: given up, what still comes is dropped
	over  map[Session][]uint64          // the last maxGivenUp that were given up
	wait  map[incomingKey]chan struct{} // data that came before its BEGIN
	spare sync.Pool                     // *[]byte buffers of chunks
	begun map[Session]core.Size         // room of chunks that have begun and are not whole
	all   core.Size                     // of all sessions
}

// NewArrivals knows no run.
func NewArrivals() *Arrivals {
	return &Arrivals{live: map[incomingKey]*Incoming{}, wait: map[incomingKey]chan struct{}{},
		over: map[Session][]uint64{}, begun: map[Session]core.Size{}}
}

// What unfinished chunks may take in memory, of one session and of all: a sender sends one run of a flow after the
// other, and few chunks have more than 1 MiB.
const (
	maxBegun    = 96 * core.MiB
	maxBegunAll = 192 * core.MiB
)

// roomFor gives a chunk that begins its room.
func (a *Arrivals) roomFor(s Session, in *Incoming, size core.Size) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.live[incomingKey{s, in.transfer}] != in {
		return nil // given up meanwhile: this message is the last that it sees
	}
	if a.begun[s]+size > maxBegun || a.all+size > maxBegunAll {
		return core.Fail(core.CodeBusy, "%s of chunks have begun to arrive and are not whole", a.begun[s])
	}
	in.room = size
	a.begun[s] += size
	a.all += size
	return nil
}

// giveRoom takes back what a chunk had. The caller holds mu.
func (a *Arrivals) giveRoom(s Session, in *Incoming) {
	if in == nil || in.room == 0 {
		return
	}
	a.all -= in.room
	if a.begun[s] -= in.room; a.begun[s] == 0 {
		delete(a.begun, s)
	}
	in.room = 0
}

// maxGivenUp is how many transfers of a session that were given up are remembered: far more than can be on their way.
const maxGivenUp = 4096

// forgo drops what still comes of a transfer. The caller holds mu.
func (a *Arrivals) forgo(key incomingKey) {
	a.live[key] = nil
	over := append(a.over[key.session], key.transfer)
	if len(over) > maxGivenUp {
		delete(a.live, incomingKey{key.session, over[0]})
		over = over[1:]
	}
	a.over[key.session] = over
}

// begin makes a run known. A transfer number that is in use is an error.
func (a *Arrivals) begin(s Session, in *Incoming) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := incomingKey{s, in.transfer}
	if _, used := a.live[key]; used {
		return fmt.Errorf("transfer %d began twice", in.transfer)
	}
	a.live[key] = in
	if wait := a.wait[key]; wait != nil {
		close(wait)
		delete(a.wait, key)
	}
	return nil
}

// refuse drops whatever data comes for a transfer that was not begun here.
func (a *Arrivals) refuse(s Session, transfer uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := incomingKey{s, transfer}
	if _, used := a.live[key]; used {
		return
	}
	a.forgo(key)
	if wait := a.wait[key]; wait != nil {
		close(wait)
		delete(a.wait, key)
	}
}

// find waits for the run of a transfer; ok is false where none began in time.
func (a *Arrivals) find(s Session, transfer uint64) (in *Incoming, ok bool) {
	key := incomingKey{s, transfer}
	a.mu.Lock()
	in, ok = a.live[key]
	if ok {
		a.mu.Unlock()
		return in, true
	}
	wait := make(chan struct{})
	a.wait[key] = wait
	a.mu.Unlock()
	timer := time.NewTimer(beginPatience)
	defer timer.Stop()
	select {
	case <-wait:
	case <-timer.C:
	case <-s.Done():
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.wait, key)
	in, ok = a.live[key]
	return in, ok
}

// end forgets a run that is complete; of one that failed more may be on its way.
func (a *Arrivals) end(s Session, transfer uint64, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.giveRoom(s, a.live[incomingKey{s, transfer}])
	if err != nil {
		a.forgo(incomingKey{s, transfer})
		return
	}
	delete(a.live, incomingKey{s, transfer})
}

// giveUp ends a run that will not be completed: its data is dropped from now on.
func (a *Arrivals) giveUp(s Session, transfer uint64) {
	a.mu.Lock()
	in := a.live[incomingKey{s, transfer}]
	if in != nil {
		a.giveRoom(s, in)
		a.forgo(incomingKey{s, transfer})
	}
	a.mu.Unlock()
	if in != nil && in.Dropped != nil {
		in.Dropped()
	}
}

// drop forgets everything of a session that is gone.
func (a *Arrivals) drop(s Session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.over, s)
	for key, in := range a.live {
		if key.session == s {
			delete(a.live, key)
			a.giveRoom(s, in)
			if in != nil && in.Dropped != nil {
				in.Dropped()
			}
		}
	}
}

// Receive takes one data message. It runs on the data socket's reader, so blocking here holds the sender back.
func (a *Arrivals) Receive(s Session, d wire.Data) {
	in, ok := a.find(s, d.Transfer)
	if !ok {
		s.Close(core.ReasonProtocol, fmt.Sprintf("data of transfer %d, which never began", d.Transfer))
		return
	}
	if in == nil {
		return // given up
	}
	began := time.Now()
	whole, err := a.take(s, in, d)
	in.held += time.Since(began)
	if err == nil && !whole {
		return
	}
	a.end(s, d.Transfer, err)
	in.Done(err)
}

// heldTime is how long the reader was at work with a run, in seconds; 0 where it did not come as data.
func (in *Incoming) heldTime() float64 {
	if in == nil {
		return 0
	}
	return finiteSeconds(in.held)
}

// take adds a data message to its run; whole tells that the run is complete.
func (a *Arrivals) take(s Session, in *Incoming, d wire.Data) (whole bool, err error) {
	if int(d.Chunk) != in.at || in.at >= len(in.Chunks) || int(d.Offset) != len(in.data) {
		return false, core.Fail(core.CodeFailed, "data of chunk %d at %d out of order", d.Chunk, d.Offset)
	}
	c := in.Chunks[in.at]
	if core.Size(len(in.data)+len(d.Bytes)) > c.Size {
		return false, core.Fail(core.CodeFailed, "chunk %d is longer than announced", d.Chunk)
	}
	if in.data == nil {
		if err := a.roomFor(s, in, c.Size); err != nil {
			return false, err
		}
		in.data = a.buffer(int(c.Size))
	}
	in.data = append(in.data, d.Bytes...)
	if core.Size(len(in.data)) < c.Size {
		return false, nil
	}
	if chunk.Hash(in.data) != c.Hash {
		return false, core.Fail(core.CodeWrong, "chunk %d does not match its hash %s", d.Chunk, c.Hash)
	}
	if err := in.Keep(in.at, c, in.data); err != nil {
		return false, err
	}
	spare := in.data
	a.spare.Put(&spare)
	in.data = nil
	a.mu.Lock()
	a.giveRoom(s, in)
	a.mu.Unlock()
	in.at++
	return in.at == len(in.Chunks), nil
}

func (a *Arrivals) buffer(size int) []byte {
	if b, ok := a.spare.Get().(*[]byte); ok && cap(*b) >= size {
		return (*b)[:0]
	}
	return make([]byte, 0, size)
}
