// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/place"
	"github.com/bkp-tool/bkp/core/placements"
	"github.com/bkp-tool/bkp/core/transfer"
	"github.com/bkp-tool/bkp/core/version"
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
	return coordinated{t.n, task}
}

// coordinated is the transfer of a task that this node coordinates. Never on the loop.
type coordinated struct {
	n    *Node
	task core.TaskID
}

// with runs f on the loop where the transfer is there.
func (t coordinated) with(f func(moving *transfer.Transfer)) {
	t.n.ask(do(func(n *state) {
		if moving := n.transfers.Of(t.task); moving != nil {
			f(moving)
		}
	}))
}

func (t coordinated) Begin(segments []*placements.Segment, from version.Chunks,
	here func(s *placements.Segment, run int) bool) {
	t.n.ask(do(func(n *state) {
		for _, seg := range segments {
			runs := seg.Runs
			moving := n.transfers.Begin(transfer.Segment{Task: t.task, Source: n.ID(), Number: seg.Number,
				Runs: len(runs), File: func(run int) core.File { return runs[run].File }, Store: from,
				Tables: seg.Message.Tables(), Locations: seg.Message.Locations},
				func(target core.ID) core.Bitmap { return seg.Answers[target].Have })
			for run, r := range runs {
				if here(seg, run) {
					moving.Give(seg.Number, run, r.Chunks)
				}
			}
		}
		n.wakeWaiting()
	}))
}

func (t coordinated) Left(segments []int) (left map[core.ID]core.Size) {
	t.with(func(moving *transfer.Transfer) { left = moving.Left(segments) })
	return left
}

func (t coordinated) Loose(segment int) (loose map[core.ID]core.Bitmap) {
	t.with(func(moving *transfer.Transfer) { loose = moving.Loose(segment) })
	return loose
}

func (t coordinated) Narrow(seg *placements.Segment) {
	t.with(func(moving *transfer.Transfer) { moving.Narrow(seg.Number, seg.Message.Locations) })
}

func (t coordinated) Join(seg *placements.Segment, locations []core.Span, target core.ID, have core.Bitmap) {
	t.with(func(moving *transfer.Transfer) {
		moving.Join(seg.Number, locations, func(id core.ID) core.Bitmap {
			if id == target {
				return have
			}
			return nil
		})
	})
}

func (t coordinated) Tables(seg *placements.Segment) {
	t.with(func(moving *transfer.Transfer) { moving.Keep(seg.Message.Tables()) })
}

func (t coordinated) Forget(target core.ID) {
	t.with(func(moving *transfer.Transfer) { moving.Forget(target) })
}

func (t coordinated) End() { t.with((*transfer.Transfer).End) }

func (t coordinated) Leave() {
	t.n.ask(do(func(n *state) {
		if pl, ok := n.places[t.task]; ok {
			close(pl.left)
			delete(n.places, t.task)
			n.wakeWaiting()
		}
		if moving := n.transfers.Of(t.task); moving != nil {
			moving.End()
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
