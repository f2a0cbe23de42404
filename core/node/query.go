// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/wire"
)

// queryPatience is how long a peer may take to answer a question.
const queryPatience = 30 * time.Second

// Asker is the node's peers as rooms see them that act for this node. Never on the loop.
type Asker struct{ n *Node }

// Asker is the node's peers.
func (n *Node) Asker() Asker { return Asker{n} }

// peerPatience is how long a command waits for the peers of its list to come up or to fail once, and againPatience for
// those that failed before.
const (
	peerPatience  = 5 * time.Second
	againPatience = time.Second
)

// Await returns when every peer of the list is connected or has failed, at the latest after peerPatience. Those that
// failed before are tried again at once.
func (a Asker) Await(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, peerPatience)
	defer cancel()
	again, began := a.n.hub.Retry(nil), time.Now()
	for {
		settled := true
		diallers := a.n.hub.Diallers()
		a.n.ask(do(func(n *state) {
			for _, d := range diallers {
				p := n.peers[d.ID]
				tired := time.Since(began) > againPatience && slices.Contains(again, d.Peer)
				settled = settled && (d.Err != nil || p != nil && p.session != nil || tired)
			}
			for _, p := range n.peers {
				settled = settled && (p.session == nil || p.capacity > 0)
			}
		}))
		if settled || !a.n.Pause(ctx, 20*time.Millisecond) {
			return
		}
	}
}

// Unreached is why peers of the list are not connected.
func (a Asker) Unreached() (problems []string) {
	for _, d := range a.n.hub.Diallers() {
		if d.Err != nil {
			problems = append(problems, fmt.Sprintf("%s: %v", d.Peer.Address(), d.Err))
		}
	}
	return problems
}

// Connected is the peers that a session leads to, over a link whose capacity is settled, by address and ID.
func (a Asker) Connected() (ids []core.ID) {
	a.n.ask(do(func(n *state) {
		for _, p := range n.connected() {
			ids = append(ids, p.id)
		}
	}))
	return ids
}

// Send sends a message to peers, and returns those that it could not be sent to.
func (a Asker) Send(to []core.ID, m wire.Message) (unsent []core.ID) {
	a.n.ask(do(func(n *state) {
		for _, id := range to {
			if !n.send(id, m) {
				unsent = append(unsent, id)
			}
		}
	}))
	return unsent
}

// Ask asks a peer a question of a fresh number, and waits for the answer, for queryPatience at most.
func (a Asker) Ask(ctx context.Context, to core.ID, question func(id uint64) wire.Message) (wire.Message, error) {
	n := a.n
	var id uint64
	answer := make(chan wire.Message, 1)
	sent := false
	n.ask(do(func(n *state) {
		id = n.nextID()
		n.queries[id] = asked{to, answer}
		sent = n.send(to, question(id))
	}))
	defer n.post(do(func(n *state) { delete(n.queries, id) }))
	if !sent {
		return nil, fmt.Errorf("peer %s is not connected", to.Short())
	}
	timer := time.NewTimer(queryPatience)
	defer timer.Stop()
	select {
	case m, ok := <-answer:
		if !ok {
			return nil, fmt.Errorf("peer %s went away", to.Short())
		}
		return m, nil
	case <-timer.C:
		return nil, fmt.Errorf("peer %s did not answer within %s", to.Short(), queryPatience)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-n.ctx.Done():
		return nil, errStopped
	}
}

// asked is a question that a peer was asked.
type asked struct {
	peer   core.ID
	answer chan wire.Message // holds one; closed where the peer went away
}

// answered hands an answer to the question it names, where that has none yet.
func (n *state) answered(p *peer, id uint64, m wire.Message) {
	if q, ok := n.queries[id]; ok && q.peer == p.id {
		select {
		case q.answer <- m:
		default:
		}
	}
}
