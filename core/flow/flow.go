// SPDX-License-Identifier: Apache-2.0

// Package flow carries out the flows of a node: it books their leases, and paces their runs out and takes them in
// within those. What a flow does next core/task decides; what it is for is its Side.
package flow

import (
	"context"
	"log/slog"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/account"
	"github.com/bkp-tool/bkp/core/measure"
	"github.com/bkp-tool/bkp/core/task"
	"github.com/bkp-tool/bkp/core/wire"
)

// Flow is one end of a flow: what core/task decides, and what its actions need.
type Flow struct {
	*task.Flow
	Peer core.ID

	side      Side
	accounts  []string          // of this end
	booked    uint64            // number of the lease in this node's book, 0 while it holds none
	transfers map[uint64]int    // numbers of open runs by transfer
	byRun     map[int]uint64    // the other way
	writer    *writer           // at the sending end
	stretch   measure.Stretch   // the same
	incoming  map[int]*Incoming // by run, at the receiving end
	lease     Lease
	began     time.Duration // of the lease
}

// Side is what a flow is for. Its methods, and those below, are called in events.
type Side interface {
	Purpose() string
	// More is called after every step: ask for more, begin more.
	More(f *Flow)
}

// What else a side does depends on its end of the flow, and on what it wants to know.
type (
	// Asking is a side that applies for leases.
	Asking interface {
		Apply(f *task.Flow, runs []task.Run, rate core.Rate) wire.Message
	}
	// Applying is such a side that sends: the answers of the other end.
	Applying interface {
		Side
		Agreed(f *Flow, m wire.StorageAgree)
		Refused(f *Flow, m wire.StorageRefuse)
	}
	// Granting is the other end's.
	Granting interface {
		Agree(f *task.Flow, a task.Action, now time.Duration) wire.Message
		Refuse(f *task.Flow, a task.Action) wire.Message
	}
	// Sending is a side that sends runs: Outgoing is the one to write; false while it is not in hand.
	Sending interface {
		Outgoing(number int) (Run, bool)
	}
	// Receiving is a side to which runs come: Begin makes the incoming run of one that was granted.
	Receiving interface {
		Begin(f *task.Flow, m wire.TransmissionBegin) (in Incoming, number int, err error)
	}
	// Requeueing takes back runs that will not come this way.
	Requeueing interface {
		Requeue(f *task.Flow, runs []task.Run, reason core.Reason)
	}
	// Settling is told when the other end (or this one, receiving) has a run.
	Settling interface {
		Settled(number int)
	}
	// Timing is told how long a run took that went out while the flow always had more to send, 0 where it had not, how
	// many bytes the lease allowed meanwhile, and how long the receiver was at work.
	Timing interface {
		Timed(now, took time.Duration, size core.Size, allowed float64, held time.Duration)
	}
)

// Run is a run that can be sent: its announcement and where its chunks are.
type Run struct {
	Begin wire.TransmissionBegin
	Store Chunks
}

// Chunks gives the stored bytes of chunks, as a storage.Store does.
type Chunks interface {
	Get(ctx context.Context, hash core.Hash, dst []byte) ([]byte, error)
}

// PurposeStore is the purpose of flows that carry the runs of placements.
const PurposeStore = "store"

// Lease is what became of the lease of a flow.
type Lease struct {
	Lease     uint64
	Peer      core.ID
	Direction string // "send" or "receive"
	Purpose   string
	Rate      core.Rate
	Bytes     core.Size // payload moved
	ExpectedS float64
	TookS     float64
	State     string // "live", "done", "aborted", "expired"
}

// Session leads to a peer.
type Session interface {
	SendData(ctx context.Context, transfer uint64, chunk, offset uint32, data []byte) error
	// Pace has the kernel send so much more, or less, than before.
	Pace(more core.Rate)
	Delay() time.Duration
	Done() <-chan struct{}
	Close(code core.Reason, reason string)
}

// Node is the node whose flows they are. It is used in events only.
type Node interface {
	// Send queues a message; false where no way leads there.
	Send(to core.ID, m wire.Message) bool
	// Session leads to a peer over a link of that capacity, 0 while it is not settled; nil where none does.
	Session(id core.ID) (s Session, capacity core.Rate)
	// Number draws a number that no other flow, lease or transfer of the node has.
	Number() uint64
	// Freed is told that bandwidth came free.
	Freed()
	// Broken is told of an invariant that does not hold.
	Broken(err error)
}

// Loop is the loop of the node, as what goes on beside it sees it.
type Loop interface {
	// Post hands an event to the loop, which drops it once the node has ended.
	Post(event func(*Flows))
	// Ask returns when an event has run; false where the node ended first. It is never called in an event.
	Ask(event func(*Flows)) bool
	// Act runs f beside the loop. The end of the node waits for it.
	Act(f func())
}

// Config is what flows stand on.
type Config struct {
	Book     *account.Book
	Measures *measure.Links
	Arrivals *Arrivals
	Life     context.Context // ends when the node closes
	Started  time.Time       // when the clock of the flows was 0
	Log      *slog.Logger
}

// Flows is the flows of a node. The loop owns it.
type Flows struct {
	Config
	loop  Loop
	node  Node
	open  map[flowKey]*Flow
	done  map[core.ID]*recent // transfers that were completed lately
	ended []Lease             // the last keptLeases
}

type flowKey struct {
	peer core.ID
	id   uint64
}

// keptLeases is how many leases that ended are remembered.
const keptLeases = 64

// New is the flows of a node that has none yet.
func New(c Config, loop Loop, node Node) *Flows {
	return &Flows{Config: c, loop: loop, node: node, open: map[flowKey]*Flow{}, done: map[core.ID]*recent{}}
}

// Now is the moment on the clock of the flows, which is monotonic.
func (fs *Flows) Now() time.Duration { return time.Since(fs.Started) }

// Open makes a flow known under its number.
func (fs *Flows) Open(peer core.ID, id uint64, end task.End, sends bool, s Side) *Flow {
	f := &Flow{Flow: task.NewFlow(id, end, sends), Peer: peer, side: s, transfers: map[uint64]int{},
		byRun: map[int]uint64{}, incoming: map[int]*Incoming{}}
	f.accounts = []string{account.Down, account.In(peer)}
	if sends {
		f.accounts = []string{account.Up, account.Out(peer)}
	}
	fs.open[flowKey{peer, id}] = f
	return f
}

// Close forgets a flow; another that the peer opened meanwhile under the same number stays.
func (fs *Flows) Close(f *Flow) {
	if key := (flowKey{f.Peer, f.ID}); fs.open[key] == f {
		delete(fs.open, key)
	}
}

// SideOf is a flow and what it is for, where it is open and for that.
func SideOf[S any](fs *Flows, peer core.ID, id uint64) (f *Flow, s S, ok bool) {
	if f = fs.open[flowKey{peer, id}]; f != nil {
		s, ok = f.side.(S)
	}
	return f, s, ok
}

// Begun reports whether a run of the flow is under way.
func (f *Flow) Begun(number int) bool {
	_, begun := f.byRun[number]
	return begun
}

// Active reports whether any flow is open.
func (fs *Flows) Active() bool { return len(fs.open) > 0 }

// with lists the flows with a peer.
func (fs *Flows) with(peer core.ID) (out []*Flow) {
	for key, f := range fs.open {
		if key.peer == peer {
			out = append(out, f)
		}
	}
	return out
}

// Lost ends every flow with a peer whose session is gone.
func (fs *Flows) Lost(peer core.ID, s Session) {
	fs.Arrivals.drop(s)
	for _, f := range fs.with(peer) {
		fs.Step(f, task.Event{Kind: task.Lost})
	}
}

// Expire ends the flows whose lease has run out.
func (fs *Flows) Expire() {
	now := fs.Now()
	for _, f := range fs.open {
		if f.booked != 0 && f.Expires <= now {
			fs.Step(f, task.Event{Kind: task.Expired})
		}
	}
	fs.must(fs.Book.Check())
}

// SetCapacity gives an account its capacity and scales the leases that no longer fit.
func (fs *Flows) SetCapacity(name string, r core.Rate) {
	fs.node.Freed()
	for _, l := range fs.Book.SetCapacity(name, r) {
		for _, f := range fs.open {
			// what others did before may have changed it
			if now, stands := fs.Book.Lease(l.ID); stands && f.booked == l.ID {
				f.lease.Rate = now.Rate
				fs.Step(f, task.Event{Kind: task.Scaled, Rate: now.Rate})
			}
		}
	}
}

// Lower gives back some of what a flow has booked, and the other end is told.
func (fs *Flows) Lower(f *Flow, r core.Rate) {
	fs.adjust(f, r)
	fs.Step(f, task.Event{Kind: task.Scaled, Rate: r})
	fs.node.Freed()
}

// Leases lists the leases that are held, and those that ended, the last first.
func (fs *Flows) Leases() (out []Lease) {
	for _, f := range fs.open {
		if f.booked != 0 {
			out = append(out, f.sofar(fs.Now(), f.lease.Bytes+f.OpenBytes()))
		}
	}
	for i := range fs.ended {
		out = append(out, fs.ended[len(fs.ended)-1-i])
	}
	return out
}

// sofar is the lease of the flow, by which it is to move so much.
func (f *Flow) sofar(now time.Duration, bytes core.Size) Lease {
	l := f.lease
	l.TookS = (now - f.began).Seconds()
	if l.ExpectedS = 0; l.Rate.Payload() > 0 {
		l.ExpectedS = l.Rate.Payload().Seconds(bytes)
	}
	return l
}
