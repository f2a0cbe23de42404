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
	var none Answer
	var id uint64
	answer := make(chan wire.Message, 2)
	sent := false
	n.ask(func() {
		id = n.nextID()
		n.queries[id] = door{to, answer}
		sent = n.send(to, build(id))
	})
	defer n.post(func() { delete(n.queries, id) })
	if !sent {
		return none, fmt.Errorf("peer %s is not connected", to.Short())
	}
	timer := time.NewTimer(queryPatience)
	defer timer.Stop()
	for {
		select {
		case m := <-answer:
			switch m := m.(type) {
			case Answer:
				return m, nil
			case lost:
				return none, fmt.Errorf("peer %s went away", to.Short())
			default:
				return none, fmt.Errorf("peer %s answered with %s", to.Short(), m.Type())
			}
		case <-timer.C:
			return none, fmt.Errorf("peer %s did not answer within %s", to.Short(), queryPatience)
		case <-ctx.Done():
			return none, context.Cause(ctx)
		case <-n.ctx.Done():
			return none, errStopped
		}
	}
}

// answered hands an answer to the question it names. Loop only.
func (n *Node) answered(p *peer, id uint64, m wire.Message) {
	if d, ok := n.queries[id]; ok && d.peer == p.id {
		d.deliver(m)
	}
}
