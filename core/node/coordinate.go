// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/place"
	"github.com/bkp-tool/bkp/core/transfer"
	"github.com/bkp-tool/bkp/core/wire"
)

// Beyond finds ways to nodes that those which reported are connected to, and that were not asked yet.
func (n *Node) Beyond(reports map[core.ID]wire.StateReport, asked map[core.ID]bool) (ids []core.ID) {
	n.ask(do(func(n *state) { ids = n.beyond(reports, asked) }))
	return ids
}

// beyond notes ways to the nodes that those who reported are connected to, and that were not asked yet.
func (n *state) beyond(reports map[core.ID]wire.StateReport, asked map[core.ID]bool) (ids []core.ID) {
	for through, r := range reports {
		way := n.peers[through].way()
		if len(way) == 0 || len(way)+2 > wire.MaxRoute {
			continue
		}
		for _, l := range r.Links {
			if asked[l.ID] || slices.Contains(ids, l.ID) || len(asked)+len(ids) > place.MaxFar {
				continue
			}
			p := n.far(l.ID)
			if p == nil || p.session != nil {
				continue
			}
			p.via, p.address, p.labels = append(slices.Clone(way), l.ID), l.Address, l.Labels
			ids = append(ids, l.ID)
		}
	}
	slices.SortFunc(ids, core.ID.Compare)
	return ids
}

// delayTo is the delay to a node, by that of the first hop where no session leads there.
func (n *state) delayTo(p *peer) time.Duration {
	if p.session != nil {
		return p.session.Delay()
	}
	if len(p.via) > 0 {
		if first := n.peers[p.via[0]]; first != nil && first.session != nil {
			return first.session.Delay() * time.Duration(len(p.via))
		}
	}
	return 0
}

// placed is a task that this node coordinates.
type placed struct {
	alias string
	inbox *place.Inbox

	unattended bool // nobody asked for it: it yields to others

	stopped <-chan struct{} // closed when it is to end
	left    chan struct{}   // closed when it has
}

// Transfers moves the data of what this node coordinates. Never on the loop.
type Transfers struct{ n *Node }

// Transfers is those of the tasks that this node coordinates.
func (n *Node) Transfers() Transfers { return Transfers{n} }

func (t Transfers) AwaitStopped(ctx context.Context, alias string) {
	for {
		var left <-chan struct{}
		t.n.ask(do(func(n *state) {
			for _, other := range n.places {
				select {
				case <-other.stopped:
					if alias == "" || alias == other.alias {
						left = other.left
					}
				default:
				}
			}
		}))
		if left == nil {
			return
		}
		select {
		case <-left:
		case <-ctx.Done():
			return
		}
	}
}

func (t Transfers) Enter(ctx context.Context, task core.TaskID, alias string, unattended bool,
	inbox *place.Inbox) place.Transfer {
	busy := false
	t.n.ask(do(func(n *state) {
		for _, other := range n.places {
			busy = busy || other.alias == alias
		}
		if !busy {
			n.places[task] = placed{alias, inbox, unattended, ctx.Done(), make(chan struct{})}
			n.transfers.Yield()
		}
	}))
	if busy {
		return nil
	}
	return coordinated{transfer.NewSource(task, moving(t.n)), t.n}
}

// coordinated is one of them. Never on the loop.
type coordinated struct {
	transfer.Source
	n *Node
}

func (t coordinated) Leave() {
	t.End()
	t.n.ask(do(func(n *state) {
		if pl, ok := n.places[t.Task]; ok {
			close(pl.left)
			delete(n.places, t.Task)
			n.wakeWaiting()
		}
	}))
}

// onTaskAgree and onTaskRefuse are a target's answer to a segment.
func (n *state) onTaskAgree(p *peer, m wire.TaskAgree) {
	if pl, ok := n.places[m.Task]; ok {
		pl.inbox.Agreed(p.id, m)
	}
}

func (n *state) onTaskRefuse(p *peer, m wire.TaskRefuse) {
	if pl, ok := n.places[m.Task]; ok {
		pl.inbox.Refused(p.id, m)
	}
}

// onReceipt takes a receipt that is for this coordinator, or passes it on.
func (n *state) onReceipt(p *peer, m wire.TransmissionComplete) {
	if !m.To.IsZero() && m.To != n.ID() {
		n.kept.PassOn(p.id, m)
		return
	}
	if pl, ok := n.places[m.Task]; ok {
		pl.inbox.Receipt(p.id, m.Receipt)
	}
}
