// SPDX-License-Identifier: Apache-2.0

package spread

import (
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
)

// Progress is what one node has, lacks and is being sent of a segment. Every change goes through mark, which keeps all
// that is counted: nothing is ever counted anew.
type Progress struct {
	peer *Peer
	seg  *Segment

	want   set // what it is to keep
	has    set
	lost   int           // how often a run that it had was gone
	owns   set           // of that, what it had when the task began
	coming set           // on its way to it from here; in a simulation, from anybody
	said   set           // on its way to it from others, as it says itself
	until  time.Duration // when that is no longer believed; 0 where nothing was said
	open   set           // wanted, neither there nor on its way
	left   int           // how many these are
	owed   set           // by the plan, others give it; nil where that says nothing
	from   []int32       // by run: who gives it by the plan, 1 and up, else 0; nil where that says nothing or is not asked
	pass   *passing
}

// sayingLife is how long word is believed of runs that are on their way to somebody.
const sayingLife = 5 * time.Second

// state is what is known of one run at one node.
type state struct{ want, has, due bool }

func (s state) held() bool  { return s.has || s.due }
func (s state) lacks() bool { return s.want && !s.has }
func (s state) open() bool  { return s.lacks() && !s.due }

// change is 1 where something became true, −1 where it became false, else 0.
func change(was, is bool) int {
	switch {
	case is == was:
		return 0
	case is:
		return 1
	}
	return -1
}

// of finds or makes a node's progress in a segment.
func (q *Peer) of(s *Segment) *Progress {
	for len(q.parts) <= s.index {
		q.parts = append(q.parts, nil)
	}
	p := q.parts[s.index]
	if p == nil {
		n := s.Runs()
		p = &Progress{peer: q, seg: s, want: newSet(n), has: newSet(n), owns: newSet(n), coming: newSet(n),
			said: newSet(n), open: newSet(n)}
		q.parts[s.index] = p
	}
	return p
}

// in is a node's progress in a segment; nil where it has none.
func (q *Peer) in(s *Segment) *Progress {
	if s.index < len(q.parts) {
		return q.parts[s.index]
	}
	return nil
}

func (p *Progress) state(run int) state {
	return state{p.want.has(run), p.has.has(run), p.coming.has(run) || p.said.has(run)}
}

// mark puts a run into one of the sets or takes it out, and counts.
func (p *Progress) mark(s set, run int, on bool) {
	if s.has(run) == on {
		return
	}
	was := p.state(run)
	if on {
		s.add(run)
	} else {
		s.drop(run)
	}
	is, q := p.state(run), p.peer
	p.seg.copies[run] += int32(change(was.held(), is.held()))
	if q.zone != nil {
		q.zone.count(p.seg, run, was, is)
	}
	if is.has && !was.has || is.open() && !was.open() || q.relay != nil && was.due && !is.due {
		q.gained++
	}
	if is.has && p.from != nil {
		p.cameFrom(run)
	}
	if was.has && !is.has {
		p.lost++
	}
	if by := change(was.lacks(), is.lacks()); by != 0 {
		q.need += core.Size(by) * p.seg.sizes[run]
		q.t.missing += by
	}
	if by := change(was.open(), is.open()); by != 0 {
		p.left += by
		q.left += by
		if by > 0 {
			p.open.add(run)
		} else {
			p.open.drop(run)
		}
		q.list()
	}
	if q.t.relays != nil {
		q.t.relays.touch(p.seg, run)
	}
}

// Own says that a node has had a run from the beginning.
func (q *Peer) Own(s *Segment, run int) {
	p := q.of(s)
	p.owns.add(run)
	p.mark(p.has, run, true)
}

// Want says that a node is to keep a run, Unwant that it is not, or not any more.
func (q *Peer) Want(s *Segment, run int) { p := q.of(s); p.mark(p.want, run, true) }

// Unwant takes a wish back.
func (q *Peer) Unwant(s *Segment, run int) { p := q.of(s); p.mark(p.want, run, false) }

// Have says that a run came to a node; false where it was there already.
func (q *Peer) Have(now time.Duration, s *Segment, run int) bool {
	p := q.of(s)
	if p.has.has(run) {
		return false
	}
	p.mark(p.has, run, true)
	p.mark(p.coming, run, false)
	p.mark(p.said, run, false)
	q.began, q.fed = true, now
	if p.pass != nil && !p.want.has(run) {
		q.relay.carry -= float64(s.sizes[run])
	}
	if q.t.relays != nil {
		q.t.relays.relieve(q, s, run)
	}
	return true
}

// Lose says that a node does not have a run that it was thought to have.
func (q *Peer) Lose(s *Segment, run int) {
	p := q.of(s)
	p.mark(p.has, run, false)
}

// Partakes reports whether a node is to keep something of a segment.
func (q *Peer) Partakes(s *Segment) bool { p := q.in(s); return p != nil && !p.want.empty() }

// Lacks is the size of what a node lacks of a segment.
func (q *Peer) Lacks(s *Segment) (bytes core.Size) {
	if p := q.in(s); p != nil {
		p.want.all(func(run int) {
			if !p.has.has(run) {
				bytes += s.sizes[run]
			}
		})
	}
	return bytes
}

// Open calls f with every run that a node lacks and that is not on its way to it.
func (q *Peer) Open(now time.Duration, s *Segment, f func(run int)) {
	q.t.doubt(now)
	if p := q.in(s); p != nil {
		p.open.all(f)
	}
}

// Lacked reports whether anybody lacks a run.
func (t *Transfer) Lacked(s *Segment, run int) bool {
	return slices.ContainsFunc(t.peers, func(q *Peer) bool { return q.Wants(s, run) && !q.Has(s, run) })
}

// Coming takes a node's word of all runs that are on their way to it.
func (q *Peer) Coming(now time.Duration, s *Segment, runs []core.Range) {
	p := q.of(s)
	p.silence()
	for _, r := range runs {
		for run := r.Start; run < min(r.Start+r.Length, s.Runs()); run++ {
			p.say(now, run)
		}
	}
}

// say notes that others send the node a run.
func (p *Progress) say(now time.Duration, run int) {
	p.mark(p.said, run, true)
	if p.until == 0 {
		p.peer.t.told = append(p.peer.t.told, p)
	}
	p.until = now + sayingLife
}

// silence forgets what the node said of runs on their way.
func (p *Progress) silence() {
	p.said.all(func(run int) { p.mark(p.said, run, false) })
}

// Has, Wants and Expects report what is known of a run at a node: there, to be kept there, on its way there. Owns is
// whether it was there from the beginning.
func (q *Peer) Has(s *Segment, run int) bool { p := q.in(s); return p != nil && p.has.has(run) }

// Owns reports whether a run was at a node from the beginning.
func (q *Peer) Owns(s *Segment, run int) bool { p := q.in(s); return p != nil && p.owns.has(run) }

// Wants reports whether a node is to keep a run.
func (q *Peer) Wants(s *Segment, run int) bool { p := q.in(s); return p != nil && p.want.has(run) }

// Expects reports whether a run is on its way to a node.
func (q *Peer) Expects(s *Segment, run int) bool {
	p := q.in(s)
	return p != nil && p.state(run).due
}
