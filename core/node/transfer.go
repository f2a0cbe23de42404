// SPDX-License-Identifier: Apache-2.0

package node

import (
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/account"
	"github.com/bkp-tool/bkp/core/flow"
	"github.com/bkp-tool/bkp/core/keep"
	"github.com/bkp-tool/bkp/core/spread"
	"github.com/bkp-tool/bkp/core/wire"
)

// transfer is a task under way as one node sees it, its source or a target. What goes to whom core/spread decides; this
// tells it what is heard of others, and has the bytes.
type transfer struct {
	n        *state
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
	mine   *keep.Segment        // nil at the source
	news   []int                // runs that came since the neighbours were told
	sought map[int]bool         // runs whose chunks are being looked up
}

// uplink is the node's own as core/spread sees it.
type uplink struct{ book *account.Book }

func (u uplink) Uplink() (free, all core.Rate) {
	return u.book.Free(account.Up), bounded(u.book.Nominal(account.Up))
}

// bounded is a rate of which 0 is unlimited.
func bounded(r core.Rate) core.Rate {
	if r >= account.Unlimited {
		return 0
	}
	return r
}

// newEngine decides what a node sends.
func newEngine(book *account.Book) *spread.Engine {
	return spread.New(uplink{book}, rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())))
}

// wakeWaiting has whoever waits looked at after this event: bandwidth came free, a peer came up, or time passed.
func (n *state) wakeWaiting() {
	n.engine.Wake()
	for d := range n.downloads {
		d.due = true
	}
}

// transfer finds or makes the transfer of a task.
func (n *state) transfer(id core.TaskID, source core.ID, tables wire.StorageTask) *transfer {
	t := n.transfers[id]
	if t == nil {
		t = &transfer{n: n, task: id, source: source, known: &spread.Transfer{Once: true},
			peers: map[core.ID]*spread.Peer{}, zones: map[string]*spread.Zone{}, segments: map[int]*segment{},
			senders: map[core.ID]*sender{}}
		n.transfers[id] = t
		t.tables = tables
		t.me = t.peer(n.ID())
		t.part = n.engine.Add(t.known, t.me, t)
	}
	t.tables, t.touched = tables, n.now()
	return t
}

// peer finds or makes a node that takes part.
func (t *transfer) peer(id core.ID) *spread.Peer {
	q := t.peers[id]
	if q == nil {
		q = t.known.Join(t.n.now(), len(t.ids), t.zone(id), 0, 0)
		t.ids = append(t.ids, id)
		t.peers[id] = q
		if row := rowOf(t.tables.Bandwidth, t.n.ID(), id); row != nil && t.part != nil {
			t.part.First(q.Number, float64(row.Bytes))
		}
	}
	return q
}

// zone is the site of a node to which a trunk leads from here; nil where none does.
func (t *transfer) zone(id core.ID) *spread.Zone {
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

// zoneOf is a node's zone as its labels say.
func (n *state) zoneOf(id core.ID) string {
	if id == n.ID() {
		return n.Labels["zone"]
	}
	if p := n.peers[id]; p != nil {
		return p.labels["zone"]
	}
	return ""
}

// trunk is the one that lies between this node and another; nil where there is none.
func (t *transfer) trunk(to core.ID) *core.TrunkState {
	from, beyond := t.n.zoneOf(t.n.ID()), t.n.zoneOf(to)
	for i, trunk := range t.tables.Trunks {
		if trunk.From == from && trunk.To == beyond {
			return &t.tables.Trunks[i]
		}
	}
	return nil
}

// trunkShare is a target's share of a trunk, and its part of what other targets beyond it have that lack nothing any
// more. ok is false where it has none.
func (t *transfer) trunkShare(to core.ID, trunk *core.TrunkState) (rate core.Rate, ok bool) {
	row := rowOf(t.tables.TrunkShares, t.n.ID(), to)
	if row == nil {
		return 0, false
	}
	all, open := 0.0, 0.0
	for _, other := range t.tables.TrunkShares {
		if other.From != t.n.ID() || t.n.zoneOf(other.To) != trunk.To {
			continue
		}
		all += float64(other.Rate)
		if q := t.peers[other.To]; other.To == to || q != nil && q.Need() > 0 {
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
func (t *transfer) Way(to int) (way spread.Way, ok bool) {
	id := t.ids[to]
	p := t.n.peers[id]
	if p == nil || p.session == nil || p.capacity == 0 {
		return way, false
	}
	way = spread.Way{Free: t.n.book.Free(account.Out(id)), Rate: bounded(t.n.book.Nominal(account.Up, account.Out(id))),
		RoundTrip: max(instant, 2*p.session.Delay())}
	if trunk := t.trunk(id); trunk != nil {
		way.Trunk = trunk.Rate
		if way.Share, ok = t.trunkShare(id, trunk); !ok {
			return way, false
		}
	}
	return way, true
}

// join adds a segment, or what is new of one: who keeps what of it. have is what a target said it has.
func (t *transfer) join(number, runs int, s segment, locations []core.Span, have func(core.ID) core.Bitmap) *segment {
	seg := t.segments[number]
	if seg == nil {
		sizes := make([]core.Size, runs)
		for run := range sizes {
			sizes[run] = s.file(run).Size
		}
		s.Segment, s.chunks = t.known.Segment(number, sizes), map[int][]core.Chunk{}
		seg = &s
		t.segments[number] = seg
		t.order = slices.Sorted(maps.Keys(t.segments))
	}
	for _, span := range locations {
		if span.Node == t.n.ID() {
			continue
		}
		q, known := t.peer(span.Node), have(span.Node)
		for run := span.Start; run < span.Start+span.Length; run++ {
			if q.Wants(seg.Segment, run) {
				continue
			}
			if known.Has(run) {
				q.Have(t.n.now(), seg.Segment, run)
			}
			q.Want(seg.Segment, run)
		}
	}
	return seg
}

// give notes that a run is here and can be sent on.
func (t *transfer) give(s *segment, run int, chunks []core.Chunk) {
	if t.me.Has(s.Segment, run) {
		return
	}
	s.chunks[run] = chunks
	t.me.Own(s.Segment, run)
	if t.source == t.n.ID() {
		t.part.Spread(s.Segment, run)
	}
}

// had notes that a target has a run.
func (t *transfer) had(s *segment, q *spread.Peer, run int) {
	if q.Wants(s.Segment, run) && q.Have(t.n.now(), s.Segment, run) {
		t.spare(s, run)
	}
}

// spare forgets the chunks of a run that nobody wants from here any more, once they can be looked up: somebody who joins
// may want it again.
func (t *transfer) spare(s *segment, run int) {
	if s.mine != nil && s.mine.Durable(run) && !t.known.Lacked(s.Segment, run) {
		delete(s.chunks, run)
	}
}

// narrow takes back of a segment what its locations no longer ask for.
func (t *transfer) narrow(s *segment, locations []core.Span) {
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
}

// forget takes a node out: it keeps nothing of the task any more, or is given up.
func (t *transfer) forget(id core.ID) {
	if q := t.peers[id]; q != nil {
		q.Gone()
		delete(t.peers, id) // if it comes again, it is somebody else
	}
	if s := t.senders[id]; s != nil {
		s.end()
	}
}

// end closes every flow.
func (t *transfer) end() {
	delete(t.n.transfers, t.task)
	t.n.engine.Remove(t.part)
	for _, s := range t.senders {
		s.end()
	}
}

// segmentOf is a segment that this node accepted, as one of its transfer.
func (n *state) segmentOf(seg *keep.Segment) (*transfer, *segment) {
	t := n.transfer(seg.Task, seg.Source, seg.Tables())
	return t, t.join(seg.Number, seg.Runs(), segment{file: seg.File, store: n.Keeping, mine: seg}, seg.Locations,
		func(core.ID) core.Bitmap { return nil })
}

// take brings a segment that was accepted into its transfer.
func (n *state) take(seg *keep.Segment) *segment {
	t, s := n.segmentOf(seg)
	seg.Here(func(run int) { t.give(s, run, nil) })
	return s
}

// arrived lets a run that came be sent on, and the neighbours know.
func (n *state) arrived(seg *keep.Segment, run int, chunks []core.Chunk) {
	t, s := n.segmentOf(seg)
	t.give(s, run, chunks)
	s.news = append(s.news, run)
	t.tell()
}

// toSend is a run, ready to be sent; false where its chunks are not known now.
func (t *transfer) toSend(s *segment, run int) (flow.Run, bool) {
	chunks := s.chunks[run]
	if chunks == nil && s.mine != nil {
		t.seek(s, run)
	}
	return flow.Run{Begin: wire.TransmissionBegin{Task: t.task, Segment: s.Number, Hash: s.file(run).Hash,
		Chunks: chunks}, Store: s.store}, chunks != nil
}

// seek has the chunks of a run looked up that was here before the transfer, or that nobody wanted for a while; then it
// may begin.
func (t *transfer) seek(s *segment, run int) {
	if s.sought[run] {
		return
	}
	if s.sought == nil {
		s.sought = map[int]bool{}
	}
	s.sought[run] = true
	t.n.kept.Chunks(s.file(run).Hash, func(chunks []core.Chunk) {
		delete(s.sought, run)
		if len(chunks) == 0 {
			return
		}
		s.chunks[run] = chunks
		for _, to := range t.senders {
			if to.flow != nil && to.Sends(s.Segment, run) {
				to.More(to.flow)
			}
		}
	})
}

// transferLife is how long a transfer is kept in which nothing happens.
const transferLife = 10 * time.Minute

// endTransfers ends those that are done, and those in which nothing happens any more.
func (n *state) endTransfers() {
	for id, t := range n.transfers {
		if !n.coordinates(id) && (n.now()-t.touched > transferLife || t.known.Missing() == 0 && !t.lacking()) {
			t.end()
		}
	}
}

// lacking reports whether this node still lacks something of the task.
func (t *transfer) lacking() bool {
	for _, s := range t.segments {
		if s.mine != nil && !s.mine.Complete() {
			return true
		}
	}
	return false
}
