// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/account"
	"github.com/bkp-tool/bkp/core/wire"
)

const (
	// wantOften and wantSeldom bound how long news for the neighbours in a task waits for more.
	wantOften  = 250 * time.Millisecond
	wantSeldom = 5 * time.Second
	// wantShare is the part of the uplink that hints may take.
	wantShare = 0.005
	// maxNeighbours is how many nodes are told.
	maxNeighbours = 16
)

// Tell has the neighbours told soon what is new: runs that came, or are on their way.
func (t *Transfer) Tell() {
	if t.told {
		return
	}
	t.told = true
	t.all.after(t.pace(), func(*Transfers) { t.speak() })
}

// pace is how long news waits, so that hints stay within their share of the uplink.
func (t *Transfer) pace() time.Duration {
	up := t.all.Book.Nominal(account.Up)
	if up >= account.Unlimited {
		return wantOften
	}
	bytes := 0
	for _, s := range t.segments {
		if len(s.news) > 0 {
			bytes += 250 + 30*len(s.news)
		}
	}
	seconds := float64(bytes*min(maxNeighbours, len(t.neighbours()))) / (wantShare * float64(up))
	return min(max(time.Duration(seconds*float64(time.Second)), wantOften), wantSeldom)
}

// neighbours are the connected nodes of the task that may send something to this one or wait for something from it.
func (t *Transfer) neighbours() (ids []core.ID) {
	seen := map[core.ID]bool{t.all.Self: true}
	add := func(id core.ID) {
		if _, capacity := t.all.node.Session(id); !seen[id] && capacity > 0 {
			ids = append(ids, id)
		}
		seen[id] = true
	}
	add(t.source)
	for _, s := range t.segments {
		for id, q := range t.peers {
			if q.Partakes(s.Segment) {
				add(id)
			}
		}
	}
	slices.SortFunc(ids, core.ID.Compare)
	if len(ids) > maxNeighbours {
		at := int(t.all.Self[0]) % len(ids) // each node tells others
		ids = slices.Concat(ids[at:], ids[:at])[:maxNeighbours]
	}
	return ids
}

// speak tells the neighbours what is new.
func (t *Transfer) speak() {
	t.told = false
	if t.all.open[t.task] != t {
		return
	}
	ids, need := t.neighbours(), t.lacked()
	for _, number := range t.order {
		s := t.segments[number]
		if s.mine == nil || len(s.news) == 0 && len(s.mine.Arriving()) == 0 {
			continue
		}
		m := t.word(s, need)
		m.Had = core.Ranges(s.news)
		s.news = nil
		for _, id := range ids {
			t.all.node.Send(id, m)
		}
	}
}

// word is the part of a hint that is always there.
func (t *Transfer) word(s *segment, need core.Size) wire.Want {
	m := wire.Want{Task: t.task, Segment: s.Number, Coming: s.mine.Arriving(), Need: need}
	if down := t.all.Book.Nominal(account.Down); down < account.Unlimited {
		m.Down = down
	}
	return m
}

// lacked is what this node lacks of the task.
func (t *Transfer) lacked() (bytes core.Size) {
	for _, s := range t.segments {
		if s.mine != nil {
			bytes += s.mine.Missing()
		}
	}
	return bytes
}

// greet tells a neighbour that came, or came back, all that it may have missed: what this node, a target, has and
// lacks. The source asks for the receipts that it waits for (place.Inbox.Came).
func (t *Transfer) greet(id core.ID) {
	if q := t.peers[id]; q != nil {
		q.Move(t.zone(id)) // its labels are known now
	}
	need := t.lacked()
	for _, number := range t.order {
		s := t.segments[number]
		if s.mine == nil {
			continue
		}
		t.all.node.Send(id, t.whole(s, need))
	}
}

// whole is the hint that says all that this node, a target, has and lacks of a segment.
func (t *Transfer) whole(s *segment, need core.Size) wire.Want {
	m := t.word(s, need)
	var have, lacks []int
	for run := range s.Runs() {
		switch {
		case s.mine.Has(run):
			have = append(have, run)
		case s.mine.Lacks(run):
			lacks = append(lacks, run)
		}
	}
	m.Had, m.Wanted = core.Ranges(have), core.Ranges(lacks)
	return m
}

// Forgot tells the neighbours in a segment that runs which they were told to be here are not any more.
func (ts *Transfers) Forgot(task core.TaskID, number int) {
	t := ts.open[task]
	if t == nil || t.segments[number] == nil || t.segments[number].mine == nil {
		return
	}
	m := t.whole(t.segments[number], t.lacked())
	for _, id := range t.neighbours() {
		ts.node.Send(id, m)
	}
}

// Hint takes a neighbour's word.
func (ts *Transfers) Hint(from core.ID, m wire.Want) {
	if t := ts.open[m.Task]; t == nil || t.segments[m.Segment] == nil {
		seg, kept := ts.node.Kept(m.Task, m.Segment, from)
		if !kept {
			return
		}
		ts.Take(seg)
	}
	t := ts.open[m.Task]
	s := t.segments[m.Segment]
	if from == t.source {
		if s.mine != nil {
			ts.node.ReceiptAgain(m.Task, m.Segment, m.Wanted)
			t.wantAgain(s, m.Wanted)
		}
		return
	}
	q := t.peers[from]
	if q == nil || !q.Partakes(s.Segment) {
		return // it keeps nothing of this segment
	}
	q.Hint(m.Need, m.Down)
	each(m.Had, s.Runs(), func(run int) { t.had(s, q, run) })
	each(m.Wanted, s.Runs(), func(run int) { q.Lose(s.Segment, run) })
	q.Coming(ts.Flows.Now(), s.Segment, m.Coming)
	ts.Wake()
}

// wantAgain tells the source which of the runs whose receipts it misses are not here, as after a barrier that failed.
func (t *Transfer) wantAgain(s *segment, asked []core.Range) {
	var lacks []int
	each(asked, s.Runs(), func(run int) {
		if s.mine.Lacks(run) {
			lacks = append(lacks, run)
		}
	})
	if len(lacks) > 0 {
		m := t.word(s, t.lacked())
		m.Wanted = core.Ranges(lacks)
		t.all.node.Send(t.source, m)
	}
}

// each calls f for every number of the ranges that is below end.
func each(ranges []core.Range, end int, f func(int)) {
	for _, r := range ranges {
		for run := r.Start; run < min(r.Start+r.Length, end); run++ {
			f(run)
		}
	}
}
