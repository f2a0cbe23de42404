// SPDX-License-Identifier: Apache-2.0

package spread

import (
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/core/task"
)

// fair gives every receiver its part of the uplink, beside those that are served and those that wait. Where asking
// costs nothing, each run is asked for by itself at whatever rate is free: that is soonest through.
func (p *Part) fair(now time.Duration, stage plan.Stage, held *Sender, able []candidate, open []plan.Receiver) {
	for i, c := range able {
		if c.way.RoundTrip > 0 {
			others := slices.Delete(slices.Clone(open), i, i+1)
			open[i].Fair = p.fairOf(now, stage, held, c, open[i], others)
			able[i].fair = open[i].Fair
		}
	}
}

// fairOf is a target's part of the uplink; 0 where that has no limit.
func (p *Part) fairOf(now time.Duration, stage plan.Stage, held *Sender, c candidate, own plan.Receiver,
	waiting []plan.Receiver) core.Rate {
	_, up := p.e.net.Uplink()
	switch {
	case up == 0:
		return 0
	case c.way.Trunk > 0 && c.way.Share == 0: // nobody else may use what crosses it
		return plan.Least(up/2, own.Nominal)
	}
	var served []plan.Receiver
	for _, s := range p.holding() {
		if s == held || s == c.s {
			continue
		}
		if other, ok := p.again(s); ok {
			served = append(served, p.receiver(other))
		}
	}
	return plan.Fair(stage, p.uplink(now), own, served, waiting)
}

// due is the lease that a target should have now; 0 is as much as it can take. Its share of a trunk nobody else may
// use.
func (p *Part) due(now time.Duration, c candidate) core.Rate {
	if _, up := p.e.net.Uplink(); c.way.Share > 0 && c.way.RoundTrip > 0 {
		if p.wanted(now, c.s) {
			return plan.Least(c.way.Share, up/2)
		}
		return c.way.Share
	}
	if c.help && c.way.RoundTrip > 0 {
		return plan.Least(c.fair, p.spare(now, c.to))
	}
	return plan.Least(c.fair, p.turn(c))
}

const (
	// leastShare is the part of an uplink, a downlink or a trunk with which a target may always be served: where little
	// is planned, a run would be on its way for ever.
	leastShare = 0.1
	// mostShares is how many times its planned share a target can take at best, for all that the node knows: where
	// others are to fill most of its downlink, little is worth having.
	mostShares = 4.5
)

// turn is how fast a target may be served that is ahead of others to which the plan has the node give something, or to
// which the node gave more than others did: no faster than the plan has it, or they could not use a moment later what
// it takes. 0 is no limit.
func (p *Part) turn(c candidate) (rate core.Rate) {
	planned, gave, to := at(p.planned, c.to.Number), at(p.gave, c.to.Number), c.to
	if !p.t.routed || planned == 0 {
		return 0
	}
	up, down, trunk := p.shares(c)
	all, sum := 0.0, 0.0
	for i, bytes := range p.planned {
		if i == c.to.Number || p.carries(i) == 0 {
			all += bytes
			sum += min(bytes, at(p.gave, i))
		}
	}
	if gave*all >= sum*planned {
		rate = up
	}
	if to.needed > 0 && gave/planned > 1-float64(to.Need())/float64(to.needed) {
		rate = plan.Least(rate, down, trunk)
	}
	return rate
}

// carries is what the lease of a target was lowered to that carries no more; 0 where it was not.
func (p *Part) carries(to int) core.Rate {
	if s := p.Sender(to); s.holds() {
		return s.most
	}
	return 0
}

// shares is the parts of this node's uplink, of a target's downlink and of the trunk between them that the plan has it
// use; 0 where those have no limit, or nothing is planned.
func (p *Part) shares(c candidate) (up, down, trunk core.Rate) {
	planned, all := at(p.planned, c.to.Number), 0.0
	if !p.t.routed || planned == 0 {
		return 0, 0, 0
	}
	_, whole := p.e.net.Uplink()
	for i, bytes := range p.planned {
		if most := p.carries(i); i == c.to.Number || most == 0 {
			all += bytes
		} else {
			whole = max(1, whole-most)
		}
	}
	share := func(rate core.Rate, all float64) core.Rate {
		if all <= 0 {
			return 0
		}
		return core.Rate(float64(rate) * max(leastShare, planned/all))
	}
	if _, up := p.e.net.Uplink(); up == 0 {
		whole = 0
	}
	return share(whole, all), share(c.to.Down, c.to.owed), share(c.way.Trunk, c.way.Planned)
}

// uplink is the part of the uplink that is the transfer's: an even one, or what the others leave.
func (p *Part) uplink(now time.Duration) core.Rate {
	left, up := p.e.net.Uplink()
	rivals, waiting := 0, false
	for _, other := range p.e.parts {
		if other == p {
			continue
		}
		waits := other.waits(now, nil)
		if waiting = waiting || waits; waits || len(other.holding()) > 0 {
			rivals++
		}
	}
	switch part := up / core.Rate(1+rivals); {
	case rivals == 0:
		return up
	case waiting:
		return part
	default:
		for _, s := range p.holding() {
			left += s.Flow.Rate
		}
		return max(part, left)
	}
}

// waits reports whether somebody but one could be asked to take something now.
func (p *Part) waits(now time.Duration, but *Sender) (found bool) {
	for _, stage := range p.stages() {
		p.each(now, stage, but, func(candidate) bool { found = true; return true })
	}
	return found
}

// waitedFor reports whether others than one could use the uplink now.
func (e *Engine) waitedFor(now time.Duration, s *Sender) bool {
	return slices.ContainsFunc(e.parts, func(p *Part) bool { return p.waits(now, s) })
}

// wanted reports whether others than one use the uplink, or could, and it has a limit.
func (p *Part) wanted(now time.Duration, s *Sender) bool {
	if _, up := p.e.net.Uplink(); up == 0 {
		return false
	}
	for _, other := range p.e.parts {
		if slices.ContainsFunc(other.holding(), func(o *Sender) bool { return o != s }) {
			return true
		}
	}
	return p.e.waitedFor(now, s)
}

// renew asks for more under the lease that stands, if the target is still the one to be served, and for as much of the
// uplink as it should have now: less where others wait for it.
func (s *Sender) renew(now time.Duration) (Action, bool) {
	p, f := s.part, s.Flow
	lowered := s.lowered
	if s.lowered = false; f == nil || f.State != task.Leased || now < s.after {
		return Action{}, false
	}
	for _, stage := range p.stages() {
		able, i := p.choose(now, stage, s)
		if i < 0 {
			continue
		}
		own := able[len(able)-1]
		if own.s != s || able[i].s != s && !s.stays(now, stage, own, able[i]) {
			return Action{}, false
		}
		if own.help && p.reserved(now, own) {
			return Action{}, false
		}
		s.taste = false
		rate, turn := p.due(now, own), p.turn(own)
		if rate > 0 && !lowered && float64(f.Rate) > plan.TooMuch*float64(rate) &&
			(own.way.Share > 0 || turn > 0 && rate <= turn || p.e.waitedFor(now, s)) {
			s.lowered = true
			p.e.low = append(p.e.low, s)
			return Action{Kind: Lower, Sender: s, Rate: rate}, true
		}
		rate = max(f.Rate, plan.Least(rate, f.Rate+p.free(own), own.way.Rate))
		seg, runs := s.batch(now, stage, own, f.Rate)
		if s.raising = false; len(runs) == 0 {
			return Action{}, false
		}
		return Action{Kind: Ask, Sender: s, Segment: seg, Runs: runs, Rate: rate}, true
	}
	return Action{}, false
}

// free is what could be added to a target's lease now.
func (p *Part) free(c candidate) core.Rate {
	free, _ := p.e.net.Uplink()
	return min(free, c.way.Free, unlimited)
}

// stays reports whether a target keeps its lease though another would be chosen now. One with a share of a trunk does,
// since nobody else may use that, and such a one is never kept waiting. One that was served because it had nothing does
// not: what a source sends first should go to who can do most with it.
func (s *Sender) stays(now time.Duration, stage plan.Stage, own, next candidate) bool {
	if own.way.Share > 0 || next.way.Share > 0 {
		return own.way.Share > 0
	}
	p := s.part
	return !s.taste && plan.Keeps(stage, p.receiver(own), p.receiver(next), now-s.leased, own.way.RoundTrip)
}

const (
	// worthAsking is how many times its lease a target has to be able to get before that alone is asked for.
	worthAsking = 1.25
	// raiseEvery is how often it may be, and fullFor where the target had no more to give the last time.
	raiseEvery = 200 * time.Millisecond
	fullFor    = 2 * time.Second
)

// raise asks for more of the uplink for what is on its way, where others have left it and nobody waits for it.
func (s *Sender) raise(now time.Duration) (Action, bool) {
	p, f := s.part, s.Flow
	own, ok := p.again(s)
	if f == nil || f.State != task.Leased || s.taste || !ok || own.way.Trunk > 0 && own.way.Share == 0 ||
		s.full && (own.way.RoundTrip == 0 || now < max(s.raised, s.leased)+fullFor) ||
		now < s.raised+raiseEvery+own.way.RoundTrip {
		return Action{}, false
	}
	least, rate := core.Rate(worthAsking*float64(f.Rate)), f.Rate+p.free(own)
	if rate < least {
		return Action{}, false // before much is looked at
	}
	if p.e.waitedFor(now, s) {
		return Action{}, false
	}
	stage := p.stages()[0]
	if s.full = false; own.way.RoundTrip > 0 {
		own.fair = p.fairOf(now, stage, s, own, p.receiver(own), nil)
	}
	if rate = plan.Least(rate, own.fair, own.way.Rate, p.due(now, own)); rate < least {
		return Action{}, false
	}
	s.raised, s.raising = now, true
	return Action{Kind: Raise, Sender: s, Rate: rate}, true
}

// further asks for more for what is on its way to a target with which the node is further behind the plan than with the
// one to be served next: else that one would be given whatever comes free between two runs of the other, again and
// again. Where asking costs a round trip, leases last, and each target has its fair part.
func (p *Part) further(now time.Duration, stage plan.Stage, next candidate) (Action, bool) {
	if !p.t.guided || next.way.RoundTrip > 0 {
		return Action{}, false
	}
	other := p.receiver(next)
	for _, s := range p.holding() {
		own, ok := p.again(s)
		if !ok || s.Flow.State != task.Leased || s.full || !p.able(own) || !p.receiver(own).Behind(other) {
			continue
		}
		rate := plan.Least(s.Flow.Rate+p.free(own), own.way.Rate)
		if float64(rate) < worthAsking*float64(s.Flow.Rate) {
			continue
		}
		s.raising = true
		return Action{Kind: Raise, Sender: s, Rate: rate}, true
	}
	return Action{}, false
}

// use is what a lease carried lately, while there was always more to send.
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
	// grown is the part of a lowered lease that has to be used for the target to have more again.
	grown = 0.9
	// wasted is the part of a lease that must be used, where others wait for the rest.
	wasted = 0.7
	// spare is how many times what it carried a lease keeps that is lowered: it may turn out to carry more.
	spare = 1.25
)

// Used says how long a run of some size took, and what the lease would have let through in that time. A lease that
// carries much less than it is, whatever holds it back, is reclaimed where others could use the uplink: bandwidth that
// is leased and not used is nobody's.
func (s *Sender) Used(now, took time.Duration, size core.Size, allowed float64) {
	u := &s.use
	u.runs++
	u.took += took
	u.carried += core.WireOverhead * float64(size)
	u.allowed += allowed
	own, ok := s.part.again(s)
	if !ok || !s.holds() || u.runs < useRuns || u.took < useTime+useTrips*own.way.RoundTrip {
		return
	}
	used, r := u.carried/u.allowed, core.Rate(spare*u.carried/u.took.Seconds())
	s.use = use{}
	switch {
	case used > grown:
		s.most = 0
	case used < wasted && r > 0 && r < s.Flow.Rate && own.way.Trunk == 0 && s.part.wanted(now, s):
		s.most = r
		s.part.e.pending = append(s.part.e.pending, Action{Kind: Lower, Sender: s, Rate: r})
	}
}
