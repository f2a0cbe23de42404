package node

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
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

// replan deals copies anew: those of targets that were given up and, where the placement runs late, those that are not
// on their way yet. That is done under further licences of the same task and root, which every target of a segment is
// shown, so that all know whom to send to. What is on targets that stay, or on its way there, never moves.
func (pl *placing) replan(ctx context.Context, why reason) error {
	n := pl.n
	var changed []*placedSegment
	n.ask(func() { changed = pl.reassign(why) })
	for _, s := range changed {
		envelope, err := pl.license(s)
		if err != nil {
			return err
		}
		if err := n.Ledger.Sync(); err != nil {
			return fmt.Errorf("enter licences in the ledger: %w", err)
		}
		n.ask(func() {
			s.message.License = envelope
			if swarm := n.swarms[pl.task]; swarm != nil {
				swarm.tables = s.message.Tables()
			}
			for _, target := range s.targets {
				n.send(target, s.message)
			}
		})
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// behind reports whether the placement has been about to end late for a while. A plan that was given is carried out as
// it is, and where nodes pass on what they do not keep nobody else can take their part. Loop only.
func (pl *placing) behind() bool {
	return pl.pace.Note(time.Since(pl.began), pl.left(pl.segments)) && pl.args.Plan == nil && !pl.far
}

// left is what each node of the snapshot lacks of segments, as far as is known here. Loop only.
func (pl *placing) left(segments []*placedSegment) []core.Size {
	left := make([]core.Size, len(pl.snapshot.Nodes))
	if swarm := pl.n.swarms[pl.task]; swarm != nil {
		for _, s := range segments {
			for id, v := range swarm.pieces[s.number].views {
				if at, ok := pl.index[id]; ok && pl.failed[id] == "" {
					left[at] += v.left
				}
			}
		}
	}
	return left
}

// dealt is a segment whose copies were dealt anew.
type dealt struct {
	*placedSegment
	before   []placedCopy
	after    []plan.Copy // of the same copies
	moved    int
	lost     bool // some of them were of targets that were given up
	homeless int
}

// mostDealt is how many segments of a late placement are dealt at a time: each is a message to every target of it.
const mostDealt = 4

// reassign finds new nodes for copies: of targets that were given up; where the placement is late, or somebody joined,
// also for those of the first segments that are not complete. It returns the segments of which some moved: none where
// little would be gained. Loop only.
func (pl *placing) reassign(why reason) (changed []*placedSegment) {
	var asked []*placedSegment
	open := 0
	for _, s := range pl.segments {
		gone := slices.ContainsFunc(s.targets, func(id core.ID) bool {
			return pl.failed[id] != "" && slices.ContainsFunc(s.share(id),
				func(run int) bool { return !pl.stays(s, id, run) })
		})
		incomplete := why != lostTarget && open < mostDealt &&
			slices.ContainsFunc(s.targets, func(id core.ID) bool { return !pl.complete(s, id) })
		if incomplete {
			open++
		}
		if gone || incomplete {
			asked = append(asked, s)
		}
	}
	at, all, left := time.Since(pl.began), pl.left(pl.segments), pl.left(asked)
	q := pl.question(why, all, left)
	before := plan.Last(left, q.Arrive)
	var deals []dealt
	lost := false
	for _, s := range asked {
		d := dealt{placedSegment: s, before: s.copies()}
		pl.deal(&d, &q, why)
		if d.moved > 0 {
			deals, lost = append(deals, d), lost || d.lost
		}
	}
	after := plan.Last(q.Busy, q.Arrive)
	if len(deals) == 0 || !lost && !plan.Worth(before, after) {
		pl.pace.Again(at, plan.Last(all, q.Arrive))
		return nil
	}
	for node := range all {
		all[node] += q.Busy[node] - left[node]
	}
	pl.pace.Again(at, plan.Last(all, q.Arrive))
	pl.room, pl.last = q.Room, time.Now()
	for _, d := range deals {
		d.move(pl, d.before, d.after)
		if swarm := pl.n.swarms[pl.task]; swarm != nil {
			swarm.narrow(swarm.pieces[d.number], d.message.Locations)
		}
		pl.notes = append(pl.notes, pl.tellOf(d, why, before, after))
		if d.homeless > 0 {
			pl.notes = append(pl.notes, fmt.Sprintf("segment %d: no node is left for %d runs", d.number, d.homeless))
		}
		changed = append(changed, d.placedSegment)
	}
	return changed
}

// tellOf says what a deal moved, and why. Loop only.
func (pl *placing) tellOf(d dealt, why reason, before, after float64) string {
	if d.lost {
		gone := slices.IndexFunc(d.before, func(c placedCopy) bool { return pl.failed[c.node] != "" })
		return fmt.Sprintf("segment %d: %d runs of %s go to others", d.number, d.moved,
			pl.n.addressOf(d.before[gone].node))
	}
	from := map[reason]string{latePlacement: "slower peers to others", joinedPeer: "others to who joined"}[why]
	return fmt.Sprintf("segment %d: %d runs go from %s: %.0f s more instead of %.0f s", d.number, d.moved, from, after,
		before)
}

// question is what is asked for every segment: who may take over, and how fast. all is what the nodes lack, left what
// they lack of the segments that are asked about. Loop only.
func (pl *placing) question(why reason, all, left []core.Size) plan.Repair {
	nodes := len(pl.snapshot.Nodes)
	q := plan.Repair{Room: slices.Clone(pl.free()), Busy: slices.Clone(left), Arrive: make([]core.Rate, nodes),
		May: make([]bool, nodes), Zone: make([]string, nodes), Even: why != lostTarget}
	if spread := pl.request.Scores.Spread; spread.Level != "" {
		q.PerZone = spread.Max
	}
	fastest := core.Rate(0)
	if q.Even {
		q.Arrive = pl.pace.Rates(time.Since(pl.began), all)
		fastest = slices.Max(q.Arrive)
	}
	for i, state := range pl.snapshot.Nodes {
		p := pl.n.peers[state.ID]
		q.May[i] = i > 0 && pl.failed[state.ID] == "" && p != nil && p.session != nil && p.capacity > 0 && !pl.barred[i]
		if q.Even {
			q.May[i] = q.May[i] && !pl.pastTrunk(i) && (why != joinedPeer || i >= pl.joined)
		}
		q.Zone[i] = state.Zone
		if q.Arrive[i] > 0 {
			continue // as it was seen to
		}
		q.Arrive[i] = state.Down
		if p != nil && (state.Down == 0 || p.capacity < state.Down) {
			q.Arrive[i] = p.capacity
		}
		if fastest > 0 && q.Arrive[i] > fastest {
			q.Arrive[i] = fastest // nobody saw it receive: others share the same uplinks
		}
	}
	return q
}

// pastTrunk reports whether a node is beyond a trunk that has no share for it: those are given out. Loop only.
func (pl *placing) pastTrunk(node int) bool {
	from, to := pl.snapshot.Nodes[0], pl.snapshot.Nodes[node]
	return slices.ContainsFunc(pl.snapshot.Trunks, func(t core.TrunkState) bool {
		return t.From == from.Zone &&
			t.To == to.Zone
	}) &&
		!slices.ContainsFunc(pl.segments, func(s *placedSegment) bool {
			return rowOf(s.message.TrunkShares, from.ID,
				to.ID) != nil
		})
}

// free is the room that each node has beside what it was asked to keep. Loop only.
func (pl *placing) free() []core.Size {
	if pl.room == nil {
		pl.room = make([]core.Size, len(pl.snapshot.Nodes))
		for i := range pl.snapshot.Nodes {
			pl.room[i] = pl.roomAt(i, pl.request.Scores)
		}
		for _, row := range pl.plan.Nodes {
			pl.room[row.Node] -= row.Bytes - row.Held
		}
	}
	return pl.room
}

// roomAt is what a node of the snapshot may be given, by its space and by the strategy.
func (pl *placing) roomAt(node int, scores core.Scores) core.Size {
	room := pl.snapshot.Nodes[node].Free
	if row := node - 1; row >= 0 && row < len(scores.QuotaCap) { // candidates are all but the source, which is node 0
		room = min(room, scores.QuotaCap[row])
	}
	return room
}

// deal finds nodes for one segment's copies, and counts them in the question's rooms and loads. Loop only.
func (pl *placing) deal(d *dealt, q *plan.Repair, why reason) {
	r := *q
	r.Sizes, r.Copies = nil, nil
	for _, run := range d.runs {
		r.Sizes = append(r.Sizes, run.Size)
	}
	for _, c := range d.before {
		asked := plan.Copy{Run: c.run, Node: pl.index[c.node], Fixed: why == lostTarget || !pl.loose(d.number, c)}
		if pl.failed[c.node] != "" && !pl.stays(d.placedSegment, c.node, c.run) {
			asked.Node, asked.Fixed = -1, false
		}
		r.Copies = append(r.Copies, asked)
	}
	count := func(by core.Size) {
		for _, c := range r.Copies {
			if !c.Fixed && c.Node >= 0 {
				q.Busy[c.Node] += by * r.Sizes[c.Run]
				q.Room[c.Node] -= by * r.Sizes[c.Run]
			}
		}
	}
	count(-1)
	r.Room, r.Busy = slices.Clone(q.Room), slices.Clone(q.Busy)
	d.moved, d.homeless = r.Replan()
	count(+1)
	d.after = r.Copies
	for k, c := range d.before {
		d.lost = d.lost || pl.failed[c.node] != "" && d.after[k].Node >= 0 && d.after[k].Node != pl.index[c.node]
	}
}

// stays reports whether a target that was given up keeps a copy: it is there, and only wants no more. Loop only.
func (pl *placing) stays(s *placedSegment, id core.ID, run int) bool {
	return pl.noMore[id] && s.receipts[id].Has(run) && pl.n.peers[id].reachable()
}

// loose reports whether a copy may still go elsewhere: its target lacks it, and nobody is known to be sending it. Loop
// only.
func (pl *placing) loose(segment int, c placedCopy) bool {
	swarm := pl.n.swarms[pl.task]
	v, l := swarm.pieces[segment].views[c.node], swarm.lanes[c.node]
	return v != nil && v.lacks.Has(c.run) && !(v.coming.Has(c.run) && swarm.n.now() <= v.until) &&
		(l == nil || !l.sends(segment, c.run))
}

// placedCopy is one copy that a segment's locations ask for.
type placedCopy struct {
	run        int
	node, from core.ID
}

func (s *placedSegment) copies() (copies []placedCopy) {
	for _, span := range s.message.Locations {
		for run := span.Start; run < span.Start+span.Length; run++ {
			copies = append(copies, placedCopy{run, span.Node, span.From})
		}
	}
	return copies
}

// move writes down who keeps what now: copies that found no node stay with those that were given up. Loop only.
func (s *placedSegment) move(pl *placing, before []placedCopy, after []plan.Copy) {
	type pair struct{ node, from core.ID }
	runs := map[pair][]int{}
	var took []core.ID
	for k, c := range before {
		p := pair{c.node, c.from}
		if at := after[k].Node; at >= 0 && pl.snapshot.Nodes[at].ID != c.node {
			p = pair{pl.snapshot.Nodes[at].ID, pl.n.ID()}
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
	s.message.Locations = locations
	s.message.TrunkShares = pl.sharesFor(took, s.message.TrunkShares)
	for _, id := range took {
		if !slices.Contains(s.targets, id) {
			s.targets = append(s.targets, id)
			s.receipts[id] = core.NewBitmap(len(s.runs))
		}
	}
	s.targets = slices.DeleteFunc(s.targets, func(id core.ID) bool {
		return pl.failed[id] != "" &&
			len(s.share(id)) == 0
	})
}

// sharesFor adds to the shares of trunks what nodes need that take over: the share that a lost node beyond the same
// trunk had, or, where none had one, as much as every node of the plan would get. Loop only.
func (pl *placing) sharesFor(nodes []core.ID, rows []wire.BandwidthRow) []wire.BandwidthRow {
	from := pl.n.ID()
	rows = slices.Clone(rows)
	for _, id := range nodes {
		zone := pl.snapshot.Nodes[pl.index[id]].Zone
		at := slices.IndexFunc(pl.snapshot.Trunks, func(t core.TrunkState) bool { return t.From == pl.snapshot.Nodes[0].Zone && t.To == zone })
		if at < 0 || rowOf(rows, from, id) != nil {
			continue
		}
		row := wire.BandwidthRow{From: from, To: id, Rate: max(1,
			pl.snapshot.Trunks[at].Rate/core.Rate(len(pl.snapshot.Nodes)))}
		for lost := range pl.failed {
			if old := rowOf(rows, from, lost); old != nil && pl.snapshot.Nodes[pl.index[lost]].Zone == zone {
				row.Rate, row.Bytes = old.Rate, old.Bytes
				rows = slices.DeleteFunc(rows, func(r wire.BandwidthRow) bool { return r.From == from && r.To == lost })
				break
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// dismiss has those whose copies others keep now let go of the task; who cannot be told does so when its licence has
// run out.
func (pl *placing) dismiss(ctx context.Context) {
	n := pl.n
	var gone []core.ID
	n.ask(func() {
		for id := range pl.index {
			agreed := slices.ContainsFunc(pl.segments, func(s *placedSegment) bool { return s.answers[id] != nil })
			keeps := slices.ContainsFunc(pl.segments, func(s *placedSegment) bool {
				return slices.Contains(s.targets, id) && (len(s.share(id)) > 0 || !s.receipts[id].Empty())
			})
			if agreed && !keeps && n.peers[id].reachable() {
				gone = append(gone, id)
			}
		}
	})
	n.each(len(gone), func(i int) {
		if _, err := n.release(ctx, gone[i], pl.task, pl.version.Ref.Alias, pl.version.Ref.Version); err != nil {
			n.Log.Warn("dismiss", "peer", gone[i].Short(), "error", err)
		}
	})
}

// late takes the answer of a target that was shown a segment while the data moves. Loop only.
func (pl *placing) late(s *placedSegment, from core.ID, answer wire.Message) {
	switch m := answer.(type) {
	case wire.TaskAgree:
		swarm := pl.n.swarms[pl.task]
		if swarm == nil {
			return
		}
		stay := slices.DeleteFunc(slices.Clone(s.message.Locations),
			func(span core.Span) bool { return pl.failed[span.Node] != "" })
		swarm.join(&piece{number: s.number}, stay, func(target core.ID) core.Bitmap {
			if target == from {
				return m.Have
			}
			return nil
		})
		pl.n.wakeWaiting()
	case wire.TaskRefuse:
		pl.noMore[from] = true
		pl.giveUp(from, m.Reason)
	}
}
