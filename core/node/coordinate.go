// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/place"
	"github.com/bkp-tool/bkp/core/placements"
	"github.com/bkp-tool/bkp/core/transfer"
	"github.com/bkp-tool/bkp/core/version"
	"github.com/bkp-tool/bkp/core/wire"
)

// placePeers is what a placement may know of peers, and say to them. Never on the loop.
type placePeers struct{ asker }

func (a placePeers) Known(ids []core.ID) map[core.ID]place.Peer {
	known := map[core.ID]place.Peer{}
	a.n.ask(do(func(n *state) {
		for _, id := range ids {
			if p := n.peers[id]; p != nil {
				known[id] = place.Peer{Address: p.address, Reachable: p.reachable(),
					Connected: p.session != nil && p.capacity > 0, Capacity: p.capacity, Refs2: p.readsRefs2(),
					Far: p.session == nil && p.reachable(), Stripes: p.session != nil && p.session.Has(wire.FeatureStripes),
					Audited: p.session == nil || p.session.Has(wire.FeatureAudit)}
			}
		}
	}))
	return known
}

func (a placePeers) Send(to []core.ID, m wire.Message) (unsent []core.ID) {
	a.n.ask(do(func(n *state) {
		for _, id := range to {
			if !n.send(id, m) {
				unsent = append(unsent, id)
			}
		}
	}))
	return unsent
}

// placeNetwork is what a survey learns from this node. Never on the loop.
type placeNetwork struct{ n *Node }

func (w placeNetwork) Self() (s core.NodeState) {
	w.n.ask(do(func(n *state) { s = n.ownState() }))
	return s
}

func (w placeNetwork) Ends(ids []core.ID) map[core.ID]place.LinkEnd {
	ends := map[core.ID]place.LinkEnd{}
	w.n.ask(do(func(n *state) {
		for _, id := range ids {
			if p := n.peers[id]; p.reachable() {
				ends[id] = place.LinkEnd{Address: p.address, Direct: p.session != nil, Capacity: p.capacity,
					Delay: n.delayTo(p), Report: n.linkReport(p)}
			}
		}
	}))
	return ends
}

func (w placeNetwork) Beyond(reports map[core.ID]wire.StateReport, asked map[core.ID]bool) (ids []core.ID) {
	w.n.ask(do(func(n *state) { ids = n.beyond(reports, asked) }))
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

// delayTo is the delay to a node in seconds, that of the first hop where no session leads there.
func (n *state) delayTo(p *peer) float64 {
	if p.session != nil {
		return p.session.Delay().Seconds()
	}
	if len(p.via) > 0 {
		if first := n.peers[p.via[0]]; first != nil && first.session != nil {
			return first.session.Delay().Seconds() * float64(len(p.via))
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

// placeTransfers moves the data of what this node coordinates. Never on the loop.
type placeTransfers struct{ n *Node }

func (t placeTransfers) AwaitStopped(ctx context.Context, alias string) {
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

func (t placeTransfers) Enter(ctx context.Context, task core.TaskID, alias string, unattended bool,
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
	return placeTransfer{t.n, task}
}

// placeTransfer is the transfer of a task that this node coordinates. Never on the loop.
type placeTransfer struct {
	n    *Node
	task core.TaskID
}

// with runs f on the loop where the transfer is there.
func (t placeTransfer) with(f func(moving *transfer.Transfer)) {
	t.n.ask(do(func(n *state) {
		if moving := n.transfers.Of(t.task); moving != nil {
			f(moving)
		}
	}))
}

func (t placeTransfer) Begin(segments []*placements.Segment, from version.Chunks,
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

func (t placeTransfer) Left(segments []int) (left map[core.ID]core.Size) {
	t.with(func(moving *transfer.Transfer) { left = moving.Left(segments) })
	return left
}

func (t placeTransfer) Loose(segment int) (loose map[core.ID]core.Bitmap) {
	t.with(func(moving *transfer.Transfer) { loose = moving.Loose(segment) })
	return loose
}

func (t placeTransfer) Narrow(seg *placements.Segment) {
	t.with(func(moving *transfer.Transfer) { moving.Narrow(seg.Number, seg.Message.Locations) })
}

func (t placeTransfer) Join(seg *placements.Segment, locations []core.Span, target core.ID, have core.Bitmap) {
	t.with(func(moving *transfer.Transfer) {
		moving.Join(seg.Number, locations, func(id core.ID) core.Bitmap {
			if id == target {
				return have
			}
			return nil
		})
	})
}

func (t placeTransfer) Tables(seg *placements.Segment) {
	t.with(func(moving *transfer.Transfer) { moving.Keep(seg.Message.Tables()) })
}

func (t placeTransfer) Forget(target core.ID) {
	t.with(func(moving *transfer.Transfer) { moving.Forget(target) })
}

func (t placeTransfer) End() { t.with((*transfer.Transfer).End) }

func (t placeTransfer) Leave() {
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
