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
	// wasted is the part of a lease that must be used, where others wait for the rest.
	wasted = 0.7
	// spare is how many times what it carried a lease keeps that is lowered: it may turn out to carry more.
	spare = 1.25
)

// yield lowers the lease of a lane that carries much less than it was given, whatever holds it back, where others wait for the uplink:
// bandwidth that is leased and not used is nobody's. Loop only.
func (n *Node) yield(f *flow, took time.Duration, size core.Size) {
	u := &f.use
	u.took += took
	u.carried += core.WireOverhead * float64(size)
	u.allowed += float64(f.Agreed()) * took.Seconds()
	l, ok := sideOf[*lane](f)
	if !ok || u.took < useTime+useTrips*l.roundTrip() {
		return
	}
	r := core.Rate(spare * u.carried / u.took.Seconds())
	idle := u.carried < wasted*u.allowed && r < f.Rate
	if *u = (use{}); !idle || r == 0 || l.trunk() != nil || !l.waitedFor() {
		return
	}
	n.must(n.book.Adjust(f.booked, r))
	f.row.Rate = r
	n.step(f, task.Event{Kind: task.Scaled, Rate: r})
	n.wakeWaiting()
}

// waitedFor reports whether other lanes of the swarm could use the uplink now.
func (l *lane) waitedFor() bool {
	return slices.ContainsFunc(l.swarm.stages(), func(stage plan.Stage) bool { return l.swarm.rivals(l, stage, (*lane).waits) })
}
