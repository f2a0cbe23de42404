// SPDX-License-Identifier: Apache-2.0

// Package transfer moves the runs of the tasks under way at a node: what it has and hears goes to core/spread, and what
// that decides becomes flows.
package transfer

import (
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/account"
	"github.com/bkp-tool/bkp/core/flow"
	"github.com/bkp-tool/bkp/core/spread"
	"github.com/bkp-tool/bkp/core/wire"
)

// Node is the node whose transfers they are. It is used in events only.
type Node interface {
	// Send queues a message; false where no way leads there.
	Send(to core.ID, m wire.Message) bool
	// Session leads to a peer over a link of that capacity, 0 while it is not settled; nil where none does.
	Session(id core.ID) (s flow.Session, capacity core.Rate)
	// Zone is that of a node, this one or another, as its labels say; empty where nothing is known.
	Zone(id core.ID) string
	// Number draws a number that no other flow of the node has.
	Number() uint64
	// Freed is told that bandwidth came free.
	Freed()
	// Coordinates reports whether a task is placed by this node itself.
	Coordinates(task core.TaskID) bool
	// Share is the part of this node's uplink and links that a task may use now: less than 1 where nobody asked for it
	// and somebody waits for another.
	Share(task core.TaskID) float64
	// Fails is told of a target of such a task that fails to keep whatever it is sent.
	Fails(task core.TaskID, target core.ID)
	// Unknown is told of a target of such a task that knows nothing of what it agreed to.
	Unknown(task core.TaskID, target core.ID)
	// Kept finds a segment that is kept here, if another node has a part in it.
	Kept(task core.TaskID, number int, with core.ID) (Segment, bool)
	// Chunks looks for the chunks of a run that is kept here; then gets nil in an event where they are not known.
	Chunks(run core.Hash, then func([]core.Chunk))
	// ReceiptAgain gives the source of a segment receipts that it misses.
	ReceiptAgain(task core.TaskID, number int, runs []core.Range)
}

// Loop is the loop of the node, as what goes on beside it sees it.
type Loop interface {
	// Post hands an event to the loop, which drops it once the node has ended.
	Post(event func(*Transfers))
	// Ask returns when an event has run; false where the node ended first. It is never called in an event.
	Ask(event func(*Transfers)) bool
}

// Kept is what of a segment is kept at this node, one of its targets.
type Kept interface {
	// Has reports whether a run is here, Durable whether it will be after a power loss too, and Lacks whether it is to
	// be kept here and is not here yet.
	Has(run int) bool
	Durable(run int) bool
	Lacks(run int) bool
	// Here calls visit for every run that is here.
	Here(visit func(run int))
	// Arriving is the runs that are on their way here.
	Arriving() []core.Range
	// Missing is the size of what is to come, and Complete reports whether nothing is.
	Missing() core.Size
	Complete() bool
}

// Segment is one segment of a task, as its source or a target of it knows it.
type Segment struct {
	Task      core.TaskID
	Source    core.ID
	Number    int
	Runs      int
	File      func(run int) core.File
	Tables    wire.StorageTask // its Bandwidth, Trunks and TrunkShares only
	Locations []core.Span
	Store     flow.Chunks // has the bytes of what is here
	Mine      Kept        // nil at the source
}

// Config is what transfers stand on.
type Config struct {
	Self  core.ID
	Book  *account.Book
	Flows *flow.Flows
	Log   *slog.Logger
}

// Transfers is the tasks under way at a node. The loop owns it.
type Transfers struct {
	Config
	loop   Loop
	node   Node
	engine *spread.Engine // decides what is sent
	open   map[core.TaskID]*Transfer
}

// New is the transfers of a node that has none yet.
func New(c Config, loop Loop, node Node) *Transfers {
	return &Transfers{Config: c, loop: loop, node: node, open: map[core.TaskID]*Transfer{},
		engine: spread.New(uplink{c.Book}, rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())))}
}

// uplink is the node's own as core/spread sees it.
type uplink struct{ book *account.Book }

func (u uplink) Uplink() (free, all core.Rate) {
	return u.book.Free(account.Up), bounded(u.book.Nominal(account.Up))
}

// bounded is a rate of which 0 is unlimited.
func bounded(r core.Rate) core.Rate {
	if r >= account.Unlimited {
		return 0
	}
	return r
}

// Wake has whoever waits looked at when Drive is called next: bandwidth came free, a peer came up, or time passed.
func (ts *Transfers) Wake() { ts.engine.Wake() }

// Active reports whether any task is under way.
func (ts *Transfers) Active() bool { return len(ts.open) > 0 }

// Of is the transfer of a task; nil where it is not under way.
func (ts *Transfers) Of(task core.TaskID) *Transfer { return ts.open[task] }

// Begin brings a segment of a task that this node is the source of into its transfer. answered is what a target said
// it has.
func (ts *Transfers) Begin(seg Segment, answered func(core.ID) core.Bitmap) *Transfer {
	t := ts.begin(seg)
	t.join(seg, answered)
	return t
}

// Take brings a segment that is kept here into its transfer, or what is new of one.
func (ts *Transfers) Take(seg Segment) {
	t := ts.begin(seg)
	s := t.join(seg, func(core.ID) core.Bitmap { return nil })
	seg.Mine.Here(func(run int) { t.give(s, run, nil) })
}

// Arrived lets a run that came be sent on, and the neighbours know.
func (ts *Transfers) Arrived(seg Segment, run int, chunks []core.Chunk) {
	t := ts.begin(seg)
	s := t.segments[seg.Number]
	if s == nil {
		s = t.join(seg, func(core.ID) core.Bitmap { return nil })
	}
	t.give(s, run, chunks)
	s.news = append(s.news, run)
	t.Tell()
}

// Came tells a neighbour that came, or came back, what it may have missed.
func (ts *Transfers) Came(id core.ID) {
	for _, t := range ts.open {
		t.greet(id)
	}
}

// after posts an event when d has passed.
func (ts *Transfers) after(d time.Duration, e func(*Transfers)) {
	loop := ts.loop
	time.AfterFunc(d, func() { loop.Post(e) })
}
