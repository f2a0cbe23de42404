// SPDX-License-Identifier: Apache-2.0

// Package keep is the target of placements: it keeps runs for others, under their licences.
//
// State is what the loop of a node owns of that. Nothing but an event of the loop is ever given one, so whoever has it
// is in an event: its methods, and those of what it leads to, neither wait nor ask a store, a database or a log. Target
// is what goes on beside the loop; it asks those, and reports back by events.
//
//	segment.go   an accepted segment, and what has come of it     space.go     how much can be kept, offered, promised
//	account.go   all that an owner causes here
//	accept.go    judging a segment that is offered                license.go   a licence is accepted once
//	receiver.go  the end of a flow that keeps what arrives        carried.go   what came on a disk
//	barrier.go   what arrived becomes durable                     receipt.go   and is receipted
//	server.go    what is asked for, looked up (serve: and sent)   describe.go  what the packs say of holdings
//	refs.go      refs and their records, for whom they are about  release.go   letting a task go
//	records.go   holdings, ledger and packs say the same          collect.go   freeing what nobody needs
//	audit.go     proving that it is here                          tombstones.go  versions that are removed
//	check.go     looking whether they do                          begin.go     where an older database begins
//	term.go      who coordinates a version, of several            handed.go     what is handed over to this node
//	holdings.go, ledger.go  what it stands on
package keep

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/storage"
	"github.com/bkp-tool/bkp/core/storage/live"
	"github.com/bkp-tool/bkp/core/wire"
	"golang.org/x/time/rate"
)

// Config is what a target stands on.
type Config struct {
	Signer   *key.Signer
	Capacity core.Size
	// what an owner took back; nil: nobody took anything
	Revoked func(owner core.ID) core.Revoked
	// by which invite a node came, and the quota of all owners who came by it; the zero name: by none. nil: nobody did
	Invited    func(node core.ID) (name core.Nonce, quota core.Size)
	Quotas     map[core.ID]core.Size       // by owner, over all that it causes here; 0 and who is not listed: none
	KeepAtMost time.Duration               // from an acceptance on, whatever its licence says; 0: DefaultKeepAtMost
	Room       func() (core.Size, error)   // how much more the disk of Keeping takes; nil: as much as Capacity says
	Freeing    func(do func() error) error // carries out what frees space, in room set aside for it; nil: none
	Anyone     bool                        // whoever is connected counts as a member of the token
	Keeping    storage.Collector
	Holdings   Holdings
	Ledger     Ledger
	Verifiers  []NamedVerifier
	Damaged    []core.Damage // found before the node began: while something is, nothing is collected
	Health     Health
	Log        *slog.Logger
}

// NamedVerifier is one link of the chain that judges licences.
type NamedVerifier struct {
	Name string
	core.Verifier
}

// Health is where a target says what is wrong with it. Any goroutine may use it.
type Health interface {
	// Degrade notes what is wrong; with refuses nothing new can be kept until Recover takes it back.
	Degrade(key, text string, refuses bool)
	Recover(key string)
	// Refuses reports whether nothing new can be kept, and why.
	Refuses() (why string, is bool)
}

// Loop is the loop of the node, as what goes on beside it sees it.
type Loop interface {
	// Post hands an event to the loop, which drops it once the node has ended.
	Post(event func(*State))
	// Ask returns when an event has run; false where the node ended first. It is never called in an event.
	Ask(event func(*State)) bool
	// Act runs f beside the loop. The end of the node waits for it.
	Act(f func())
}

// Peers is the nodes that this one can talk to. It is used in events only.
type Peers interface {
	// Send queues a message; false where no way leads there.
	Send(to core.ID, m wire.Message) bool
	Reachable(id core.ID) bool
	// Far reports whether a node was heard of, and no session leads to it.
	Far(id core.ID) bool
	// Act runs f beside the loop, for who said what is heard in this event. The end of the node waits for it.
	Act(f func())
}

// Transfers is the tasks under way at this node: who sends which runs on. It is used in events only.
type Transfers interface {
	// Coordinates reports whether a task is placed by this node itself.
	Coordinates(task core.TaskID) bool
	// Accepted is told of a segment that is kept here from now on, or again.
	Accepted(seg *Segment)
	// Narrowed is told that a source has said anew who keeps what of a segment.
	Narrowed(seg *Segment)
	// Forgot is told of an accepted segment of which runs are not here any more that others may believe to be.
	Forgot(seg *Segment)
	// Arrived is told of a run that is here now.
	Arrived(seg *Segment, run int, chunks []core.Chunk)
	// Coming is told that runs are on their way here.
	Coming(task core.TaskID)
	// Lacking reports whether runs of a task under way are still to come here.
	Lacking(task core.TaskID) bool
	// Released is told that nothing is kept for a task any more.
	Released(task core.TaskID)
}

// State is what the loop owns.
type State struct {
	target    *Target
	peers     Peers
	transfers Transfers
	segments  map[core.SegmentID]*Segment // accepted
	records   map[putter]*recordsOf       // by the peer that puts them, and for whom
	accounts  map[core.ID]*account        // by owner
	audits    map[core.ID]int             // challenges that are being answered, by who asks
	turns     uint64                      // of segments that were offered
	keeps     core.Size                   // how much can be kept in all
	reserved  core.Size                   // promised to accepted segments, not here yet
}

// Target is what goes on beside the loop. Any goroutine may use it, but not in an event.
type Target struct {
	Config
	ctx        context.Context // ends when the node does
	loop       Loop
	use        use
	pins       live.Pins // chunks that no durable holding names yet
	arrivals   arrivals
	binding    binding
	writing    chan struct{}
	entering   sync.Mutex // held by who enters receipts, or what ends them, in the ledger
	released   releases
	auditing   *rate.Limiter                // of bytes read for audits
	collecting sync.Mutex                   // one collection at a time, or a look at the records
	hasDamage  atomic.Bool                  // the records were found to disagree, which only a repair ends
	rotten     atomic.Pointer[[]core.Chunk] // found damaged when the records were last looked at, until they are whole
}

// Open reads back what was accepted and kept when the node last stopped. The state is the loop's from then on.
func Open(ctx context.Context, c Config, loop Loop, peers Peers, transfers Transfers) (*Target, *State, error) {
	t := &Target{Config: c, ctx: ctx, loop: loop, auditing: rate.NewLimiter(rate.Limit(auditRate), int(auditBurst))}
	t.writing = make(chan struct{}, writesAtOnce)
	t.arrivals.init()
	t.released.init()
	s := &State{target: t, peers: peers, transfers: transfers, segments: map[core.SegmentID]*Segment{},
		records: map[putter]*recordsOf{}, accounts: map[core.ID]*account{}, audits: map[core.ID]int{}}
	if err := s.recover(); err != nil {
		return nil, nil, fmt.Errorf("read holdings: %w", err)
	}
	if err := t.begin(ctx); err != nil {
		if b, ok := t.Holdings.(interface{ Broken() error }); ok && b.Broken() != nil {
			return nil, nil, fmt.Errorf("begin the records of what is kept: %w", err) // it takes nothing any more
		}
		t.Log.Warn("the records of what is kept cannot be begun", "error", err) // the next start tries again
	}
	s.keeps = c.Capacity
	if keeps, ok := t.measureSpace(); ok {
		s.keeps = keeps
	}
	return t, s, nil
}

// writesAtOnce is how many things that peers ask for, acceptances, refs and releases, are made durable at once: a barrier,
// for which those wait whose runs arrived, waits for the database behind so many at most.
const writesAtOnce = 4

// write makes something durable that a peer asked for, in its turn.
func (t *Target) write(do func() error) error {
	t.writing <- struct{}{}
	defer func() { <-t.writing }()
	return do()
}

// Start begins what goes on beside the loop while the node runs. A node of one command, which keeps nothing, has no
// need of a check.
func (t *Target) Start(check bool) {
	t.loop.Act(t.keepDurable)
	t.loop.Act(t.freeReleased)
	if t.Room != nil {
		t.loop.Act(t.watchSpace)
	}
	if check {
		t.loop.Act(t.checkAtStart)
	}
}

// Close notes how far the ledger is, once the loop and what went on beside it have ended.
func (t *Target) Close() error { return t.rememberHead() }

// pause waits for d, or until the node ends; false when it ended.
func (t *Target) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-t.ctx.Done():
		return false
	}
}

var errStopped = errors.New("the node is stopping")

// signal leaves one word in c unless one is there already.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func sizeOf(chunks []core.Chunk) (sum core.Size) {
	for _, c := range chunks {
		sum += c.Size
	}
	return sum
}
