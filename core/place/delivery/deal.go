// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/placements"
	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/core/wire"
)

// reason is why copies are dealt anew.
type reason int

const (
	lostTarget reason = iota
	latePlacement
	joinedPeer
)

// mostDealt is how many segments of a late placement are dealt at a time: each is a message to every target of it.
const mostDealt = 4

// copyAt is one copy that a segment's locations ask for.
type copyAt struct {
	run        int
	node, from core.ID
}

func copiesOf(s *placements.Segment) (copies []copyAt) {
	for _, span := range s.Message.Locations {
		for run := span.Start; run < span.Start+span.Length; run++ {
			copies = append(copies, copyAt{run, span.Node, span.From})
		}
	}
	return copies
}

// dealt is a segment whose copies were dealt anew.
type dealt struct {
	*placements.Segment
	before   []copyAt
	after    []plan.Copy // of the same copies
	moved    int
	lost     bool // some of them were of targets that were given up
	unplaced int
}

// reassign finds new nodes for copies: of targets that were given up; where the placement is late, or somebody joined,
// also for those of the first segments that are not complete, as far as they are not on their way yet. Nothing moves
// where little would be gained; and what is on targets that stay, or on its way there, never does. The new targets are
// shown further licences of the same task and root, and so is every other target of the segment, so that all know whom
// to send to.
func (w *Watch) reassign(now time.Time, why reason, peers map[core.ID]Peer, p Progress) {
	asked := w.toDeal(why, peers)
	at, all, left := now.Sub(w.Began), w.left(p, w.Segments), w.left(p, asked)
	q := w.question(at, why, peers, all, left)
	before := plan.Last(left, q.Arrive)
	deals := w.deal(asked, &q, why, peers, p)
	deals = slices.DeleteFunc(deals, func(d dealt) bool { return d.moved == 0 })
	lost := slices.ContainsFunc(deals, func(d dealt) bool { return d.lost })
	after := plan.Last(q.Busy, q.Arrive)
	if len(deals) == 0 || !lost && !plan.Worth(before, after) {
		w.pace.Again(at, plan.Last(all, q.Arrive))
		return
	}
	for node := range all {
		all[node] += q.Busy[node] - left[node]
	}
	w.pace.Again(at, plan.Last(all, q.Arrive))
	w.room, w.Last, w.Dealt = q.Room, now, true
	for _, d := range deals {
		w.move(d)
		w.do(Action{Kind: Narrow, Segment: d.Number})
		w.do(Action{Kind: Say, Text: w.tellOf(d, why, before, after)})
		if d.unplaced > 0 {
			w.do(Action{Kind: Say, Text: fmt.Sprintf("segment %d: no node is left for %d runs", d.Number, d.unplaced)})
		}
		w.do(Action{Kind: Renew, Segment: d.Number})
	}
}

// toDeal is the segments of which copies may move.
func (w *Watch) toDeal(why reason, peers map[core.ID]Peer) (asked []*placements.Segment) {
	open := 0
	for _, s := range w.Segments {
		gone := slices.ContainsFunc(s.Targets, func(id core.ID) bool {
			return w.Failed[id] != "" && slices.ContainsFunc(s.Share(id),
				func(run int) bool { return !w.stays(s, id, run, peers) })
		})
		incomplete := why != lostTarget && open < mostDealt &&
			slices.ContainsFunc(s.Targets, func(id core.ID) bool { return !s.Complete(id) })
		if incomplete {
			open++
		}
		if gone || incomplete {
			asked = append(asked, s)
		}
	}
	return asked
}

// tellOf says what a deal moved, and why.
func (w *Watch) tellOf(d dealt, why reason, before, after float64) string {
	if d.lost {
		gone := slices.IndexFunc(d.before, func(c copyAt) bool { return w.Failed[c.node] != "" })
		return fmt.Sprintf("segment %d: %d runs of %s go to others", d.Number, d.moved, w.address(d.before[gone].node))
	}
	from := map[reason]string{latePlacement: "slower peers to others", joinedPeer: "others to who joined"}[why]
	return fmt.Sprintf("segment %d: %d runs go from %s: %.0f s more instead of %.0f s", d.Number, d.moved, from, after,
		before)
}

// question is what is asked for every segment: who may take over, and how fast. all is what the nodes lack, left what
// they lack of the segments that are asked about.
func (w *Watch) question(at time.Duration, why reason, peers map[core.ID]Peer, all, left []core.Size) plan.Repair {
	nodes := len(w.ground.Snapshot.Nodes)
	q := plan.Repair{Room: slices.Clone(w.free()), Busy: slices.Clone(left), Arrive: make([]core.Rate, nodes),
		May: make([]bool, nodes), Zone: make([]string, nodes), Even: why != lostTarget}
	if spread := w.ground.Scores.Spread; spread.Level != "" {
		q.PerZone = spread.Max
	}
	fastest, striped := core.Rate(0), w.Striped()
	if q.Even {
		q.Arrive = w.pace.Rates(at, all)
		fastest = slices.Max(q.Arrive)
	}
	for i, state := range w.ground.Snapshot.Nodes {
		peer, known := peers[state.ID]
		q.May[i] = i > 0 && w.Failed[state.ID] == "" && peer.Connected && !w.barred[i] && (peer.Stripes || !striped)
		if q.Even {
			q.May[i] = q.May[i] && !w.pastTrunk(i) && (why != joinedPeer || i >= w.joined)
		}
		q.Zone[i] = state.Zone
		if q.Arrive[i] > 0 {
			continue // as it was seen to
		}
		q.Arrive[i] = state.Down
		if known && (state.Down == 0 || peer.Capacity < state.Down) {
			q.Arrive[i] = peer.Capacity
		}
		if fastest > 0 && q.Arrive[i] > fastest {
			q.Arrive[i] = fastest // nobody saw it receive: others share the same uplinks
		}
	}
	return q
}

// pastTrunk reports whether a node is beyond a trunk that has no share for it: those are given out.
func (w *Watch) pastTrunk(node int) bool {
	_, crosses := w.ground.trunk(0, node)
	return crosses && !slices.ContainsFunc(w.Segments, func(s *placements.Segment) bool {
		return rowOf(s.Message.TrunkShares, w.Source, w.ground.Snapshot.Nodes[node].ID) >= 0
	})
}

// trunk is the one between two nodes of the snapshot, where there is one.
func (g Ground) trunk(a, b int) (core.TrunkState, bool) {
	from, to := g.Snapshot.Nodes[a].Zone, g.Snapshot.Nodes[b].Zone
	at := slices.IndexFunc(g.Snapshot.Trunks, func(t core.TrunkState) bool { return t.From == from && t.To == to })
	if at < 0 {
		return core.TrunkState{}, false
	}
	return g.Snapshot.Trunks[at], true
}

// rowOf is the place of the row for one direction in a table; −1 where there is none.
func rowOf(table []wire.BandwidthRow, from, to core.ID) int {
	return slices.IndexFunc(table, func(r wire.BandwidthRow) bool { return r.From == from && r.To == to })
}

// free is the room that each node has beside what it was asked to keep.
func (w *Watch) free() []core.Size {
	if w.room == nil {
		w.room = make([]core.Size, len(w.ground.Snapshot.Nodes))
		for i := range w.room {
			w.room[i] = w.roomAt(i, w.ground.Scores)
		}
		for _, row := range w.ground.Plan.Nodes {
			w.room[row.Node] -= row.Bytes - row.Held
		}
	}
	return w.room
}

// roomAt is what a node of the snapshot may be given, by its space and by the strategy.
func (w *Watch) roomAt(node int, scores core.Scores) core.Size {
	room := w.ground.Snapshot.Nodes[node].Free
	if row := node - 1; row >= 0 && row < len(scores.QuotaCap) { // candidates are all but the source, which is node 0
		room = min(room, scores.QuotaCap[row])
	}
	return room
}

// deal finds nodes for the copies of segments, and counts them in the question's rooms and loads: by flows where the
// network is as it was planned on, else one by one by how fast nodes receive.
func (w *Watch) deal(asked []*placements.Segment, q *plan.Repair, why reason, peers map[core.ID]Peer,
	p Progress) (deals []dealt) {
	for _, s := range asked {
		deals = append(deals, w.open(s, why, peers, p))
	}
	if why == latePlacement || !w.byFlows(deals, q) {
		for _, d := range deals {
			r := *q
			r.Sizes, r.Apart, r.Copies = d.sizes(), core.StripeOf(d.Stripes, len(d.Runs)), d.after
			d.count(q, -1)
			r.Room, r.Busy = slices.Clone(q.Room), slices.Clone(q.Busy)
			r.Replan()
			d.count(q, +1)
		}
	}
	for k := range deals {
		d := &deals[k]
		for i, c := range d.before {
			switch to := d.after[i].Node; {
			case to < 0:
				d.unplaced++
			case to != w.index[c.node]:
				d.moved, d.lost = d.moved+1, d.lost || w.Failed[c.node] != ""
			}
		}
	}
	return deals
}

// open is a segment with those of its copies that may move.
func (w *Watch) open(s *placements.Segment, why reason, peers map[core.ID]Peer, p Progress) dealt {
	d := dealt{Segment: s, before: copiesOf(s)}
	var loose map[core.ID]core.Bitmap
	if why != lostTarget {
		loose = p.Loose(d.Number)
	}
	for _, c := range d.before {
		asked := plan.Copy{Run: c.run, Node: w.index[c.node], Fixed: !loose[c.node].Has(c.run)}
		if w.Failed[c.node] != "" && !w.stays(s, c.node, c.run, peers) {
			asked.Node, asked.Fixed = -1, false
		}
		d.after = append(d.after, asked)
	}
	return d
}

func (d *dealt) sizes() (sizes []core.Size) {
	for _, run := range d.Runs {
		sizes = append(sizes, run.Size)
	}
	return sizes
}

// count adds the copies that may move to rooms and loads, or takes them out.
func (d *dealt) count(q *plan.Repair, by core.Size) {
	for _, c := range d.after {
		if !c.Fixed && c.Node >= 0 {
			q.Busy[c.Node] += by * d.Runs[c.Run].Size
			q.Room[c.Node] -= by * d.Runs[c.Run].Size
		}
	}
}

// byFlows deals all segments at once, over the network of the plan; false where that cannot be done.
func (w *Watch) byFlows(deals []dealt, q *plan.Repair) bool {
	if w.Striped() {
		return false
	}
	r := *q
	r.Sizes, r.Copies = nil, nil
	for _, d := range deals {
		for _, c := range d.after {
			c.Run += len(r.Sizes)
			r.Copies = append(r.Copies, c)
		}
		r.Sizes = append(r.Sizes, d.sizes()...)
		d.count(q, -1)
	}
	_, ok := r.Reroute(w.ground.Snapshot, func(_, node int) bool { return node == 0 }) // the source has all
	for _, d := range deals {
		for i := range d.after {
			if ok {
				d.after[i].Node = r.Copies[i].Node
			}
		}
		r.Copies = r.Copies[len(d.after):]
		d.count(q, +1)
	}
	return ok
}

// stays reports whether a target that was given up keeps a copy: it is there, and only wants no more.
func (w *Watch) stays(s *placements.Segment, id core.ID, run int, peers map[core.ID]Peer) bool {
	return w.NoMore[id] && s.Receipts[id].Has(run) && peers[id].Reachable
}

// move writes down who keeps what now: copies that found no node stay with those that were given up.
func (w *Watch) move(d dealt) {
	type pair struct{ node, from core.ID }
	runs := map[pair][]int{}
	var took []core.ID
	for k, c := range d.before {
		p := pair{c.node, c.from}
		if w.Failed[c.from] != "" && c.from != c.node {
			p.from = w.Source
		}
		if at := d.after[k].Node; at >= 0 && w.ground.Snapshot.Nodes[at].ID != c.node {
			p = pair{w.ground.Snapshot.Nodes[at].ID, w.Source}
			if !slices.Contains(took, p.node) {
				took = append(took, p.node)
			}
		}
		runs[p] = append(runs[p], c.run)
	}
	var locations []core.Span
	for p, numbers := range runs {
		for _, r := range core.Ranges(numbers) {
			locations = append(locations, core.Span{Node: p.node, From: p.from, Start: r.Start, Length: r.Length})
		}
	}
	slices.SortFunc(locations, func(a, b core.Span) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), a.Node.Compare(b.Node), a.From.Compare(b.From))
	})
	d.Message.Locations = locations
	d.Message.TrunkShares = w.sharesFor(took, d.Message.TrunkShares)
	for _, id := range took {
		d.Add(id)
	}
	d.Targets = slices.DeleteFunc(d.Targets, func(id core.ID) bool {
		return w.Failed[id] != "" && len(d.Share(id)) == 0
	})
}

// sharesFor adds to the shares of trunks what nodes need that take over: the share that a lost node beyond the same
// trunk had, or, where none had one, their part of what nobody has, at least as much as every node of the plan would get.
func (w *Watch) sharesFor(nodes []core.ID, rows []wire.BandwidthRow) []wire.BandwidthRow {
	rows = slices.Clone(rows)
	lacks := func(id core.ID) (trunk core.TrunkState, is bool) {
		trunk, is = w.ground.trunk(0, w.index[id])
		return trunk, is && rowOf(rows, w.Source, id) < 0
	}
	takers := map[string]core.Rate{} // by the zone that a trunk leads to
	for _, id := range nodes {
		if trunk, is := lacks(id); is {
			takers[trunk.To]++
		}
	}
	for _, id := range nodes {
		trunk, is := lacks(id)
		if !is {
			continue
		}
		row := wire.BandwidthRow{From: w.Source, To: id,
			Rate: max(1, trunk.Rate/core.Rate(len(w.ground.Snapshot.Nodes)), w.unshared(trunk, rows)/takers[trunk.To])}
		for _, lost := range core.Sorted(w.Failed) {
			at := rowOf(rows, w.Source, lost)
			if at >= 0 && w.ground.Snapshot.Nodes[w.index[lost]].Zone == trunk.To {
				row.Rate, row.Bytes = rows[at].Rate, rows[at].Bytes
				rows = slices.Delete(rows, at, at+1)
				break
			}
		}
		takers[trunk.To]--
		rows = append(rows, row)
	}
	return rows
}

// unshared is what of a trunk no row has.
func (w *Watch) unshared(trunk core.TrunkState, rows []wire.BandwidthRow) core.Rate {
	left := trunk.Rate
	for _, row := range rows {
		from, to := w.ground.Snapshot.Nodes[w.index[row.From]].Zone, w.ground.Snapshot.Nodes[w.index[row.To]].Zone
		if from == trunk.From && to == trunk.To {
			left -= row.Rate
		}
	}
	return max(0, left)
}
