// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"maps"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/account"
	"github.com/bkp-tool/bkp/core/flow"
	"github.com/bkp-tool/bkp/core/spread"
	"github.com/bkp-tool/bkp/core/wire"
)

// Transfer is a task under way as one node sees it, its source or a target. What goes to whom core/spread decides; this
// tells it what is heard of others, and has the bytes.
type Transfer struct {
	all      *Transfers
	task     core.TaskID
	source   core.ID
	tables   wire.StorageTask // its Bandwidth, Trunks and TrunkShares only
	known    *spread.Transfer
	part     *spread.Part
	me       *spread.Peer
	ids      []core.ID // of the nodes that take part, by the number that spread knows them by; the first is this node
	peers    map[core.ID]*spread.Peer
	zones    map[string]*spread.Zone
	segments map[int]*segment
	order    []int // their numbers, ascending
	senders  map[core.ID]*sender
	told     bool // a word to the neighbours is on its way
	touched  time.Duration
}

// segment is one of a transfer.
type segment struct {
	*spread.Segment
	file   func(run int) core.File
	store  flow.Chunks          // has the bytes of what is here
	chunks map[int][]core.Chunk // of runs that are here
	mine   Kept                 // nil at the source
	news   []int                // runs that came since the neighbours were told
	sought map[int]bool         // runs whose chunks are being looked up
	ways   []core.Span          // as followed
}

// begin finds or makes the transfer of a task.
func (ts *Transfers) begin(seg Segment) *Transfer {
	t := ts.open[seg.Task]
	if t == nil {
		t = &Transfer{all: ts, task: seg.Task, source: seg.Source, known: &spread.Transfer{Once: true},
			peers: map[core.ID]*spread.Peer{}, zones: map[string]*spread.Zone{}, segments: map[int]*segment{},
			senders: map[core.ID]*sender{}, tables: seg.Tables}
		ts.open[seg.Task] = t
		t.me = t.peer(ts.Self)
		t.part = ts.engine.Add(t.known, t.me, t)
	}
	t.tables, t.touched = seg.Tables, ts.Flows.Now()
	return t
}

// peer finds or makes a node that takes part.
func (t *Transfer) peer(id core.ID) *spread.Peer {
	q := t.peers[id]
	if q == nil {
		q = t.known.Join(t.all.Flows.Now(), len(t.ids), t.zone(id), 0, 0)
		t.ids = append(t.ids, id)
		t.peers[id] = q
		if row := rowOf(t.tables.Bandwidth, t.all.Self, id); row != nil && t.part != nil {
			t.part.First(q.Number, float64(row.Bytes))
		}
	}
	return q
}

// zone is the site of a node to which a trunk leads from here; nil where none does.
func (t *Transfer) zone(id core.ID) *spread.Zone {
	trunk := t.trunk(id)
	if trunk == nil {
		return nil
	}
	if t.zones[trunk.To] == nil {
		t.zones[trunk.To] = &spread.Zone{}
	}
	return t.zones[trunk.To]
}

// rowOf is the row of a table for one direction; nil where there is none.
func rowOf(table []wire.BandwidthRow, from, to core.ID) *wire.BandwidthRow {
	for i, row := range table {
		if row.From == from && row.To == to {
			return &table[i]
		}
	}
	return nil
}

// trunk is the one that lies between this node and another; nil where there is none.
func (t *Transfer) trunk(to core.ID) *core.TrunkState {
	from, beyond := t.all.node.Zone(t.all.Self), t.all.node.Zone(to)
	for i, trunk := range t.tables.Trunks {
		if trunk.From == from && trunk.To == beyond {
			return &t.tables.Trunks[i]
		}
	}
	return nil
}

// trunkShare is a target's share of a trunk, and its part of what others have on whose ways nothing is to come any
// more: their targets lack nothing, or nothing but what this node gives them. ok is false where it has none.
func (t *Transfer) trunkShare(to core.ID, trunk *core.TrunkState) (rate core.Rate, ok bool) {
	row := rowOf(t.tables.TrunkShares, t.all.Self, to)
	if row == nil {
		return 0, false
	}
	all, open := 0.0, 0.0
	for _, other := range t.tables.TrunkShares {
		if t.all.node.Zone(other.From) != trunk.From || t.all.node.Zone(other.To) != trunk.To {
			continue
		}
		all += float64(other.Rate)
		ours, q, from := other.From == t.all.Self, t.peers[other.To], t.peers[other.From]
		if ours && other.To == to || q != nil && q.Need() > 0 && (!t.known.Traced || from != nil && q.Awaits(from)) {
			open += float64(other.Rate)
		}
	}
	if open == 0 {
		return row.Rate, true
	}
	return core.Rate(float64(row.Rate) * all / open), true
}

// instant stands for a round trip that was not measured: none costs nothing.
const instant = time.Nanosecond

// Way makes it spread.Ways.
func (t *Transfer) Way(to int) (way spread.Way, ok bool) {
	id := t.ids[to]
	session, capacity := t.all.node.Session(id)
	if capacity == 0 {
		return way, false
	}
	way = spread.Way{Free: t.all.Book.Free(account.Out(id)), Rate: bounded(t.all.Book.Nominal(account.Up, account.Out(id))),
		RoundTrip: max(instant, 2*session.Delay())}
	if trunk := t.trunk(id); trunk != nil {
		way.Trunk = trunk.Rate
		if way.Share, ok = t.trunkShare(id, trunk); !ok {
			return way, false
		}
	}
	return t.within(way, id)
}

// join adds a segment, or what is new of one: who keeps what of it. have is what a target said it has.
func (t *Transfer) join(s Segment, have func(core.ID) core.Bitmap) *segment {
	seg := t.segments[s.Number]
	if seg == nil {
		sizes := make([]core.Size, s.Runs)
		for run := range sizes {
			sizes[run] = s.File(run).Size
		}
		seg = &segment{Segment: t.known.Segment(s.Number, sizes), file: s.File, store: s.Store, mine: s.Mine,
			chunks: map[int][]core.Chunk{}}
		t.segments[s.Number] = seg
		t.order = slices.Sorted(maps.Keys(t.segments))
	}
	t.add(seg, s.Locations, have)
	t.follow(seg, s.Locations)
	return seg
}

// add notes who keeps what of a segment, as far as that is new.
func (t *Transfer) add(seg *segment, locations []core.Span, have func(core.ID) core.Bitmap) {
	for _, span := range locations {
		if span.Node == t.all.Self {
			continue
		}
		q, known := t.peer(span.Node), have(span.Node)
		for run := span.Start; run < span.Start+span.Length; run++ {
			if q.Wants(seg.Segment, run) {
				continue
			}
			if known.Has(run) {
				q.Have(t.all.Flows.Now(), seg.Segment, run)
			}
			q.Want(seg.Segment, run)
		}
	}
}

// Give notes that a run of a segment is here and can be sent.
func (t *Transfer) Give(number, run int, chunks []core.Chunk) {
	t.give(t.segments[number], run, chunks)
}

// give notes that a run is here and can be sent on; its chunks are looked up where they are not told.
func (t *Transfer) give(s *segment, run int, chunks []core.Chunk) {
	if t.me.Has(s.Segment, run) {
		return
	}
	s.chunks[run] = chunks
	t.me.Own(s.Segment, run)
	if t.source == t.all.Self {
		t.part.Spread(s.Segment, run)
	}
}

// had notes that a target has a run.
func (t *Transfer) had(s *segment, q *spread.Peer, run int) {
	if q.Wants(s.Segment, run) && q.Have(t.all.Flows.Now(), s.Segment, run) {
		t.spare(s, run)
	}
}

// spare forgets the chunks of a run that nobody wants from here any more, once they can be looked up: somebody who
// joins may want it again.
func (t *Transfer) spare(s *segment, run int) {
	if s.mine != nil && s.mine.Durable(run) && !t.known.Lacked(s.Segment, run) {
		delete(s.chunks, run)
	}
}

// Narrow takes back of a segment what its locations no longer ask for.
func (t *Transfer) Narrow(number int, locations []core.Span) {
	s := t.segments[number]
	if s == nil {
		return
	}
	share := core.NewBitmap(s.Runs())
	for id, q := range t.peers {
		clear(share)
		for _, span := range locations {
			if span.Node == id {
				each([]core.Range{{Start: span.Start, Length: span.Length}}, s.Runs(), share.Set)
			}
		}
		for run := range s.Runs() {
			if q.Wants(s.Segment, run) && !share.Has(run) {
				q.Unwant(s.Segment, run)
			}
		}
	}
	t.follow(s, locations)
}

// Join adds to what the targets of a segment are to get what is new in locations. have is what a target said it has.
func (t *Transfer) Join(number int, locations []core.Span, have func(core.ID) core.Bitmap) {
	t.add(t.segments[number], locations, have)
	t.all.Wake()
}

// Keep has the rates and shares of trunks that a segment's message tells kept to.
func (t *Transfer) Keep(tables wire.StorageTask) { t.tables = tables }

// Left is what targets lack of segments.
func (t *Transfer) Left(segments []int) map[core.ID]core.Size {
	left := map[core.ID]core.Size{}
	for _, number := range segments {
		s := t.segments[number].Segment
		for id, q := range t.peers {
			if q.Partakes(s) {
				left[id] += q.Lacks(s)
			}
		}
	}
	return left
}

// Loose is which runs of a segment targets lack that are not on their way to them.
func (t *Transfer) Loose(number int) map[core.ID]core.Bitmap {
	loose := map[core.ID]core.Bitmap{}
	s := t.segments[number].Segment
	for id, q := range t.peers {
		if q.Partakes(s) {
			loose[id] = core.NewBitmap(s.Runs())
			q.Open(t.all.Flows.Now(), s, loose[id].Set)
		}
	}
	return loose
}

// Forget takes a node out: it keeps nothing of the task any more, or is given up.
func (t *Transfer) Forget(id core.ID) {
	if q := t.peers[id]; q != nil {
		q.Gone()
		delete(t.peers, id) // if it comes again, it is somebody else
	}
	if s := t.senders[id]; s != nil {
		s.end()
	}
}

// End closes every flow.
func (t *Transfer) End() {
	delete(t.all.open, t.task)
	t.all.engine.Remove(t.part)
	for _, s := range t.senders {
		s.end()
	}
}

// toSend is a run, ready to be sent; false where its chunks are not known now.
func (t *Transfer) toSend(s *segment, run int) (flow.Run, bool) {
	chunks := s.chunks[run]
	if chunks == nil && s.mine != nil {
		t.seek(s, run)
	}
	return flow.Run{Begin: wire.TransmissionBegin{Task: t.task, Segment: s.Number, Hash: s.file(run).Hash,
		Chunks: chunks}, Store: s.store}, chunks != nil
}

// seek has the chunks of a run looked up that was here before the transfer, or that nobody wanted for a while; then it
// may begin. Where they are not known the run is not here after all.
func (t *Transfer) seek(s *segment, run int) {
	if s.sought[run] {
		return
	}
	if s.sought == nil {
		s.sought = map[int]bool{}
	}
	s.sought[run] = true
	t.all.node.Chunks(s.file(run).Hash, func(chunks []core.Chunk) {
		delete(s.sought, run)
		if len(chunks) == 0 {
			t.me.Lose(s.Segment, run)
		} else {
			s.chunks[run] = chunks
		}
		for _, to := range t.senders {
			switch {
			case to.flow == nil || !to.Sends(s.Segment, run):
			case len(chunks) == 0:
				t.all.Flows.GiveUp(to.flow, number(s.Segment, run), core.ReasonUnknown)
			default:
				to.More(to.flow)
			}
		}
	})
}

// transferLife is how long a transfer is kept in which nothing happens.
const transferLife = 10 * time.Minute

// EndDone ends the transfers that are done, and those in which nothing happens any more.
func (ts *Transfers) EndDone() {
	for id, t := range ts.open {
		if !ts.node.Coordinates(id) && (ts.Flows.Now()-t.touched > transferLife ||
			t.known.Missing() == 0 && !t.Lacking()) {
			t.End()
		}
	}
}

// Lacking reports whether this node still lacks something of the task.
func (t *Transfer) Lacking() bool {
	for _, s := range t.segments {
		if s.mine != nil && !s.mine.Complete() {
			return true
		}
	}
	return false
}
