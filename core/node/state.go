// SPDX-License-Identifier: Apache-2.0

package node

import (
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/account"
	"github.com/bkp-tool/bkp/core/fetch"
	"github.com/bkp-tool/bkp/core/flow"
	"github.com/bkp-tool/bkp/core/gossip"
	"github.com/bkp-tool/bkp/core/keep"
	"github.com/bkp-tool/bkp/core/link"
	"github.com/bkp-tool/bkp/core/measure"
	"github.com/bkp-tool/bkp/core/transfer"
)

// state is what the loop owns. It goes from event to event: a Node leads to none, so what has one runs in an event.
type state struct {
	*Node
	book      *account.Book
	limits    limits
	measures  *measure.Links
	peers     map[core.ID]*peer
	queries   map[uint64]asked
	flows     *flow.Flows
	transfers *transfer.Transfers
	downloads *fetch.Downloading
	kept      *keep.State // for others
	gossip    *gossip.Gossip
	places    map[core.TaskID]placed // coordinated here
	learned   learned                // addresses, from peers
	lastID    uint64
	hearing   *link.Session // whose message this event is; nil in other events
}

// newState is the state of a node that begins; its numbers are drawn from seed on.
func newState(n *Node, seed uint64) (*state, error) {
	s := &state{
		Node: n,
		book: account.New(),
		limits: limits{up: n.Uplink, down: n.Downlink, upNow: n.Uplink.At(n.started),
			downNow: n.Downlink.At(n.started), links: map[core.ID]core.Calendar{}, changed: map[string]bool{}},
		measures: n.recall(),
		peers:    map[core.ID]*peer{},
		queries:  map[uint64]asked{},
		places:   map[core.TaskID]placed{},
		learned:  learned{},
		lastID:   seed & (1<<48 - 1), // flows of two nodes must not share numbers
	}
	s.openFlows()
	s.openTransfers()
	s.openGossip()
	s.downloads = fetch.NewDownloading(s.book, s.flows, s.Log, (*others)(s))
	s.book.SetCapacity(account.Up, s.limits.upNow)
	s.book.SetCapacity(account.Down, s.limits.downNow)
	return s, s.openKept()
}

// event is something that happened, or that somebody asks of the node.
type event interface{ apply(*state) }

// do is an event that has no name.
type do func(*state)

func (f do) apply(n *state) { f(n) }

// loop applies events one after another until the node closes.
func (n *state) loop() {
	defer close(n.ended)
	for {
		select {
		case e := <-n.events:
			n.run(e)
		case <-n.ctx.Done():
			n.unwritten = n.measures.Changed()
			return
		}
	}
}

// run applies an event, and what follows from it.
func (n *state) run(e event) {
	e.apply(n)
	n.transfers.Drive()
	n.downloads.Drive()
}

// post hands an event to the loop; after Close it is dropped.
func (n *Node) post(e event) {
	select {
	case n.events <- e:
	case <-n.ctx.Done():
	}
}

// ask returns when an event was applied; false when the node closed first. No event asks: it would wait for itself.
func (n *Node) ask(e event) bool {
	done := make(chan struct{})
	n.post(do(func(n *state) { e.apply(n); close(done) }))
	select {
	case <-done:
		return true
	case <-n.ended: // and not the end of n.ctx: the event may be under way
		select {
		case <-done:
			return true
		default:
			return false
		}
	}
}

// nextID draws a number for a query, a flow or a lease.
func (n *state) nextID() uint64 {
	n.lastID = (n.lastID + 1) & (1<<53 - 1) // exact in every JSON reader
	return n.lastID
}
