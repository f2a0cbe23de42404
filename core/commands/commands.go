// SPDX-License-Identifier: Apache-2.0

// Package commands is a node as its own user sees it: what it does when it is asked to place, to fetch, to list, and what
// it does for its owner unasked.
//
// Each command of core/control is a method here. It puts rooms to work that know nothing of each other (place, fetch,
// repair, staging), and gives them what they need of the loop of core/node: peers to ask, values that say how the node
// stands, tasks and downloads that move data. Nothing here runs on the loop.
//
//	commands.go  a node that carries out commands        work.go     which are under way
//	peers.go     the node as rooms see it                versions.go the owner's versions, here and at peers
//	place.go     place, rm                               backup.go   placing a file while it is cut
//	fetch.go     fetch, verify                           open.go     a version read at any place
//	repair.go    placements kept, status, drain          rebalance.go relieving nodes
//	collect.go   gc                                      away.go     doing without what others keep
//	handover.go  versions that owners hand over to it
//	export.go    what is to be kept elsewhere, to a disk    import.go  and what came here on one
//	status.go    peers, ls, node status                  limit.go    what this node gives
//	probe.go     measuring links on purpose              invite.go   codes for new nodes
package commands

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/file"
	"github.com/bkp-tool/bkp/core/node"
	"github.com/bkp-tool/bkp/core/place/booking"
	"github.com/bkp-tool/bkp/core/placements"
	"github.com/bkp-tool/bkp/core/repair"
	"github.com/bkp-tool/bkp/core/staging"
	"github.com/bkp-tool/bkp/core/storage"
)

// Config is everything a node is made of that carries out commands. cmd/bkp fills it from the data dir. Watch
// and Yields are the room's own.
type Config struct {
	node.Config
	Owned
}

// Owned is what commands stand on beside the loop.
type Owned struct {
	Staging storage.Collector
	Away    staging.Away // nil: what went out of staging is forgotten
	Refs    staging.Refs
	Placed  *placements.Records // what versions shall have, and what is known to be there
	Repair  *repair.Config      // how placements are kept; nil: they are not, as long as nobody asks
	Trunks  []core.TrunkState
	// Again reads the settings anew and has the node follow them. nil: they stay.
	Again func(context.Context) error
	// Tell passes on what people want to hear of without asking. It must not block. May be nil.
	Tell func(core.Event)

	// Restore puts together the file that a fetch writes; nil: file.Restore.Run.
	Restore func(file.Restore, context.Context) (file.Assembled, error)
	// Volume makes a version readable at any place.
	Volume Volumes
	// Cut cuts and seals the file of a backup.
	Cut func(context.Context, Cutting) (control.Cut, error)
	// Order is what this node and other coordinators have an engine keep. nil: it coordinates without one.
	Order booking.Order
	// Strategy opens a strategy by name; closing it ends its process.
	Strategy func(ctx context.Context, name string) (core.Strategy, io.Closer, error)
}

// Node is a running node that carries out commands. Make one with Start, end it with Close.
type Node struct {
	*node.Node
	Owned

	own        *staging.Versions
	keeper     *repair.Keeper
	work       work          // commands under way
	handing    sync.Mutex    // one handover at a time
	collecting sync.Mutex    // one collection of staging at a time
	ready      chan struct{} // closed when all of the above is there
	failed     chan error    // holds the failure of a disk, once
}

// Start starts a node. The caller closes what Config brought after Close.
func Start(ctx context.Context, c Config) (*Node, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	n := &Node{Owned: c.Owned, failed: make(chan error, 1), ready: make(chan struct{})}
	var pace repair.Config
	if c.Repair != nil {
		pace = *c.Repair
		c.Yields = cmp.Or(pace.Share, repair.DefaultShare)
	}
	pace.Tell = n.tellOf
	n.keeper = repair.New(pace, repairs{n}, n.Placed, c.Log)
	c.Watch, c.Handed = n.keeper, n.handed
	var err error
	if n.Node, err = node.Start(ctx, c.Config); err != nil {
		return nil, err
	}
	defer close(n.ready)
	n.own = &staging.Versions{Refs: n.Refs, Owner: n.Owner, Staged: n.Staging, Here: n.here(), Away: n.Away}
	n.Act(n.watchDisks)
	n.Act(n.keepPlacements)
	if n.Repair != nil {
		n.Act(func() { n.keeper.Run(n.Life()) })
	}
	return n, nil
}

// Serve answers the commands of this machine's own user at l until the node closes.
func (n *Node) Serve(l net.Listener) {
	n.Act(func() { control.Serve(n.Life(), l, n) })
}

// Reload reads the settings anew.
func (n *Node) Reload(ctx context.Context, _ control.None, _ func(control.Status)) (r control.ReloadResult, err error) {
	if n.Again == nil {
		return r, core.Fail(core.CodeFailed, "this node keeps the settings that it was started with")
	}
	if err := n.Again(ctx); err != nil {
		return r, fmt.Errorf("read the settings anew: %w", err)
	}
	r.Peers = []string{}
	for _, p := range n.Now().Listed {
		r.Peers = append(r.Peers, p.String())
	}
	return r, nil
}

// Failed holds the reason once a disk beneath the node has failed: nobody knows then what is durable, nothing is
// acknowledged any more, and whoever started the node should end it and start anew.
func (n *Node) Failed() <-chan error { return n.failed }

// Breakable is a store, a database or a log that answers nothing any more once its disk failed.
type Breakable interface {
	// Broken is why; nil while it does.
	Broken() error
}

// watchDisks looks every second whether what the node stands on is still whole.
func (n *Node) watchDisks() {
	for n.Pause(n.Life(), time.Second) {
		for _, on := range []any{n.Keeping, n.Holdings, n.Ledger, n.Staging} {
			b, ok := on.(Breakable)
			if !ok || b.Broken() == nil {
				continue
			}
			err := core.Fail(core.CodeFailed, "a disk or a bucket failed: %w", b.Broken())
			n.Health.Degrade("disk", err.Error(), true)
			n.failed <- err
			return
		}
	}
}
