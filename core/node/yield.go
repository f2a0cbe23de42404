package node

import (
	"time"

	"github.com/bkp-tool/bkp/core"
)

// use is what a flow made of its lease lately, while it always had more to send.
type use struct {
	runs    int // that arrived
	took    time.Duration
	carried float64 // bytes on the wire
	allowed float64 // that the lease would have let through
}

const (
	// useTime is over how long a lease is looked at, at least, and some round trips, in which TCP's window may have to
	// grow first; and useRuns over how many runs, since they come one by one.
	useTime, useTrips, useRuns = 400 * time.Millisecond, 5, 5
	// grown is the part of a lowered lease that has to be used for the lane to have more again.
	grown = 0.9
	// wasted is the part of a lease that must be used, where others wait for the rest.
	wasted = 0.7
	// spare is how many times what it carried a lease keeps that is lowered: it may turn out to carry more.
	spare = 1.25
)

// yield lowers the lease of a lane that carries much less than it was given, whatever holds it back, where others could
// use the uplink: bandwidth that is leased and not used is nobody's.
func (n *state) yield(f *flow, took time.Duration, size core.Size) {
	u := &f.use
	u.runs++
	u.took += took
	u.carried += core.WireOverhead * float64(size)
	u.allowed += f.stretch.allowed
	l, ok := sideOf[*lane](f)
	if !ok || u.runs < useRuns || u.took < useTime+useTrips*l.roundTrip() {
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
