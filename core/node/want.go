package node

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

// tell has the neighbours told soon what is new: runs that came, or are on their way.
func (s *swarm) tell() {
	if s.told {
		return
	}
	s.told = true
	s.n.after(s.pace(), do(s.speak))
}

// pace is how long news waits, so that hints stay within their share of the uplink.
func (s *swarm) pace() time.Duration {
	up := s.n.book.Nominal(accountUp)
	if up >= account.Unlimited {
		return wantOften
	}
	bytes := 0
	for _, p := range s.pieces {
		if len(p.news) > 0 {
			bytes += 250 + 30*len(p.news)
		}
	}
	seconds := float64(bytes*min(maxNeighbours, len(s.neighbours()))) / (wantShare * float64(up))
	return min(max(time.Duration(seconds*float64(time.Second)), wantOften), wantSeldom)
}

// neighbours are the connected nodes of the task that may send something to this one or wait for something from it.
func (s *swarm) neighbours() (ids []core.ID) {
	seen := map[core.ID]bool{s.n.ID(): true}
	add := func(id core.ID) {
		if p := s.n.peers[id]; !seen[id] && p != nil && p.session != nil && p.capacity > 0 {
			ids = append(ids, id)
		}
		seen[id] = true
	}
	add(s.source)
	for _, p := range s.pieces {
		for id := range p.views {
			add(id)
		}
	}
	slices.SortFunc(ids, core.ID.Compare)
	if len(ids) > maxNeighbours {
		at := int(s.n.ID()[0]) % len(ids) // each node tells others
		ids = slices.Concat(ids[at:], ids[:at])[:maxNeighbours]
	}
	return ids
}

// speak tells the neighbours what is new.
func (s *swarm) speak(*state) {
	s.told = false
	if s.n.swarms[s.task] != s {
		return
	}
	ids, need := s.neighbours(), s.lacked()
	for _, number := range s.order {
		p := s.pieces[number]
		if p.mine == nil || len(p.news) == 0 && len(p.mine.Arriving()) == 0 {
			continue
		}
		m := s.word(p, need)
		m.Had = core.Ranges(p.news)
		p.news = nil
		for _, id := range ids {
			s.n.send(id, m)
		}
	}
}

// word is the part of a hint that is always there.
func (s *swarm) word(p *piece, need core.Size) wire.Want {
	m := wire.Want{Task: s.task, Segment: p.number, Coming: p.mine.Arriving(), Need: need}
	if down := s.n.book.Nominal(accountDown); down < account.Unlimited {
		m.Down = down
	}
	return m
}

// lacked is what this node lacks of the task.
func (s *swarm) lacked() (bytes core.Size) {
	for _, p := range s.pieces {
		if p.mine != nil {
			bytes += p.mine.Missing()
		}
	}
	return bytes
}

// greet tells a neighbour that came, or came back, all that it may have missed: what this node, a target, has and lacks.
// The source asks for the receipts that it waits for (place.Inbox.Came).
func (s *swarm) greet(id core.ID) {
	need := s.lacked()
	for _, number := range s.order {
		p := s.pieces[number]
		if p.mine == nil {
			continue
		}
		m := s.word(p, need)
		var have, lacks []int
		for run := range p.runs {
			switch {
			case p.mine.Has(run):
				have = append(have, run)
			case p.mine.Lacks(run):
				lacks = append(lacks, run)
			}
		}
		m.Had, m.Wanted = core.Ranges(have), core.Ranges(lacks)
		s.n.send(id, m)
	}
}

// onWant takes a neighbour's hint.
func (n *state) onWant(from *peer, m wire.Want) {
	s := n.swarms[m.Task]
	if s == nil {
		seg := n.kept.Segment(m.Task, m.Segment)
		if seg == nil || !seg.Partakes(from.id) {
			return
		}
		n.take(seg)
		s = n.swarms[m.Task]
	}
	p := s.pieces[m.Segment]
	if seg := n.kept.Segment(m.Task, m.Segment); p == nil && seg != nil && seg.Partakes(from.id) {
		p = n.take(seg)
	}
	if p == nil {
		return
	}
	if from.id == s.source {
		if p.mine != nil {
			n.kept.ReceiptAgain(from.id, p.mine, m.Wanted)
			s.wantAgain(p, m.Wanted)
		}
		return
	}
	v := p.views[from.id]
	if v == nil {
		return // it keeps nothing of this segment
	}
	s.hints[from.id] = hint{need: m.Need, down: m.Down}
	each(m.Had, p.runs, func(run int) { s.had(p, from.id, run) })
	each(m.Wanted, p.runs, func(run int) {
		if v.share.Has(run) && !v.lacks.Has(run) {
			p.wants(v, run)
			p.uncount(run)
		}
	})
	clear(v.coming)
	each(m.Coming, p.runs, v.coming.Set)
	v.until = n.now() + comingLife
	n.wakeWaiting()
}

// wantAgain tells the source which of the runs whose receipts it misses are not here, as after a barrier that failed.
func (s *swarm) wantAgain(p *piece, asked []core.Range) {
	var lacks []int
	each(asked, p.runs, func(run int) {
		if p.mine.Lacks(run) {
			lacks = append(lacks, run)
		}
	})
	if len(lacks) > 0 {
		m := s.word(p, s.lacked())
		m.Wanted = core.Ranges(lacks)
		s.n.send(s.source, m)
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
