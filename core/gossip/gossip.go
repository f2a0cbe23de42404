// SPDX-License-Identifier: Apache-2.0

// Package gossip passes on what nodes sign and tell each other when they meet: how far their ledgers are, and what
// owners took back.
package gossip

import (
	"log/slog"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/health"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/wire"
)

// Peers is the nodes that sessions lead to. It is used in events only.
type Peers interface {
	// Send queues a message; false where no way leads there.
	Send(to core.ID, m wire.Message) bool
	// Met is the nodes that a session leads to, in order.
	Met() []core.ID
	// Hears reports whether what belongs to a feature is told to a node, and heard from it: it has the feature and is a
	// member or, for lists of revocations, acts for an owner, or was dialled: an owner may have no token.
	Hears(id core.ID, f wire.Feature) bool
	// Act runs f beside the loop, for who said what is heard in this event. The end of the node waits for it.
	Act(f func())
	// Revoked is told that what nodes may do is to be looked at again.
	Revoked()
}

// Loop is the loop of the node, as what goes on beside it sees it.
type Loop interface {
	// Post hands an event to the loop, which drops it once the node has ended.
	Post(event func(*Gossip))
}

// Config is what gossip stands on.
type Config struct {
	Self    core.ID
	Heads   Heads             // nil: none are exchanged
	Revoked Revoked           // nil: nothing is heard of it
	Owner   func() *key.Owner // at home here, nil without one
	Health  *health.Health    // hears of ledgers that were cut or rewritten
	Log     *slog.Logger
}

// Gossip is what was heard of whom. The loop owns it.
type Gossip struct {
	Config
	loop  Loop
	peers Peers
	heard map[core.ID]*heard
	news  map[core.ID]list      // of owners, to be told on
	told  map[core.ID]time.Time // of owners: when a list of theirs was, lately
}

// heard is what one node said.
type heard struct {
	before  *key.SignedHead // of its ledger, as it was kept when the session began
	proof   int             // whether it has proved that its ledger goes on from that
	waiting time.Time       // for that since
}

// New is that of a node that has met nobody yet.
func New(c Config, loop Loop, peers Peers) *Gossip {
	return &Gossip{Config: c, loop: loop, peers: peers, heard: map[core.ID]*heard{},
		news: map[core.ID]list{}, told: map[core.ID]time.Time{}}
}

// Met tells a node whose session has begun what this one knows.
func (g *Gossip) Met(id core.ID) {
	h := g.of(id)
	h.before, h.proof = nil, proofUnasked
	g.tellRevoked(id)
	g.tellHeads(id)
}

// Gone is a node whose session has ended.
func (g *Gossip) Gone(id core.ID) { g.of(id).proof = proofUnasked }

// Look does what is due.
func (g *Gossip) Look() {
	g.tellNews()
	g.nameSilent()
}

// Forget forgets a node that is gone.
func (g *Gossip) Forget(id core.ID) { delete(g.heard, id) }

func (g *Gossip) of(id core.ID) *heard {
	h := g.heard[id]
	if h == nil {
		h = &heard{}
		g.heard[id] = h
	}
	return h
}
