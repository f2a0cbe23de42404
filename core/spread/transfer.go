// SPDX-License-Identifier: Apache-2.0

package spread

import (
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
)

// Transfer is what is known of a task under way: its runs, and what of them each node has, lacks and is being sent. A
// real node has its own, made of what it is told; the nodes of a simulation share one. Nodes are called by numbers,
// from 0 up, which the driver gives them.
type Transfer struct {
	// Once says that several nodes of a zone want the same runs: one copy of each crosses the trunk, and the others are
	// made there.
	Once bool

	// Traced says that it is kept in mind who gives which run to nodes that other drivers have, too: see Peer.Awaits.
	Traced bool

	segments []*Segment
	peers    []*Peer       // by number; nil where nothing is known of one
	open     []*Peer       // that lack something which is not on its way to them, or pass runs on; in no order
	told     []*Progress   // of which word is believed of runs on their way
	missing  int           // runs that are wanted and not there
	guided   bool          // the plan says what nodes give each other
	routed   bool          // every run has its way
	followed time.Duration // since when
	takes    float64       // seconds that the plan's flows take; 0 where nobody said so
	relays   *Relays       // nil where nobody passes on what it does not keep
}

// Segment is some runs of a task, numbered from 0 up.
type Segment struct {
	Number int

	index  int // in its transfer
	sizes  []core.Size
	copies []int32   // by run: there or on the way, as far as is known
	ways   []uint64  // by run: the same where they are to go the same ways; nil where nobody said so
	ranks  []float64 // see rank
}

// Zone is a site to which a trunk leads.
type Zone struct {
	need core.Size // of what some member wants, and none has
	runs [][]zoneRun
	held []set // by segment: a member has it, or is being sent it
}

// zoneRun counts members.
type zoneRun struct{ want, has, held int16 }

// Segment finds or makes a segment; its runs have these sizes.
func (t *Transfer) Segment(number int, sizes []core.Size) *Segment {
	for _, s := range t.segments {
		if s.Number == number {
			return s
		}
	}
	s := &Segment{Number: number, index: len(t.segments), sizes: sizes, copies: make([]int32, len(sizes))}
	t.segments = append(t.segments, s)
	return s
}

// Runs is how many runs the segment has.
func (s *Segment) Runs() int { return len(s.sizes) }

// Join makes a node known. zone is nil where no trunk leads to it; up and down are its sides, 0 where unlimited or not
// known.
func (t *Transfer) Join(now time.Duration, number int, zone *Zone, up, down core.Rate) *Peer {
	for len(t.peers) <= number {
		t.peers = append(t.peers, nil)
	}
	if t.peers[number] == nil {
		t.peers[number] = &Peer{Number: number, t: t, zone: zone, Up: up, Down: down, at: -1, fed: now}
	}
	return t.peers[number]
}

// doubt forgets word of runs on their way that is too old.
func (t *Transfer) doubt(now time.Duration) {
	t.told = slices.DeleteFunc(t.told, func(p *Progress) bool {
		old := p.until < now
		if old {
			p.silence()
			p.until = 0
		}
		return old
	})
}

// Peer is the node of a number.
func (t *Transfer) Peer(number int) *Peer { return t.peers[number] }

// Missing is how many runs are wanted and not there, over all nodes.
func (t *Transfer) Missing() int { return t.missing }

// Peer is a node that takes part in a task, as whoever looks at it knows it.
type Peer struct {
	Number   int
	Up, Down core.Rate // its sides; 0 is unlimited, or not known

	t       *Transfer
	part    *Part // the node's own; nil where another drives it
	zone    *Zone
	parts   []*Progress // by the segment's index; nil where it has nothing to do with one
	need    core.Size   // that it lacks
	said    core.Size   // the same, in its own words
	hinted  bool        // it said so
	left    int         // runs that it lacks and that are not on their way
	gained  uint64      // counts runs that came to it, or that it came to lack, or to take as a relay, with none on its way
	began   bool        // it has something of the task
	fed     time.Duration
	owed    float64   // bytes that the plan has others give it
	inbound []inbound // by who gives them; empty where the plan says nothing, or nobody asks
	needed  core.Size // what it lacked when that was said
	entered float64   // bytes that were sent to it across trunks
	at      int       // its place in Transfer.open; −1
	gone    bool
	relay   *relaying // nil where it passes nothing on
}

// Need is what the node lacks, as it said, or as is known of it.
func (q *Peer) Need() core.Size {
	if q.hinted {
		return q.said
	}
	return q.need
}

// Hint takes a node's word of what it lacks of the whole task, and of its downlink (0: no limit).
func (q *Peer) Hint(need core.Size, down core.Rate) { q.said, q.hinted, q.Down = need, true, down }

// Move puts a node into another zone, when more is known of it.
func (q *Peer) Move(zone *Zone) {
	from := q.zone
	if from == zone {
		return
	}
	q.zone = zone
	for _, p := range q.parts {
		for run := 0; p != nil && run < p.seg.Runs(); run++ {
			is := p.state(run)
			if from != nil {
				from.count(p.seg, run, is, state{})
			}
			if zone != nil {
				zone.count(p.seg, run, state{}, is)
			}
		}
	}
}

// Gone takes a node out: nothing is wanted there any more, and what it had is nowhere.
func (q *Peer) Gone() {
	for _, p := range q.parts {
		if p == nil {
			continue
		}
		for _, s := range []set{p.want, p.has, p.coming, p.said} {
			s.all(func(run int) { p.mark(s, run, false) })
		}
	}
	q.gone, q.hinted = true, false
	q.list()
}

// list puts the node into the transfer's list of those that may take something, or takes it out.
func (q *Peer) list() {
	in := !q.gone && (q.left > 0 || q.relay != nil)
	t := q.t
	switch {
	case in && q.at < 0:
		q.at = len(t.open)
		t.open = append(t.open, q)
	case !in && q.at >= 0:
		last := len(t.open) - 1
		t.open[q.at] = t.open[last]
		t.open[q.at].at = q.at
		t.open = slices.Delete(t.open, last, last+1)
		q.at = -1
	}
}

// count keeps what is known of a run within the zone.
func (z *Zone) count(s *Segment, run int, was, is state) {
	for len(z.runs) <= s.index {
		z.runs, z.held = append(z.runs, nil), append(z.held, nil)
	}
	if z.runs[s.index] == nil {
		z.runs[s.index], z.held[s.index] = make([]zoneRun, s.Runs()), newSet(s.Runs())
	}
	r := &z.runs[s.index][run]
	before := r.want > 0 && r.has == 0
	r.want += int16(change(was.want, is.want))
	r.has += int16(change(was.has, is.has))
	if r.held += int16(change(was.held(), is.held())); r.held > 0 {
		z.held[s.index].add(run)
	} else {
		z.held[s.index].drop(run)
	}
	z.need += core.Size(change(before, r.want > 0 && r.has == 0)) * s.sizes[run]
}
