package node

import (
	"fmt"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/core/task"
	"github.com/bkp-tool/bkp/core/wire"
)

const purposeStore, purposeGain = "store", "gain"

// batchRuns is the most runs that one application asks for.
const batchRuns = 256

// lane is the way from this node to one target of a swarm: at most one flow at a time, opened anew where one ended
// early.
type lane struct {
	n     *state
	swarm *swarm
	to    core.ID

	sending map[int]*laneRun // asked for or granted, by number
	first   core.Size        // what the plan has it carry; 0 where the table says nothing
	given   core.Size        // of runs that nobody else had been given
	flow    *flow
	piece   *piece        // of the application under way
	after   time.Duration // not before this moment, after a flow ended early
	fails   int           // flows in a row that ended early
	broken  time.Duration // since when the target has kept no run that it was sent; 0 where it does
	gaveUp  bool          // for that reason, and said so
	fed     time.Duration // when the target got a run of the task last, from anybody
	alone   bool          // beyond a trunk, where nobody passes anything on to it
	raised  time.Duration // when it asked for nothing but more of the uplink
	most    core.Rate     // what its lease was lowered to because it carried no more; 0 where it was not
	raising bool          // what it asked for last was that
	full    bool          // the target agreed to less than was asked for
	taste   bool          // the lease that stands was for one run, since the target had nothing yet
}

// laneRun is one run under way.
type laneRun struct {
	piece *piece
	run   int
	size  core.Size
	first bool // counted in given
}

// lane finds or makes the lane to a target.
func (s *swarm) lane(to core.ID) *lane {
	l := s.lanes[to]
	if l == nil {
		l = &lane{n: s.n, swarm: s, to: to, sending: map[int]*laneRun{}, fed: s.n.now()}
		s.lanes[to] = l
		if row := rowOf(s.tables.Bandwidth, s.n.ID(), to); row != nil {
			l.first = row.Bytes
		}
	}
	return l
}

// rowOf is the row of a table for one direction; nil where there is none.
func rowOf(table []wire.BandwidthRow, from, to core.ID) *wire.BandwidthRow {
	for i, row := range table {
		if row.From == from && row.To == to {
			return &table[i]
		}
	}
	return nil
}

// wakeWaiting has every swarm and download look again, once, when what happens now has happened: bandwidth came free, a
// peer came up, or time passed.
func (n *state) wakeWaiting() {
	if n.waking {
		return
	}
	n.waking = true
	n.later(do(func(n *state) {
		n.waking = false
		n.driveLanes()
		for d := range n.downloads {
			d.due = true
		}
	}))
}

// waits tells whether a lane could apply for a lease now.
func (l *lane) waits() bool {
	_, may := l.trunkShare()
	return may && l.n.now() >= l.after && (l.flow == nil || l.flow.State == task.Idle) &&
		plan.Receiver{Free: l.n.book.Free(accountOut(l.to)), Nominal: l.nominal()}.Able()
}

// trunk is the one that lies between this node and the target; nil where there is none.
func (l *lane) trunk() *core.TrunkState {
	from, to := l.n.zoneOf(l.n.ID()), l.n.zoneOf(l.to)
	for i, t := range l.swarm.tables.Trunks {
		if t.From == from && t.To == to {
			return &l.swarm.tables.Trunks[i]
		}
	}
	return nil
}

// trunkShare is the lane's share of a trunk, and its part of what this node's lanes across it have that carry nothing
// any more; 0 where it crosses none. ok is false where it crosses one and has no share.
func (l *lane) trunkShare() (rate core.Rate, ok bool) {
	trunk := l.trunk()
	if trunk == nil {
		return 0, true
	}
	row := rowOf(l.swarm.tables.TrunkShares, l.n.ID(), l.to)
	if row == nil {
		return 0, false
	}
	all, open := 0.0, 0.0
	for _, other := range l.swarm.tables.TrunkShares {
		if other.From != l.n.ID() || l.n.zoneOf(other.To) != trunk.To {
			continue
		}
		all += float64(other.Rate)
		if other.To == l.to || l.swarm.need(other.To) > 0 {
			open += float64(other.Rate)
		}
	}
	if open == 0 {
		return row.Rate, true
	}
	return core.Rate(float64(row.Rate) * all / open), true
}

// stranded reports whether nobody beyond the trunk passes on to the target what came across it: then all of it has to
// cross.
func (l *lane) stranded() bool {
	if share, ok := l.trunkShare(); ok && !l.alone {
		patience := comingLife.Seconds() + 4*share.Seconds(l.swarm.meanRun())
		l.alone = (l.n.now() - l.fed).Seconds() > patience
	}
	return l.alone
}

// standing is whether the target has something, and by how much first copies are due to it.
func (l *lane) standing() plan.Receiver {
	return plan.Receiver{Empty: l.swarm.empty(l.to), First: float64(l.first), Given: float64(l.given)}
}

func (l *lane) accounts() []string { return []string{accountUp, accountOut(l.to)} }

// nominal is what a flow could have at best, as far as this node knows; 0 is unlimited.
func (l *lane) nominal() core.Rate {
	rate := l.n.book.Nominal(l.accounts()...)
	if h := l.swarm.hints[l.to]; h.down > 0 {
		rate = min(rate, h.down)
	}
	if c, _ := l.trunkShare(); c > 0 {
		rate = min(rate, c)
	}
	if l.most > 0 {
		rate = min(rate, l.most)
	}
	if l.full && l.holds() {
		rate = min(rate, l.flow.Agreed())
	}
	return rate
}

// receiver is the target as the choice sees it. held is the lane whose lease stands.
func (l *lane) receiver(held *lane) plan.Receiver {
	s := l.swarm
	r := l.standing()
	r.Nominal, r.Free = l.nominal(), l.n.book.Free(accountOut(l.to))
	if l == held {
		r.Free += l.flow.Rate
	}
	r.Near = l.roundTrip().Seconds()
	down := s.hints[l.to].down
	if down == 0 {
		down = r.Nominal
	}
	if t := l.trunk(); t != nil {
		r.Crit = plan.Crit(s.need(l.to), down, s.zoneNeed(t.To), t.Rate)
	} else {
		r.Crit = plan.Crit(s.need(l.to), down, 0, 0)
	}
	return r
}

// ask applies for a lease over a batch. It is false where there is no bandwidth to give.
func (l *lane) ask(stage plan.Stage) bool {
	n := l.n
	l.most = 0
	nominal := n.book.Nominal(l.accounts()...)
	asked := min(nominal, l.due(stage))
	rate := task.Grant(asked, n.book.Free(l.accounts()...), nominal)
	if rate == 0 {
		return false
	}
	newcomer := l.swarm.empty(l.to)
	runs := l.batch(stage, rate)
	if len(runs) == 0 {
		return false
	}
	l.taste = newcomer
	if l.flow == nil {
		l.flow = n.open(l.to, n.nextID(), task.Asker, true, l)
	}
	l.raising, l.full = false, false
	n.step(l.flow, task.Event{Kind: task.Ask, Runs: runs, Rate: rate})
	return true
}

// renew asks for more under the lease that stands, if the lane is still the one to be served, and for as much of the
// uplink as it should have now: less where others wait for it.
func (l *lane) renew() {
	n, f := l.n, l.flow
	if f.State != task.Leased || n.now() < l.after || f.unsent(plan.Batch(f.Rate, l.roundTrip())/2) {
		return
	}
	for _, stage := range l.swarm.stages() {
		next := l.swarm.choose(stage, l)
		if next == nil {
			continue
		}
		if next != l && !l.stays(next, stage) {
			return
		}
		l.taste = false
		rate := l.due(stage)
		if float64(f.Rate) > plan.TooMuch*float64(rate) && (l.trunk() != nil || l.waitedFor()) {
			if l.lower(rate); f.State != task.Leased {
				return // it has asked, being stepped
			}
		}
		rate = max(f.Rate, min(rate, f.Rate+n.book.Free(f.accounts...)))
		if runs := l.batch(stage, f.Rate); len(runs) > 0 {
			l.raising = false
			n.step(f, task.Event{Kind: task.Ask, Runs: runs, Rate: min(rate, n.book.Nominal(f.accounts...))})
		}
		return
	}
}

// stays reports whether a lane keeps its lease though another would be chosen now. One with a share of a trunk does,
// since nobody else may use that, and such a one is never kept waiting. One that was served because its target had
// nothing does not: what a source sends first should go to who can do most with it.
func (l *lane) stays(next *lane, stage plan.Stage) bool {
	if l.trunk() != nil || next.trunk() != nil {
		return l.trunk() != nil
	}
	return !l.taste && plan.Keeps(stage, l.standing(), next.standing(), l.n.now()-l.flow.began, l.roundTrip())
}

// batchBytes is how much one application asks for: to who has nothing yet one run, so that all can soon send on, and
// the less the nearer the end, so that nobody is left with much to pass on when the others are done.
func (l *lane) batchBytes(stage plan.Stage, r core.Rate) core.Size {
	s := l.swarm
	if s.empty(l.to) {
		return 1
	}
	bytes := plan.Batch(r, l.roundTrip())
	if stage == plan.Spreading {
		return min(bytes, core.Size(s.unsent)*s.meanRun()/core.Size(2*max(1, len(s.lanes))))
	}
	return min(bytes, s.need(l.to)/4)
}

// roundTrip is how long the target's answer takes on its way.
func (l *lane) roundTrip() time.Duration {
	if p := l.n.peers[l.to]; p != nil && p.session != nil {
		return 2 * p.session.Delay()
	}
	return 0
}

// batch chooses the next runs for the lane, all of one segment.
func (l *lane) batch(stage plan.Stage, rate core.Rate) (runs []task.Run) {
	s := l.swarm
	p, useful := s.offers(l, stage)
	if p == nil {
		return nil
	}
	l.piece = p
	for _, run := range s.pick(p, useful, stage, l.batchBytes(stage, rate)) {
		r := &laneRun{piece: p, run: run, size: p.file(run).Size}
		if s.source == l.n.ID() && !p.sent.Has(run) {
			p.sent.Set(run)
			s.unsent--
			r.first = true
			l.given += r.size
		}
		p.count(run)
		l.sending[r.number()] = r
		runs = append(runs, task.Run{Number: r.number(), Size: r.size})
	}
	return runs
}

func (r *laneRun) number() int { return r.piece.number*core.SegmentRuns + r.run }

// sends reports whether a run is under way here.
func (l *lane) sends(segment, run int) bool { return l.sending[segment*core.SegmentRuns+run] != nil }

// sendingOf calls f for every run of a piece that is under way here.
func (l *lane) sendingOf(p *piece, f func(run int)) {
	for _, r := range l.sending {
		if r.piece == p {
			f(r.run)
		}
	}
}

func (l *lane) purpose() string { return purposeStore }

func (l *lane) apply(f *flow, runs []task.Run, rate core.Rate) wire.Message {
	m := wire.StorageApply{Flow: f.ID, Task: l.swarm.task, Segment: l.piece.number, Filename: l.piece.file(0).Name,
		Rate: rate}
	if len(runs) > 0 {
		m.Filename = l.piece.file(runs[0].Number % core.SegmentRuns).Name
	}
	numbers := make([]int, len(runs))
	for i, r := range runs {
		numbers[i] = r.Number % core.SegmentRuns
		m.Size += r.Size
	}
	m.Runs = core.Ranges(numbers)
	return m
}

// drop takes a run off the lane that will not come this way.
func (l *lane) drop(number int) *laneRun {
	r := l.sending[number]
	if r == nil {
		return nil
	}
	delete(l.sending, number)
	r.piece.uncount(r.run)
	if r.first && r.piece.copies[r.run] <= 1 { // nobody but the source has it
		r.piece.sent.Clear(r.run)
		l.swarm.unsent++
		l.given -= r.size
	}
	return r
}

// requeue leaves runs to be chosen again, a little later if the flow ended for a reason.
func (l *lane) requeue(_ *flow, runs []task.Run, reason core.Reason) {
	for _, r := range runs {
		l.drop(r.Number)
	}
	if reason == core.ReasonInternal || reason == core.ReasonCorrupt {
		l.slowDown(reason)
	}
}

// brokenPatience is how long a target may fail to keep every run that it is sent.
const brokenPatience = 10 * time.Second

// slowDown waits with the next application to a target that could not keep a run, and gives up one that keeps none.
func (l *lane) slowDown(reason core.Reason) {
	now := l.n.now()
	l.after = now + time.Second
	if l.broken == 0 {
		l.broken = now
	}
	if now-l.broken < brokenPatience {
		return
	}
	if !l.gaveUp {
		l.n.Log.Warn("gave up sending", "to", l.to.Short(), "task", l.swarm.task, "reason", reason)
	}
	l.gaveUp = true
	l.n.later(do(func(n *state) { // the flow is in the middle of a step
		if pl, ok := n.places[l.swarm.task]; ok {
			pl.inbox.Fails(l.to, "it fails to keep what it is sent, its log says why")
			return
		}
		l.swarm.forget(l.to)
	}))
}

func (l *lane) outgoing(_ *flow, number int) (parcel, bool) {
	r := l.sending[number]
	if r == nil {
		return parcel{}, false
	}
	return l.swarm.parcel(r.piece, r.run)
}

func (l *lane) settled(_ *flow, number int) {
	if r := l.sending[number]; r != nil {
		l.swarm.had(r.piece, l.to, r.run)
		delete(l.sending, number)
	}
	l.swarm.touched = l.n.now()
	l.fails, l.broken, l.gaveUp = 0, 0, false
}

// has drops runs that the target keeps already.
func (l *lane) has(ranges []core.Range) {
	for _, r := range ranges {
		for run := r.Start; run < min(r.Start+r.Length, l.piece.runs); run++ {
			l.drop(l.piece.number*core.SegmentRuns + run)
			l.swarm.had(l.piece, l.to, run)
		}
	}
}

func (l *lane) more(n *state, f *flow) {
	if f != l.flow {
		return
	}
	if f.State == task.Closed {
		l.flow = nil
		l.fails++
		l.after = n.now() + min(time.Duration(l.fails)*250*time.Millisecond, 5*time.Second)
		return // expireLeases wakes it when its time has come
	}
	n.beginMore(f)
	l.renew()
	if f.State == task.Idle || f.State == task.Leased {
		n.wakeWaiting()
	}
}

// end closes the lane's flow and takes it out of its swarm.
func (l *lane) end() {
	delete(l.swarm.lanes, l.to)
	if f := l.flow; f != nil {
		l.flow = nil
		l.n.step(f, task.Event{Kind: task.Stop, Reason: core.ReasonStopped})
	}
}

// agreed is the target's grant.
func (l *lane) agreed(n *state, f *flow, m wire.StorageAgree) {
	l.has(m.Have)
	l.elsewhere(f, m.Runs)
	l.full = m.Rate < f.Rate
	n.step(f, task.Event{Kind: task.Agreed, Runs: l.sized(m.Runs), Have: l.numbers(m.Have), Lease: m.Lease,
		Rate: m.Rate, Term: seconds(m.ExpiresS)})
}

// refused is the target's no.
func (l *lane) refused(n *state, f *flow, m wire.StorageRefuse) {
	if m.Code != core.ReasonBusy && m.Code != core.ReasonHave && m.Code != core.ReasonInFlight {
		n.Log.Warn("target refused runs", "peer", l.to.Short(), "reason", m.Reason)
	}
	have := l.numbers(m.Have)
	l.has(m.Have)
	l.full = l.full || l.raising
	if m.Code == core.ReasonInFlight {
		l.elsewhere(f, nil)
	}
	n.step(f, task.Event{Kind: task.Refused, Have: have, Reason: m.Code, Retry: seconds(m.RetryS)})
}

// elsewhere notes that what was applied for and neither granted nor there is on its way from others.
func (l *lane) elsewhere(f *flow, granted []core.Range) {
	v := l.piece.views[l.to]
	if v == nil {
		return
	}
	open := map[int]bool{}
	for _, r := range f.Open() {
		open[r.Number] = true
	}
	for _, number := range l.numbers(granted) {
		open[number] = true
	}
	for number, r := range l.sending {
		if r.piece == l.piece && !open[number] && v.lacks.Has(r.run) {
			v.coming.Set(r.run)
			v.until = l.n.now() + comingLife
		}
	}
}

// numbers and sized name runs of the segment that was asked for by their numbers in the flow.
func (l *lane) numbers(ranges []core.Range) (out []int) {
	for _, r := range ranges {
		for run := r.Start; run < r.Start+r.Length; run++ {
			out = append(out, l.piece.number*core.SegmentRuns+run)
		}
	}
	return out
}

func (l *lane) sized(ranges []core.Range) (out []task.Run) {
	for _, number := range l.numbers(ranges) {
		r := task.Run{Number: number}
		if known := l.sending[number]; known != nil {
			r.Size = known.size
		}
		out = append(out, r)
	}
	return out
}

func (l *lane) String() string {
	return fmt.Sprintf("lane to %s for task %s", l.to.Short(), l.swarm.task)
}
