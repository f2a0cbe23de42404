// SPDX-License-Identifier: Apache-2.0

package spread

import (
	"math/bits"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/account"
	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/core/task"
)

// maxLooked is at how many targets a node looks for plan.MaxReceivers that can take something: the more the fewer can.
const maxLooked = 16 * plan.MaxReceivers

// candidate is a target that may be sent something.
type candidate struct {
	to   *Peer
	s    *Sender // nil where nothing was sent there yet
	way  Way
	fair core.Rate // its part of the uplink; 0 is as much as it can take
	help bool      // what there is for it, the plan has others give it
}

// empty reports whether a target has nothing of the task, nor is being sent anything from here.
func (c candidate) empty() bool { return !c.to.began && (c.s == nil || len(c.s.sending) == 0) }

// offer is what a node could send to a target of one segment: from and wish without all of but.
type offer struct {
	seg        *Segment
	from, wish set
	pass       *passing // what the target would pass on; nil where it would not
	target     *Progress
	but        [3]set
	route      *route // only what is due is offered; nil where all is
}

// word is 64 runs of an offer.
func (o *offer) word(k int) uint64 {
	w := o.wish[k]
	if o.pass != nil {
		w |= o.pass.takes[k] &^ (o.target.has[k] | o.target.coming[k] | o.target.said[k])
	}
	w &= o.from[k]
	if o.route != nil {
		w &= o.route.runs[k]
	}
	for _, s := range o.but {
		if s != nil {
			w &^= s[k]
		}
	}
	return w
}

// next is the first run at or after one, around the end; −1 where there is none.
func (o *offer) next(run int) int {
	start := run / 64
	if w := o.word(start) >> (run % 64); w != 0 {
		return run + bits.TrailingZeros64(w)
	}
	for k, left := start+1, len(o.from); left > 0; k, left = k+1, left-1 {
		if k >= len(o.from) {
			k = 0
		}
		if w := o.word(k); w != 0 {
			return k*64 + bits.TrailingZeros64(w)
		}
	}
	return -1
}

// barren is how much a node and a target had gained when the node had nothing that the target lacks: until one of them
// gains more, that stays so.
type barren struct{ node, target uint64 }

// barren reports whether nothing changed since there was nothing for a target.
func (p *Part) barren(to *Peer) bool {
	return at(p.nothing, to.Number) == barren{p.me.gained, to.gained} && p.me.gained > 0
}

// offers is what the node could send a target now: of the first segment that has something.
func (p *Part) offers(now time.Duration, stage plan.Stage, c candidate) (o offer, some bool) {
	to := c.to
	if to.left == 0 && to.relay == nil || p.barren(to) {
		return o, false
	}
	all := true
	for i, target := range to.parts {
		if d := p.routeTo(to, p.t.segments[i]); d != nil && target != nil && p.me.in(target.seg) != nil {
			o = offer{seg: target.seg, from: p.me.in(target.seg).has, wish: target.open, target: target, route: d,
				pass: target.pass}
			if o.next(0) >= 0 {
				return o, true
			}
		}
	}
	if p.t.routed && c.way.Trunk > 0 {
		return o, false // what crosses a trunk has been planned: others need it
	}
	for i, target := range to.parts {
		mine := p.me.in(p.t.segments[i])
		if target == nil || mine == nil || target.left == 0 && target.pass == nil {
			continue
		}
		o = offer{seg: target.seg, from: mine.has, wish: target.open, target: target}
		if target.pass != nil && p.t.relays.room(to) && p.passes(to) {
			o.pass = target.pass
		}
		if stage == plan.Spreading {
			if i >= len(p.sent) || p.sent[i] == nil {
				all = false
				continue
			}
			o.but[0] = p.sent[i]
		}
		if z := to.zone; p.once(now, c) && i < len(z.held) {
			o.but[1] = z.held[i]
		}
		if p.quota != nil && now < p.quota.Until {
			o.but[2] = p.quota.spent
		}
		if o.next(0) >= 0 {
			return o, true
		}
		all = all && o.but[0] == nil && o.but[1] == nil && o.but[2] == nil
		if o.but[1] = nil; at(p.gave, to.Number) < at(p.planned, to.Number) && o.next(0) >= 0 {
			return o, true // the plan has more cross the trunk than each run once
		}
	}
	if all {
		p.nothing = put(p.nothing, to.Number, barren{p.me.gained, to.gained})
	}
	return o, false
}

// passes reports whether a relay should get more from here to pass on: not much more than the plan says.
func (p *Part) passes(to *Peer) bool {
	r := p.t.relays
	return !r.Routed || r.loose || at(p.gave, to.Number) < r.over*at(p.planned, to.Number)+float64(p.t.meanRun())
}

// once reports whether a run may cross the trunk to a target only while nobody beyond it has it or is being sent it:
// while they lack something that none of them has.
func (p *Part) once(now time.Duration, c candidate) bool {
	z := c.to.zone
	return p.t.Once && c.way.Trunk > 0 && z != nil && z.need > 0 && !p.stranded(now, c)
}

// stranded reports whether nobody beyond the trunk passes on to a target what came across it: then all of it has to
// cross.
func (p *Part) stranded(now time.Duration, c candidate) bool {
	rate := plan.Least(c.way.Share, c.way.Trunk)
	return c.way.Share > 0 && (now-c.to.fed).Seconds() > sayingLife.Seconds()+4*rate.Seconds(p.t.meanRun())
}

// meanRun is the size of a run, about.
func (t *Transfer) meanRun() core.Size { return t.segments[0].sizes[0] }

// each looks at targets that could be sent something by the rule of a stage, beginning at a random one, until f has
// enough. One sender is left out.
func (p *Part) each(now time.Duration, stage plan.Stage, but *Sender, f func(candidate) (enough bool)) {
	p.t.doubt(now)
	if p.t.relays != nil {
		p.t.relays.refresh()
	}
	n := len(p.t.open)
	if n == 0 {
		return
	}
	start := p.e.random.IntN(n)
	if first := p.e.first; first != nil && first.t == p.t && first.at >= 0 {
		start = first.at
	}
	for i := range min(n, maxLooked) {
		q := p.t.open[(start+i)%n]
		if p.barren(q) {
			continue // before its way is looked at
		}
		c, ok := p.candidate(now, q)
		if !ok || c.s != nil && c.s == but || !p.able(c) {
			continue
		}
		o, some := p.offers(now, stage, c)
		c.help = p.t.routed && o.route == nil
		if some && !(c.help && p.reserved(now, c)) && f(c) {
			return
		}
	}
}

// reserved reports whether the node keeps its uplink for what the plan has it send. Where leases last no longer than a
// run there is no need to.
func (p *Part) reserved(now time.Duration, c candidate) bool {
	_, up := p.e.net.Uplink()
	return c.way.RoundTrip > 0 && up > 0 && float64(p.spare(now, nil)) < leastHelp*float64(up)
}

// Could reports whether the node could send a target something now.
func (p *Part) Could(now time.Duration, to *Peer) bool {
	if plan.Spent(p.e.net.Uplink()) {
		return false
	}
	c, ok := p.candidate(now, to)
	if ok && p.able(c) {
		_, ok = p.offers(now, plan.Filling, c)
		return ok
	}
	return false
}

// candidate is a target as one that could be asked to take something.
func (p *Part) candidate(now time.Duration, to *Peer) (c candidate, ok bool) {
	if c = (candidate{to: to, s: p.Sender(to.Number)}); to == p.me || !c.s.rests(now) {
		return c, false
	}
	c.way, ok = p.ways.Way(to.Number)
	return c, ok
}

// choose is who should be served next of the able: −1 if it is better to wait. held is a sender whose lease stands
// and could be renewed: what it holds is free for it. Where there is something for it, its target is the last of the
// able.
func (p *Part) choose(now time.Duration, stage plan.Stage, held *Sender) (able []candidate, next int) {
	free, up := p.e.net.Uplink()
	if held != nil && up > 0 {
		free += held.Flow.Rate
	}
	if plan.Spent(free, up) {
		return nil, -1 // before much is looked at
	}
	var open []plan.Receiver
	p.each(now, stage, held, func(c candidate) bool {
		able, open = append(able, c), append(open, p.receiver(c))
		return len(able) == plan.MaxReceivers
	})
	if c, ok := p.again(held); ok {
		if o, some := p.offers(now, stage, c); some {
			held.helps = p.t.routed && o.route == nil
			c.help = held.helps && c.way.RoundTrip > 0
			r := p.receiver(c)
			r.Free += held.Flow.Rate
			able, open = append(able, c), append(open, r)
		}
	}
	p.fair(now, stage, held, able, open)
	return able, plan.Choose(stage, free, up, open)
}

// again is the target of a lease that stands.
func (p *Part) again(s *Sender) (c candidate, ok bool) {
	if s == nil {
		return c, false
	}
	way, ok := p.ways.Way(s.to.Number)
	return candidate{to: s.to, s: s, way: way, help: s.helps && way.RoundTrip > 0}, ok
}

// receiver is a target as plan.Choose sees it.
func (p *Part) receiver(c candidate) plan.Receiver {
	to := c.to
	r := plan.Receiver{Nominal: p.nominal(c), Free: c.way.Free, Empty: c.empty(), First: at(p.first, to.Number),
		Given: at(p.given, to.Number), Planned: at(p.planned, to.Number),
		Sent: at(p.gave, to.Number), Near: c.way.RoundTrip.Seconds()}
	if c.help {
		r.Planned = 0
	}
	if p.t.guided {
		r.First = r.Planned
	}
	if c.way.Trunk > 0 && r.First == 0 { // who passes on most beyond a trunk is the best to enter there
		r.First, r.Given = float64(to.Up), to.entered
	}
	if r.Near == 0 && r.Nominal > 0 {
		r.Near = 1 / float64(r.Nominal)
	}
	down := to.Down
	if down == 0 {
		down = r.Nominal
	}
	switch {
	case to.need == 0 && to.relay != nil:
		r.Crit = p.t.relays.crit(to, p.me)
	case c.way.Trunk > 0 && to.zone != nil:
		r.Crit = plan.Crit(to.Need(), down, to.zone.need, c.way.Trunk)
	default:
		r.Crit = plan.Crit(to.Need(), down, 0, 0)
	}
	return r
}

// able reports whether a target could take enough now to be served.
func (p *Part) able(c candidate) bool {
	return plan.Receiver{Free: c.way.Free, Nominal: p.nominal(c)}.Able()
}

// nominal is what a flow could have at best, as far as this node knows; 0 is unlimited.
func (p *Part) nominal(c candidate) core.Rate {
	rate := plan.Least(c.way.Rate, c.to.Down, c.way.Share)
	if share := plan.Least(p.shares(c)); share > 0 {
		rate = plan.Least(rate, core.Rate(mostShares*float64(share)))
	}
	if s := c.s; s != nil {
		if rate = plan.Least(rate, s.most); s.full && s.holds() {
			rate = plan.Least(rate, s.Flow.Agreed())
		}
	}
	return rate
}

// ask has a target asked for a lease over a batch; false where there is no bandwidth to give, or no run.
func (p *Part) ask(now time.Duration, stage plan.Stage, c candidate) (Action, bool) {
	free, _ := p.e.net.Uplink()
	s := p.sender(c.to)
	c.s, s.most = s, 0
	nominal := c.way.Rate
	asked := plan.Least(nominal, p.due(now, c), account.Unlimited)
	if nominal == 0 {
		nominal = account.Unlimited
	}
	rate := min(task.Grant(asked, min(free, c.way.Free), nominal), unlimited)
	if rate == 0 {
		return Action{}, false
	}
	taste := c.empty()
	seg, runs := s.batch(now, stage, c, rate)
	if len(runs) == 0 {
		return Action{}, false
	}
	s.taste, s.raising, s.full, s.leased, s.use, s.helps = taste, false, false, now, use{}, c.help
	if !s.busy {
		s.busy, p.busy = true, append(p.busy, s)
	}
	return Action{Kind: Ask, Sender: s, Segment: seg, Runs: runs, Rate: rate}, true
}

// unlimited is the rate that is asked for where nothing limits it: as good as at once.
const unlimited core.Rate = 1 << 50

// maxBatch is the most runs that one application asks for.
const maxBatch = 256

// batch chooses the next runs, all of one segment.
func (s *Sender) batch(now time.Duration, stage plan.Stage, c candidate, rate core.Rate) (seg *Segment, runs []int) {
	o, some := s.part.offers(now, stage, c)
	if !some {
		return nil, nil
	}
	for bytes := s.batchBytes(stage, c, rate); len(runs) == 0 || bytes > 0 && len(runs) < maxBatch; {
		run := s.part.pick(&o, stage)
		if run < 0 || len(runs) > 0 && bytes < o.seg.sizes[run] {
			break
		}
		bytes -= o.seg.sizes[run]
		s.promise(o.seg, run)
		runs = append(runs, run)
		if o.pass != nil && !s.part.t.relays.room(s.to) {
			o.pass = nil
		}
	}
	return o.seg, runs
}

// batchBytes is how much one application asks for, one run at least: no more of who has nothing yet than the time takes
// that asking costs, so that all can soon send on; else the less the nearer the end, so that nobody is left with much
// to pass on when the others are done.
func (s *Sender) batchBytes(stage plan.Stage, c candidate, rate core.Rate) core.Size {
	p := s.part
	bytes := plan.Batch(rate, c.way.RoundTrip)
	switch {
	case c.way.RoundTrip == 0:
		return 1
	case c.empty():
		bytes = max(1, plan.FirstBatch(rate, c.way.RoundTrip))
	}
	if stage == plan.Spreading {
		return min(bytes, core.Size(p.unsent)*p.t.meanRun()/core.Size(2*max(1, len(p.t.peers)-1)))
	}
	return min(bytes, s.to.Need()/4)
}

// pick chooses a run of an offer: the next in order while the source spreads them, else the rarest of some, of the part
// of the file that is due where that is planned.
func (p *Part) pick(o *offer, stage plan.Stage) int {
	if o.route != nil {
		return o.route.next(o)
	}
	if p.quota != nil {
		return p.quota.pick(o, p)
	}
	if stage == plan.Spreading {
		return o.next(p.e.random.IntN(o.seg.Runs()))
	}
	return p.rarest(o)
}

// rarest is the run with the fewest copies among at most plan.MaxSampled, drawn at random.
func (p *Part) rarest(o *offer) int {
	best := -1
	for range plan.MaxSampled {
		run := o.next(p.e.random.IntN(o.seg.Runs()))
		if run < 0 {
			return -1
		}
		if best < 0 || o.seg.copies[run] < o.seg.copies[best] {
			best = run
		}
	}
	return best
}
