// SPDX-License-Identifier: Apache-2.0

package node

import (
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/keep"
	"github.com/bkp-tool/bkp/core/transfer"
)

// openTransfers begins without any task under way.
func (n *state) openTransfers() {
	n.transfers = transfer.New(transfer.Config{Self: n.ID(), Book: n.book, Flows: n.flows, Log: n.Log}, moving(n.Node),
		(*others)(n))
}

// moving is the loop as transfers see it.
func moving(n *Node) loopOf[*transfer.Transfers] {
	return loopOf[*transfer.Transfers]{n, func(n *state) *transfer.Transfers { return n.transfers }}
}

// wakeWaiting has whoever waits looked at after this event: bandwidth came free, a peer came up, or time passed.
func (n *state) wakeWaiting() {
	n.transfers.Wake()
	n.downloads.Wake()
}

// The node as its transfers see it.

func (o *others) Zone(id core.ID) string {
	if id == o.ID() {
		return o.Labels["zone"]
	}
	if p := o.peers[id]; p != nil {
		return p.labels["zone"]
	}
	return ""
}

func (o *others) Coordinates(task core.TaskID) bool {
	_, ok := o.places[task]
	return ok
}

func (o *others) Fails(task core.TaskID, target core.ID) {
	o.places[task].inbox.Fails(target, "it fails to keep what it is sent, its log says why")
}

func (o *others) Share(task core.TaskID) float64 {
	if !o.places[task].unattended || o.Yields == 0 {
		return 1
	}
	for _, other := range o.places {
		if !other.unattended {
			return o.Yields
		}
	}
	return 1
}

func (o *others) Unknown(task core.TaskID, target core.ID) { o.places[task].inbox.Unknown(target) }

func (o *others) Kept(task core.TaskID, number int, with core.ID) (transfer.Segment, bool) {
	if seg := o.kept.Segment(task, number); seg != nil && seg.Partakes(with) {
		return (*state)(o).moving(seg), true
	}
	return transfer.Segment{}, false
}

func (o *others) Chunks(run core.Hash, then func([]core.Chunk)) { o.kept.Chunks(run, then) }

func (o *others) ReceiptAgain(task core.TaskID, number int, runs []core.Range) {
	if seg := o.kept.Segment(task, number); seg != nil {
		o.kept.ReceiptAgain(seg.Source, seg, runs)
	}
}

func (o *others) Address(id core.ID) string {
	if p := o.peers[id]; p != nil {
		return p.address
	}
	return ""
}

// moving is a segment that is kept here, as one of its transfer.
func (n *state) moving(seg *keep.Segment) transfer.Segment {
	return transfer.Segment{Task: seg.Task, Source: seg.Source, Number: seg.Number, Runs: seg.Runs(), File: seg.File,
		Tables: seg.Tables(), Locations: seg.Locations, Store: n.Keeping, Mine: seg}
}

// The transfers as what is kept for others sees them.

func (o *others) Accepted(seg *keep.Segment) { o.transfers.Take((*state)(o).moving(seg)) }

func (o *others) Arrived(seg *keep.Segment, run int, chunks []core.Chunk) {
	o.transfers.Arrived((*state)(o).moving(seg), run, chunks)
}

func (o *others) Narrowed(seg *keep.Segment) {
	if t := o.transfers.Of(seg.Task); t != nil {
		t.Narrow(seg.Number, seg.Locations)
	}
}

func (o *others) Forgot(seg *keep.Segment) { o.transfers.Forgot(seg.Task, seg.Number) }

func (o *others) Coming(task core.TaskID) {
	if t := o.transfers.Of(task); t != nil {
		t.Tell()
	}
}

func (o *others) Lacking(task core.TaskID) bool {
	t := o.transfers.Of(task)
	return t != nil && t.Lacking()
}

func (o *others) Released(task core.TaskID) {
	if t := o.transfers.Of(task); t != nil && !o.Coordinates(task) {
		t.End()
	}
}
