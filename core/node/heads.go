// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"fmt"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/wire"
)

// Heads is this node's ledger as its peers see it, and the heads of theirs that are kept here. Any goroutine may use it,
// but not on the loop.
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
func (n *state) tellHeads(p *peer) {
	if n.Heads == nil || !p.hearsHeads() {
		return
	}
	node, to := n.Node, p.id
	n.Act(func() {
		own, err := node.Heads.Own()
		if err != nil {
			return // it has no ledger yet, or one that is damaged, which is told elsewhere
		}
		kept := node.Heads.Kept()
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
		node.post(do(func(n *state) {
			if known && p.before == nil {
				p.before = &before
			}
			n.send(to, m)
		}))
	})
}

func (p *peer) hearsHeads() bool {
	return p.session != nil && p.session.Has(wire.FeatureHeads) && p.session.Peer().Token
}

// maxHeadsAtOnce is how many messages about ledgers of one member are looked at at once; others are dropped, as the next
// session brings the same.
const maxHeadsAtOnce = 4

// onHeads holds what a member says of ledgers against what is kept here.
func (n *state) onHeads(p *peer, m wire.Heads) {
	if n.Heads == nil || !p.hearsHeads() || p.heads >= maxHeadsAtOnce {
		return
	}
	p.heads++
	met := map[core.ID]bool{}
	for id, other := range n.peers {
		met[id] = other.session != nil
	}
	node, from, before := n.Node, p.id, p.before
	n.Act(func() {
		answer, waits := node.compareHeads(from, before, m, met)
		node.post(do(func(n *state) {
			p.heads--
			if waits {
				n.awaitProof(p)
			} else {
				p.proof = proofHeard
			}
			if answer != nil {
				n.send(from, *answer)
			}
		}))
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

// awaitProof names a member that does not prove in time that its ledger goes on from what it was.
func (n *state) awaitProof(p *peer) {
	if p.proof != proofUnasked {
		return
	}
	p.proof = proofAwaited
	node, session := n.Node, p.session
	n.Act(func() {
		if !node.Pause(node.ctx, proofPatience) {
			return
		}
		node.post(do(func(n *state) {
			if p.session == session && session != nil && p.proof == proofAwaited {
				n.nameLedger(p.id, errors.New("it does not show that it goes on from what it was"))
			}
		}))
	})
}

// compareHeads returns what is to be answered. before is the member's head as it was kept when the session began: what it
// says in one session may come in another order. Of nodes that are met here their own word counts. Not on the loop.
func (n *Node) compareHeads(from core.ID, before *key.SignedHead, m wire.Heads, met map[core.ID]bool) (answer *wire.Heads,
	waits bool) {
	kept := n.Heads.Kept()
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
		if err := n.Heads.Follows(*before, own, m.Proof); err != nil {
			n.nameLedger(from, err)
			break
		}
		n.Health.Recover(ledgerKey(from))
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
		case id == n.ID():
			answer = n.answerFor(h)
		case known && h.Size == before.Size && h.Root != before.Root:
			n.nameLedger(id, fmt.Errorf("it signed two heads over %d entries", h.Size))
		case !met[id] && (!known || h.Size > before.Size):
			news = append(news, h)
		}
	}
	if err := n.Heads.Keep(news); err != nil {
		n.Log.Warn("heads of ledgers", "error", err)
	}
	return answer, waits
}

// answerFor proves that this node's ledger goes on from a head that somebody keeps of it. Where it does not, that is said
// of this node: what it promised then is not in its log.
func (n *Node) answerFor(h key.SignedHead) *wire.Heads {
	const here = "ledger-heads"
	err := n.Heads.Holds(core.LedgerHead{Size: h.Size, Root: h.Root})
	if core.CodeOf(err) == core.CodeWrong {
		n.Health.Degrade(here, fmt.Sprintf("a peer keeps a head that this node signed, and %v", err), false)
		n.Log.Warn("ledger", "error", err)
	}
	own, ownErr := n.Heads.Own()
	switch {
	case ownErr != nil:
		return nil
	case err != nil: // without a proof: whoever asks sees for itself
		return &wire.Heads{Own: wire.Head(own), From: h.Size}
	}
	n.Health.Recover(here)
	proof, err := n.Heads.Prove(h.Size, own.Size)
	if err != nil {
		n.Log.Warn("ledger", "error", err)
		return nil
	}
	return &wire.Heads{Own: wire.Head(own), From: h.Size, Proof: proof}
}

func ledgerKey(id core.ID) string { return "ledger of " + id.String() }

// nameLedger says whose ledger is not what it was.
func (n *Node) nameLedger(id core.ID, err error) {
	n.Health.Degrade(ledgerKey(id), fmt.Sprintf("the ledger of node %s was cut or rewritten: %v (what it keeps "+
		"has to be proved anew; then: bkp peers remove --forget %s)", id.Short(), err, id), false)
	n.Log.Warn("the ledger of a node was cut or rewritten", "node", id, "error", err)
}
