// SPDX-License-Identifier: Apache-2.0

package place

import (
	"context"
	"io"
	"log/slog"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/place/booking"
	"github.com/bkp-tool/bkp/core/place/delivery"
	"github.com/bkp-tool/bkp/core/place/survey"
	"github.com/bkp-tool/bkp/core/placements"
	"github.com/bkp-tool/bkp/core/plan/saved"
	"github.com/bkp-tool/bkp/core/spread"
	"github.com/bkp-tool/bkp/core/storage"
	"github.com/bkp-tool/bkp/core/storage/live"
	"github.com/bkp-tool/bkp/core/version"
	"github.com/bkp-tool/bkp/core/wire"
)

// Coordinator places versions of an owner's names on the peers of a node. Its methods are safe for many goroutines.
type Coordinator struct {
	Node      core.ID         // this one
	Life      context.Context // ends when it stops; its cause says so
	Owner     func(doing string) (*key.Owner, error)
	Peers     Peers
	Network   Network
	Transfers Transfers
	Versions  Versions
	Refs      Refs
	Records   *placements.Records
	Ledger    Ledger
	Staging   storage.Store
	Pins      *live.Pins     // of staging
	Here      version.Chunks // all that is on this machine
	Trunks    []core.TrunkState
	Signer    *key.Signer   // of this node, which signs for owners that handed a version over to it
	Held      Held          // what it keeps for them itself
	Order     booking.Order // that it has with other coordinators; nil: none
	Log       *slog.Logger

	// Strategy opens a strategy by name; closing it ends its process.
	Strategy func(ctx context.Context, name string) (core.Strategy, io.Closer, error)
	// Bring has wanted chunks of a version of an alias brought from their holders, and hands each to keep. left is the
	// runs that are at no reachable holder.
	Bring func(ctx context.Context, alias string, wanted []spread.Wanted,
		keep func(run, index int, data []byte) error) (left []int, err error)
	// Cover tells how many holders gave receipts for a chunk, by the records of versions.
	Cover func(ctx context.Context, refs []version.Found) (copies func(core.Hash) int, err error)
	// Sweep takes out of staging what this machine may do without.
	Sweep func(ctx context.Context) (core.Collected, error)
}

// Peers is the nodes that this one knows, and what is said to them.
type Peers interface {
	wire.Asker
	// Await returns when every peer of the list is connected or has failed, after some seconds at the latest.
	Await(ctx context.Context)
	// Connected is the nodes that a session leads to, over a link whose capacity is settled, by address.
	Connected() []core.ID
	// Reach looks for nodes that no session leads to where others say that they are, for some seconds at most.
	Reach(ctx context.Context, ids []core.ID)
	// Unreached is why peers of the list are not connected.
	Unreached() []string
	// Named is the nodes that a name means, there or not, as far as their IDs are known. known is true also where
	// the peer list alone has one, which was never met.
	Named(name string) (ids []core.ID, known bool)
	// Known is what is known of nodes now; those that were never met are left out.
	Known(ids []core.ID) map[core.ID]Peer
	// Send sends a message to nodes, and returns those that it could not be sent to.
	Send(to []core.ID, m wire.Message) (unsent []core.ID)
}

// Peer is what is known of a node.
type Peer = delivery.Peer

// Network is what this node knows of the network by itself.
type Network interface {
	// Self is this node as its own plans see it.
	Self() core.NodeState
	// Ends is this side of the links to nodes that can be reached; all others are left out.
	Ends(ids []core.ID) map[core.ID]LinkEnd
	// Beyond finds ways to nodes that those which reported are connected to, and that were not asked yet.
	Beyond(reports map[core.ID]wire.StateReport, asked map[core.ID]bool) []core.ID
}

// LinkEnd is one side of a link.
type LinkEnd = survey.End

// Transfers moves the data of tasks.
type Transfers interface {
	// AwaitStopped waits until no task of the alias, or none at all where that is empty, is known whose context ended.
	AwaitStopped(ctx context.Context, alias string)
	// Enter makes a task known: what happens to it goes to inbox until it is left. It is nil where another task of the
	// alias is known. The end of ctx is what stops the task. One that is unattended yields to others.
	Enter(ctx context.Context, task core.TaskID, alias string, unattended bool, inbox *Inbox) Transfer
}

// Transfer is the data of one task under way, as its source sees it.
type Transfer interface {
	delivery.Progress
	// Begin lets the data of segments move; here says which of a segment's runs this node can send, out of from.
	Begin(segments []*placements.Segment, from version.Chunks, here func(s *placements.Segment, run int) bool)
	// Narrow takes what a segment's Locations no longer ask for out of what its targets are to get.
	Narrow(s *placements.Segment)
	// Join adds to what the targets of a segment are to get what is new in locations; target has some of it.
	Join(s *placements.Segment, locations []core.Span, target core.ID, have core.Bitmap)
	// Tables has the rates and shares of trunks that a segment's message tells kept to.
	Tables(s *placements.Segment)
	// Forget sends a target nothing more.
	Forget(target core.ID)
	// End stops what this node sends.
	End()
	// Leave ends it, and what happens to the task is told nobody any more.
	Leave()
}

// Versions is what is known of the owner's versions.
type Versions interface {
	// Local opens this machine's refs of an alias, or all where it is empty.
	Local(alias string) ([]version.Found, error)
	// At asks every connected peer for the ref of a version of an alias, the newest where number is 0; peers that fail
	// are named in problems.
	At(ctx context.Context, alias string, number int) (found []version.Found, problems []error)
	// Gone is those of an alias, or all where it is empty, that are known here to be removed.
	Gone(alias string) ([]version.Gone, error)
}

// Held is what this node keeps for others itself.
type Held interface {
	// RefOf is the ref of a version, and the bytes of its records.
	RefOf(owner core.ID, alias string, version int) (r core.HeldRef, records [][]byte, err error)
	// Elsewhere is who else was to keep runs when this node was given them, as far as it was told.
	Elsewhere(owner core.ID, alias string, version int, runs []core.File) []core.Span
	// Locate keeps a location beside it.
	Locate(owner core.ID, alias string, version int, location []byte) error
	// Buried is the tombstone of a version that is removed; nil where it lives.
	Buried(owner core.ID, alias string, version int) ([]byte, error)
}

// Refs keeps the owner's own refs.
type Refs interface {
	Put(alias string, number int, envelope []byte) error
	Remove(alias string, number int) error
	// Learn keeps a tombstone, Forget drops it.
	Learn(alias string, number int, tombstone []byte) error
	Forget(alias string, number int) error
	// SetAway says whether this machine does without the content of a version, since peers keep it.
	SetAway(alias string, number int, away bool) error
}

// Ledger is the log of licences and receipts.
type Ledger interface {
	AppendLicense(envelope []byte) error
	AppendReceipt(envelope []byte) error
	// Sync returns when everything appended before it is durable.
	Sync() error
}

// Status is progress on long work.
type Status struct {
	Phase   string
	Done    core.Size
	Total   core.Size // 0 while unknown
	Seconds float64   // since the phase began
	Text    string
	Warning bool        // Text is one
	Plan    *saved.Plan // what is about to be done, once, where Args.Show asks for it
	Asked   *core.Asked // of the strategy, where Args.Record asks for it

	Predicted float64 // seconds, of the whole placement by its plan; 0 while there is none
	Bound     float64 // seconds: no plan takes less
	Binding   string  // what sets that
}
