// SPDX-License-Identifier: Apache-2.0

package gossip

import (
	"errors"
	"fmt"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/wire"
)

// Heads is this node's ledger as its peers see it, and the heads of theirs that are kept here. Any goroutine may use
// it, but not on the loop.
type Heads interface {
	// Own is this node's newest head.
	Own() (key.SignedHead, error)
	// Holds is an error of core.CodeWrong where this node's ledger does not hold what a head was signed for.
	Holds(head core.LedgerHead) error
	// Prove is the proof that the ledger of to entries goes on from that of the first from.
	Prove(from, to int64) ([]core.Hash, error)
	// Follows is an error of core.CodeWrong where a head does not go on from another, as by a proof.
	Follows(before, after key.SignedHead, proof []core.Hash) error
	// Kept is the newest head of each other node.
	Kept() map[core.ID]key.SignedHead
	// Keep keeps heads that are further than those that are there, durably.
	Keep(heads []key.SignedHead) error
}

// tellHeads tells a member that was met how far this ledger is, and what this node knows of others, the member first.
func (g *Gossip) tellHeads(to core.ID) {
	if g.Heads == nil || !g.peers.Hears(to, wire.FeatureHeads) {
		return
	}
	heads, loop := g.Heads, g.loop
	g.peers.Act(func() {
		own, err := heads.Own()
		if err != nil {
			return // it has no ledger yet, or one that is damaged, which is told elsewhere
		}
		kept := heads.Kept()
		m := wire.Heads{Own: wire.Head(own)}
		before, known := kept[to]
		if known {
			m.Kept = append(m.Kept, wire.Head(before))
			delete(kept, to)
		}
		for _, id := range core.Sorted(kept) {
			if len(m.Kept) < wire.MaxHeads {
				m.Kept = append(m.Kept, wire.Head(kept[id]))
			}
		}
		loop.Post(func(g *Gossip) {
			if h := g.of(to); known && h.before == nil {
				h.before = &before
			}
			g.peers.Send(to, m)
		})
	})
}

// HeardHeads holds what a member says of ledgers against what is kept here.
func (g *Gossip) HeardHeads(from core.ID, m wire.Heads) {
	h := g.of(from)
	if g.Heads == nil || !g.peers.Hears(from, wire.FeatureHeads) {
		return
	}
	met := map[core.ID]bool{}
	for _, id := range g.peers.Met() {
		met[id] = true
	}
	c, loop, before := g.Config, g.loop, h.before
	g.peers.Act(func() {
		answer, waits := c.compareHeads(from, before, m, met)
		loop.Post(func(g *Gossip) {
			switch {
			case !waits:
				h.proof = proofHeard
			case h.proof == proofUnasked:
				h.proof, h.waiting = proofAwaited, time.Now()
			}
			if answer != nil {
				g.peers.Send(from, *answer)
			}
		})
	})
}

// What a member has said of how its ledger goes on from the head that is kept here.
const (
	proofUnasked = iota
	proofAwaited
	proofHeard // or it was named for it, or there is nothing to prove
)

// proofPatience is how long a member may take to prove it.
const proofPatience = 30 * time.Second

// nameSilent names members that did not prove in time that their ledgers go on from what they were.
func (g *Gossip) nameSilent() {
	for id, h := range g.heard {
		if h.proof == proofAwaited && time.Since(h.waiting) >= proofPatience {
			h.proof = proofHeard
			g.nameLedger(id, errors.New("it does not show that it goes on from what it was"))
		}
	}
}

// compareHeads returns what is to be answered. before is the member's head as it was kept when the session began: what
// it says in one session may come in another order. Of nodes that are met here their own word counts. Not on the loop.
func (c Config) compareHeads(from core.ID, before *key.SignedHead, m wire.Heads, met map[core.ID]bool) (answer *wire.Heads,
	waits bool) {
	kept := c.Heads.Kept()
	if now, known := kept[from]; known && before == nil {
		before = &now
	}
	var news []key.SignedHead
	own := key.SignedHead(m.Own)
	switch {
	case own.Check() != nil || own.Node() != from:
	case before == nil:
		news = append(news, own)
	case m.From != before.Size && own.Size > before.Size:
		waits = true // for the proof
	default:
		if err := c.Heads.Follows(*before, own, m.Proof); err != nil {
			c.nameLedger(from, err)
			break
		}
		c.Health.Recover(ledgerKey(from))
		news = append(news, own)
	}
	for _, head := range m.Kept {
		h := key.SignedHead(head)
		if h.Check() != nil {
			continue
		}
		id := h.Node()
		before, known := kept[id]
		switch {
		case id == c.Self:
			answer = c.answerFor(h)
		case known && h.Size == before.Size && h.Root != before.Root:
			c.nameLedger(id, fmt.Errorf("it signed two heads over %d entries", h.Size))
		case !met[id] && (!known || h.Size > before.Size):
			news = append(news, h)
		}
	}
	if err := c.Heads.Keep(news); err != nil {
		c.Log.Warn("heads of ledgers", "error", err)
	}
	return answer, waits
}

// answerFor proves that this node's ledger goes on from a head that somebody keeps of it. Where it does not, that is
// said of this node: what it promised then is not in its log.
func (c Config) answerFor(h key.SignedHead) *wire.Heads {
	const here = "ledger-heads"
	err := c.Heads.Holds(core.LedgerHead{Size: h.Size, Root: h.Root})
	if core.CodeOf(err) == core.CodeWrong {
		c.Health.Degrade(here, fmt.Sprintf("a peer keeps a head that this node signed, and %v", err), false)
		c.Log.Warn("ledger", "error", err)
	}
	own, ownErr := c.Heads.Own()
	switch {
	case ownErr != nil:
		return nil
	case err != nil: // without a proof: whoever asks sees for itself
		return &wire.Heads{Own: wire.Head(own), From: h.Size}
	}
	c.Health.Recover(here)
	proof, err := c.Heads.Prove(h.Size, own.Size)
	if err != nil {
		c.Log.Warn("ledger", "error", err)
		return nil
	}
	return &wire.Heads{Own: wire.Head(own), From: h.Size, Proof: proof}
}

func ledgerKey(id core.ID) string { return "ledger of " + id.String() }

// nameLedger says whose ledger is not what it was.
func (c Config) nameLedger(id core.ID, err error) {
	c.Health.Degrade(ledgerKey(id), fmt.Sprintf("the ledger of node %s was cut or rewritten: %v (what it keeps "+
		"has to be proved anew; then: bkp peers remove --forget %s)", id.Short(), err, id), false)
	c.Log.Warn("the ledger of a node was cut or rewritten", "node", id, "error", err)
}
