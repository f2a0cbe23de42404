package node

import (
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/core/task"
)

// use is what a flow made of its lease lately, while it always had more to send.
type use struct {
	took    time.Duration
	carried float64 // bytes on the wire
	allowed float64 // that the lease would have let through
}

const (
	// useTime is over how long a lease is looked at, and some round trips, in which TCP's window may have to grow first.
	useTime, useTrips = 400 * time.Millisecond, 5
	// grown is the part of a lowered lease that has to be used for the lane to have more again.
	grown = 0.9
	// wasted is the part of a lease that must be used, where others wait for the rest.
	wasted = 0.7
	// spare is how many times what it carried a lease keeps that is lowered: it may turn out to carry more.
	spare = 1.25
)

// yield lowers the lease of a lane that carries much less than it was given, whatever holds it back, where others could use the uplink:
// bandwidth that is leased and not used is nobody's. Loop only.
func (n *Node) yield(f *flow, took time.Duration, size core.Size) {
	u := &f.use
	u.took += took
	u.carried += core.WireOverhead * float64(size)
	u.allowed += f.stretch.allowed
	l, ok := sideOf[*lane](f)
	if !ok || u.took < useTime+useTrips*l.roundTrip() {
		return
	}
	used, r := u.carried/u.allowed, core.Rate(spare*u.carried/u.took.Seconds())
	*u = use{}
	switch {
	case used > grown:
		l.most = 0
	case used < wasted && r > 0 && r < f.Rate && l.trunk() == nil && l.wanted():
		l.most = r
		l.lower(r)
	}
}

// lower gives back what the lane's lease is above a rate, and lets others have it. Loop only.
func (l *lane) lower(r core.Rate) {
	n, f := l.n, l.flow
	n.must(n.book.Adjust(f.booked, r))
	f.row.Rate = r
	n.step(f, task.Event{Kind: task.Scaled, Rate: r})
	n.wakeWaiting()
}

// wanted reports whether others use what the lane has of the uplink, or could.
func (l *lane) wanted() bool {
	for _, s := range l.n.swarms {
		for _, other := range s.lanes {
			if other != l && other.holds() {
				return true
			}
		}
	}
	return l.waitedFor()
}

// waitedFor reports whether other lanes could use the uplink now.
func (l *lane) waitedFor() bool {
	for _, s := range l.n.swarms {
		if s.waits(l) {
			return true
		}
	}
	return false
}

// waits reports whether a lane other than this one could apply for a lease now.
func (s *swarm) waits(but *lane) bool {
	return slices.ContainsFunc(s.stages(), func(stage plan.Stage) bool {
		return slices.ContainsFunc(s.members(), func(id core.ID) bool {
			l := s.lane(id)
			if l == but || !l.waits() {
				return false
			}
			p, _ := s.offers(l, stage)
			return p != nil
		})
	})
}

// hungry reports whether the swarm uses the uplink or could.
func (s *swarm) hungry() bool {
	for _, l := range s.lanes {
		if l.holds() {
			return true
		}
	}
	return s.waits(nil)
}

// holds reports whether a lease stands on the lane, or is asked for.
func (l *lane) holds() bool { return l.flow != nil && l.flow.Holds() }
