// SPDX-License-Identifier: Apache-2.0

// Package measure says what links carry, by what arrived over them.
package measure

import (
	"time"

	"github.com/bkp-tool/bkp/core"
)

// Links is what a node has seen its links carry, as their sender.
//
// A sample is taken of each second in which a flow always had more to send, from one word that a run arrived to the
// next, so neither its start nor a pause for want of runs counts. What it says depends on what held the flow back:
//
//   - it got its lease: the link carries at least that. Where the lease was all that the link had, it carries just
//     that;
//   - the receiver was at work with what came for over a quarter of the time, or this node with reading: at least that;
//   - runs went to other peers meanwhile, and none of those flows got its lease either: the uplink was slow, this link
//     carries at least that;
//   - else the link was what was slow, and carries what it did.
type Links struct {
	Up    Estimate // of the uplink
	links map[core.ID]*link
	sent  core.Size // payload that arrived, all links
	dirty bool
}

// link is one to a peer.
type link struct {
	Estimate
	sent core.Size     // payload that arrived there
	fine time.Duration // when a flow got its lease last; 0: never
}

const (
	// sampleTime is how much of a stretch makes a sample.
	sampleTime = time.Second
	// fellShort is the part of its lease that a flow must get not to have fallen short of it.
	fellShort = 0.95
	// atWork is the part of a sample's time in which somebody else than the link may have held it back.
	atWork = 0.25
	// fineTime is how long it counts that a flow got its lease.
	fineTime = 10 * time.Second
)

// New is the links of a node that has measured nothing.
func New() *Links { return &Links{links: map[core.ID]*link{}} }

// To is the estimate of the link to a peer.
func (l *Links) To(id core.ID) *Estimate { return &l.to(id).Estimate }

func (l *Links) to(id core.ID) *link {
	one := l.links[id]
	if one == nil {
		one = &link{}
		l.links[id] = one
	}
	return one
}

// Stretch is the time of a flow in which it always had more to send. The zero Stretch has not begun.
type Stretch struct {
	on    bool
	since time.Duration // the last run arrived
	sent  core.Size     // to the peer by then
	all   core.Size     // to all peers

	took          time.Duration // of stretches since the last sample, and what arrived in them
	own, peer, up core.Size     // of this flow, to this peer, to all
	lease         float64       // bytes that the lease allowed
	allowed       float64       // the same since the last run arrived, until
	until         time.Duration
	held          time.Duration // the receiver was at work
	read          time.Duration // this node read from its store
}

// Lapse counts what a lease of this rate allowed since it was counted last.
func (s *Stretch) Lapse(now time.Duration, lease core.Rate) {
	s.allowed += float64(lease) * (now - s.until).Seconds()
	s.until = now
}

// End ends a stretch: the flow has nothing more to send just now, or what arrives next was sent under another lease.
func (s *Stretch) End() { s.on = false }

// Arrival is a run that its receiver has.
type Arrival struct {
	Now   time.Duration // on the clock of Lapse
	At    int64         // the same in Unix seconds
	Size  core.Size
	Lease core.Rate     // of the flow
	Held  time.Duration // the receiver was at work with it
	Read  time.Duration // this node read from its store since the last one
	Whole bool          // the lease is all that the link has
}

// Arrived counts a run of a flow to a peer. It is how long the run took and how many bytes the lease allowed meanwhile;
// nothing where no stretch was under way.
func (l *Links) Arrived(s *Stretch, to core.ID, a Arrival) (took time.Duration, allowed float64) {
	one := l.to(to)
	one.sent += a.Size
	l.sent += a.Size
	s.Lapse(a.Now, a.Lease)
	if s.on {
		took, allowed = a.Now-s.since, s.allowed
		s.took += took
		s.own += a.Size
		s.peer += one.sent - s.sent
		s.up += l.sent - s.all
		s.lease += allowed
		s.held += a.Held
		s.read += a.Read
	}
	s.on, s.since, s.sent, s.all, s.allowed = true, a.Now, one.sent, l.sent, 0
	if s.took >= sampleTime {
		l.sample(s, one, a)
		*s = Stretch{on: true, since: a.Now, sent: one.sent, all: l.sent, until: a.Now}
	}
	return took, allowed
}

// sample makes a sample of the stretches of a flow.
func (l *Links) sample(s *Stretch, to *link, a Arrival) {
	rate := func(bytes core.Size) Sample {
		return Sample{At: a.At, Rate: core.Rate(core.WireOverhead * float64(bytes) / s.took.Seconds())}
	}
	short := core.WireOverhead*float64(s.own) < fellShort*s.lease
	elsewhere := s.held.Seconds() > atWork*s.took.Seconds() || s.read.Seconds() > atWork*s.took.Seconds()
	switch {
	case short && !elsewhere && s.up > s.peer+s.peer/8 && !l.othersFine(a.Now, to):
		l.Up.Carried(rate(s.up))
		to.AtLeast(rate(s.peer))
	case short && !elsewhere, !short && a.Whole:
		to.Carried(rate(s.peer))
		l.Up.AtLeast(rate(s.up))
	default:
		to.AtLeast(rate(s.peer))
		l.Up.AtLeast(rate(s.up))
	}
	l.dirty = true
	if !short {
		to.fine = a.Now
	}
}

// othersFine reports whether a flow to another peer got its lease lately.
func (l *Links) othersFine(now time.Duration, but *link) bool {
	for _, other := range l.links {
		if other != but && other.fine > 0 && now-other.fine < fineTime {
			return true
		}
	}
	return false
}
