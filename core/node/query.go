// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"fmt"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/wire"
)

// queryPatience is how long a peer may take to answer a question.
const queryPatience = 30 * time.Second

// query sends the message that build makes for a fresh query number and waits for its answer. Never on the loop.
func query[Answer wire.Message](ctx context.Context, n *Node, to core.ID,
	build func(id uint64) wire.Message) (Answer, error) {
	return wire.Ask[Answer](ctx, asker{n}, to, build)
}

// asker is the node's peers as rooms see them that act for this node. Never on the loop.
type asker struct{ n *Node }

func (a asker) Await(ctx context.Context) { a.n.awaitPeers(ctx) }

func (a asker) Unreached() []string { return a.n.unreached() }

func (a asker) Connected() (ids []core.ID) {
	a.n.ask(do(func(n *state) {
		for _, p := range n.connected() {
			ids = append(ids, p.id)
		}
	}))
	return ids
}

// Ask waits for queryPatience at most.
func (a asker) Ask(ctx context.Context, to core.ID, question func(id uint64) wire.Message) (wire.Message, error) {
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
