package node

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/core/wire"
)

// replan gives the copies of targets that were given up to others: under a further licence of the same task and root, which
// every target of the segment is shown, so that all know whom to send to. What is on targets that stay, or on its way there, never moves.
func (pl *placing) replan(ctx context.Context) error {
	n := pl.n
	for number := range pl.segments {
		s, changed := pl.segments[number], false
		n.ask(func() { changed = pl.reassign(s) })
		if !changed {
			continue
		}
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
				swarm.tables = tables(s.message)
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

// reassign finds new nodes for a segment's copies on targets that were given up; false where none moved. Loop only.
func (pl *placing) reassign(s *placedSegment) bool {
	var gone []core.ID
	for _, target := range s.targets {
		if pl.failed[target] != "" && len(s.share(target)) > 0 {
			gone = append(gone, target)
		}
	}
	if len(gone) == 0 {
		return false
	}
	r := pl.repair(s)
	moved, homeless := r.Replan()
	if moved == 0 {
		return false
	}
	s.move(pl, r.Copies)
	pl.last = time.Now()
	for _, c := range r.Copies {
		if !c.Fixed && c.Node >= 0 {
			pl.room[c.Node] -= s.runs[c.Run].Size
		}
	}
	pl.notes = append(pl.notes, fmt.Sprintf("segment %d: %d runs of %s go to others", s.number, moved, pl.n.addressOf(gone[0])))
	if homeless > 0 {
		pl.notes = append(pl.notes, fmt.Sprintf("segment %d: no node is left for %d runs", s.number, homeless))
	}
	return true
}

// repair is the question of who takes over. Loop only.
func (pl *placing) repair(s *placedSegment) plan.Repair {
	nodes := len(pl.snapshot.Nodes)
	if pl.room == nil {
		pl.room = make([]core.Size, nodes)
		for i, state := range pl.snapshot.Nodes {
			pl.room[i] = state.Free
		}
		for _, row := range pl.plan.Nodes {
			pl.room[row.Node] -= row.Bytes - row.Held
		}
	}
	r := plan.Repair{Room: slices.Clone(pl.room), Arrive: make([]core.Rate, nodes), May: make([]bool, nodes), Zone: make([]string, nodes)}
	if spread := pl.request.Scores.Spread; spread.Level != "" {
		r.PerZone = spread.Max
	}
	for i, state := range pl.snapshot.Nodes {
		p := pl.n.peers[state.ID]
		r.May[i] = i > 0 && pl.failed[state.ID] == "" && p != nil && p.session != nil && p.capacity > 0 &&
			!slices.ContainsFunc(pl.plan.Refused, func(x plan.Refusal) bool { return x.Node == i && x.Barred })
		r.Zone[i], r.Arrive[i] = state.Zone, state.Down
		if p != nil && (state.Down == 0 || p.capacity < state.Down) {
			r.Arrive[i] = p.capacity
		}
	}
	for _, run := range s.runs {
		r.Sizes = append(r.Sizes, run.Size)
	}
	for _, target := range s.targets {
		node, fixed := pl.index[target], true
		if pl.failed[target] != "" {
			node, fixed = -1, false
		}
		for _, run := range s.share(target) {
			r.Copies = append(r.Copies, plan.Copy{Run: run, Node: node, Fixed: fixed})
		}
	}
	return r
}

// move writes down who keeps what now: copies that found no node stay with those that were given up. Loop only.
func (s *placedSegment) move(pl *placing, copies []plan.Copy) {
	taken, left := map[core.ID][]int{}, []int{}
	for _, c := range copies {
		switch {
		case c.Fixed:
		case c.Node < 0:
			left = append(left, c.Run)
		default:
			id := pl.snapshot.Nodes[c.Node].ID
			taken[id] = append(taken[id], c.Run)
		}
	}
	var locations []core.Span
	for _, span := range s.message.Locations {
		if pl.failed[span.Node] == "" {
			locations = append(locations, span)
			continue
		}
		for run := span.Start; run < span.Start+span.Length; run++ {
			if at := slices.Index(left, run); at >= 0 {
				left = slices.Delete(left, at, at+1)
				locations = append(locations, core.Span{Node: span.Node, From: span.From, Start: run, Length: 1})
			}
		}
	}
	for id, runs := range taken {
		for _, r := range core.Ranges(runs) {
			locations = append(locations, core.Span{Node: id, From: pl.n.ID(), Start: r.Start, Length: r.Length})
		}
		if !slices.Contains(s.targets, id) {
			s.targets = append(s.targets, id)
			s.receipts[id] = core.NewBitmap(len(s.runs))
		}
	}
	s.message.Locations = locations
	s.message.TrunkShares = pl.sharesFor(slices.Collect(maps.Keys(taken)), s.message.TrunkShares)
	s.targets = slices.DeleteFunc(s.targets, func(id core.ID) bool { return pl.failed[id] != "" && len(s.share(id)) == 0 })
}

// sharesFor adds to the shares of trunks what nodes need that take over: the share that a lost node beyond the same trunk had,
// or, where none had one, as much as every node of the plan would get. Loop only.
func (pl *placing) sharesFor(nodes []core.ID, rows []wire.BandwidthRow) []wire.BandwidthRow {
	from := pl.n.ID()
	rows = slices.Clone(rows)
	for _, id := range nodes {
		zone := pl.snapshot.Nodes[pl.index[id]].Zone
		at := slices.IndexFunc(pl.snapshot.Trunks, func(t core.TrunkState) bool { return t.From == pl.snapshot.Nodes[0].Zone && t.To == zone })
		if at < 0 || rowOf(rows, from, id) != nil {
			continue
		}
		row := wire.BandwidthRow{From: from, To: id, Rate: max(1, pl.snapshot.Trunks[at].Rate/core.Rate(len(pl.snapshot.Nodes)))}
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

// dismiss has those that were given up, and whose copies others keep now, let go of the task; who cannot be told does so when
// its licence has run out.
func (pl *placing) dismiss(ctx context.Context) {
	n := pl.n
	var gone []core.ID
	n.ask(func() {
		for id := range pl.failed {
			keeps := slices.ContainsFunc(pl.segments, func(s *placedSegment) bool { return slices.Contains(s.targets, id) })
			if !keeps && n.peers[id].reachable() {
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
		stay := slices.DeleteFunc(slices.Clone(s.message.Locations), func(span core.Span) bool { return pl.failed[span.Node] != "" })
		swarm.join(&piece{number: s.number}, stay, func(target core.ID) core.Bitmap {
			if target == from {
				return m.Have
			}
			return nil
		})
		pl.n.wakeWaiting()
	case wire.TaskRefuse:
		pl.giveUp(from, m.Reason)
	}
}
