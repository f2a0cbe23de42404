package node

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/core/task"
	"github.com/bkp-tool/bkp/core/wire"
)

// taker asks one holder for runs of a gather. Owned by the loop.
type taker struct {
	n    *Node
	from core.ID
	job  *gather
	flow *flow
	runs map[int]*wantedRun // asked for or granted, by number in the flow
	next int
	// last agreed, or what it said; until then nobody knows what it can give, so it is asked for one run
	rate  core.Rate
	pace  pace
	fails int
	wrong int // times that bytes were wrong
	after time.Duration
	away  bool // lost because it is not connected
}

// pace is how fast a holder's runs come while it always has some to bring.
type pace struct {
	since time.Duration // the last one came, or the first was asked for
	idle  bool          // nothing was asked for before that
	bytes float64       // of the last few, each weighing a fifth less than the next
	took  float64       // seconds, weighed alike
}

// came notes that a run came.
func (p *pace) came(now time.Duration, size core.Size) {
	if !p.idle {
		p.bytes, p.took = 0.8*p.bytes+float64(size), 0.8*p.took+(now-p.since).Seconds()
	}
	p.since, p.idle = now, false
}

// takerFails is how often in a row a flow with a holder may end early.
const takerFails = 4

// takerWrong is how often a holder may have bytes wrong: a disk with some bad places is worth asking for the rest.
const takerWrong = 64

// drive asks for runs while there is room in the window.
func (t *taker) drive() {
	n, g := t.n, t.job
	p := n.peers[t.from]
	switch {
	case g.lost[t.from] != "" || n.now() < t.after:
		return
	case p == nil || p.session == nil:
		t.away = true
		g.lose(t.from, "it is not connected")
		return
	case p.capacity == 0:
		return
	}
	if t.flow == nil {
		t.flow = n.open(t.from, n.nextID(), task.Asker, false, t)
	}
	f := t.flow
	switch f.State {
	case task.Idle:
		nominal := n.book.Nominal(f.accounts...)
		asked := min(nominal, t.rate)
		if t.rate == 0 { // others wait too, so it gets its share; more when it has agreed
			asked = min(nominal, max(1, n.book.Free(accountDown)/core.Rate(g.strangers())))
		}
		rate := task.Grant(asked, n.book.Free(f.accounts...), nominal)
		if rate == 0 {
			return
		}
		if runs := t.take(); len(runs) > 0 {
			n.step(f, task.Event{Kind: task.Ask, Runs: runs, Rate: rate})
		}
	case task.Leased:
		if t.queued() < t.window()/2 || len(t.runs) < 2 {
			if runs := t.take(); len(runs) > 0 {
				rate := min(n.book.Nominal(f.accounts...), f.Rate+n.book.Free(f.accounts...))
				n.step(f, task.Event{Kind: task.Ask, Runs: runs, Rate: rate})
			}
		}
	}
}

// window is how much may be asked for ahead: little, so that no holder is left with much when the others are done, but
// enough for some round trips; and not much before anything came.
func (t *taker) window() core.Size {
	bytes := core.Size(float64(t.speed()) * (0.4 + 3*t.roundTrip()))
	if t.pace.took == 0 {
		bytes = min(bytes, unproven)
	}
	return bytes
}

// unproven is how much is asked for of a holder that has brought nothing.
const unproven = 8 * core.MiB

// roundTrip is how many seconds an answer takes on its way.
func (t *taker) roundTrip() float64 {
	if p := t.n.peers[t.from]; p != nil && p.session != nil {
		return 2 * p.session.Delay().Seconds()
	}
	return 0
}

// speed is how many stored bytes come in a second: what was agreed to or said, at most what does come, and less and
// less while nothing comes that is due.
func (t *taker) speed() core.Rate {
	rate := t.rate.Payload()
	if t.pace.took > 0 {
		rate = min(rate, max(1, core.Rate(t.pace.bytes/t.pace.took)))
	}
	if len(t.runs) == 0 {
		return rate
	}
	mean, waited := t.queued()/core.Size(len(t.runs)), (t.n.now() - t.pace.since).Seconds()
	if waited > 0.5+2*(t.roundTrip()+rate.Seconds(mean)) {
		rate = max(1, min(rate, core.Rate(float64(mean)/waited)))
	}
	return rate
}

// able reports whether the holder could be asked now or soon.
func (t *taker) able() bool {
	return t.job.lost[t.from] == "" && t.n.now() >= t.after && (t.flow == nil || t.flow.State != task.Waiting)
}

// queued is what was asked for and is not there yet.
func (t *taker) queued() (bytes core.Size) {
	for _, r := range t.runs {
		bytes += r.size
	}
	return bytes
}

func (t *taker) bringer() plan.Bringer {
	return plan.Bringer{Rate: t.speed(), Queued: t.queued(), Delay: t.roundTrip()}
}

// dues is what a holder was asked for and when that should be there, in order.
type dues struct {
	runs []*wantedRun
	late []plan.Late
}

func (t *taker) dues() (d dues) {
	speed, before := t.speed(), core.Size(0)
	for _, number := range slices.Sorted(maps.Keys(t.runs)) {
		r := t.runs[number]
		before += r.size
		d.runs, d.late = append(d.runs, r), append(d.late, plan.Late{Size: r.size,
			Due: t.roundTrip()/2 + speed.Seconds(before)})
	}
	return d
}

// take picks the next runs that this holder has: what nobody was asked for, else one that another is late with.
func (t *taker) take() (runs []task.Run) {
	room := t.window() - t.queued()
	g := t.job
	if len(t.runs) == 0 {
		t.pace.since, t.pace.idle = t.n.now(), true
	}
	take := func(r *wantedRun) {
		room -= r.size
		r.asked++
		t.runs[t.next] = r
		runs = append(runs, task.Run{Number: t.next, Size: r.size})
		t.next++
	}
	for _, r := range g.dealt(t) {
		if len(runs) > 0 && room < r.size || len(runs) >= batchRuns {
			break
		}
		if slices.Contains(r.holders, t.from) {
			take(r)
		}
	}
	if len(runs) > 0 {
		g.pending = slices.DeleteFunc(g.pending, func(r *wantedRun) bool { return r.asked > 0 })
	} else if r := g.again(t); r != nil {
		take(r)
	}
	return runs
}

// shed stops runs that another holder brought. One that has not begun here is stopped when it does.
func (t *taker) shed() {
	for number, r := range t.runs {
		if t.flow == nil {
			return
		}
		if _, begun := t.flow.byRun[number]; r.done && begun {
			delete(t.runs, number)
			r.asked--
			t.n.step(t.flow, task.Event{Kind: task.RunFailed, Run: number, Reason: core.ReasonHave})
		}
	}
}

func (t *taker) purpose() string { return purposeGain }

func (t *taker) apply(f *flow, runs []task.Run, rate core.Rate) wire.Message {
	m := wire.GainApply{Flow: f.ID, Owner: t.job.owner, Name: t.job.alias, Rate: rate}
	for _, r := range runs {
		w := t.runs[r.Number]
		g := wire.GainRun{Hash: w.Hash}
		if len(w.sent) < len(w.Chunks) {
			g.Chunks = w.wanted
		}
		m.Runs = append(m.Runs, g)
	}
	return m
}

// requeue gives runs back to the gather, for any holder.
func (t *taker) requeue(_ *flow, runs []task.Run, reason core.Reason) {
	var back []*wantedRun
	for _, r := range runs {
		w := t.runs[r.Number]
		if w == nil {
			continue
		}
		delete(t.runs, r.Number)
		if reason == core.ReasonCorrupt && t.job.corrupt == nil {
			w.without(t.from)
		}
		if w.asked--; w.asked == 0 && !w.done {
			back = append(back, w)
		}
	}
	if reason == core.ReasonCorrupt && t.job.corrupt != nil {
		t.job.corrupt(back)
		t.job.open -= len(back)
		signal(t.job.changed)
		return
	}
	t.job.pending = append(back, t.job.pending...)
	if reason == core.ReasonCorrupt {
		if t.wrong++; t.wrong > takerWrong {
			t.job.lose(t.from, "it sent bytes that do not match their hash, %d times", t.wrong)
		}
		signal(t.job.changed)
	}
}

func (t *taker) settled(_ *flow, number int) {
	if w := t.runs[number]; w != nil {
		delete(t.runs, number)
		t.pace.came(t.n.now(), w.size)
		t.fails = 0
		t.job.brought(t, w)
	}
	signal(t.job.changed)
}

func (t *taker) more(f *flow) {
	if f != t.flow {
		return
	}
	if f.State == task.Closed {
		t.flow = nil
		t.fails++
		t.after = t.n.now() + time.Duration(t.fails)*250*time.Millisecond
		switch p := t.n.peers[t.from]; {
		case p == nil || p.session == nil:
			t.away = true
			t.job.lose(t.from, "it went away")
		case t.fails >= takerFails:
			t.job.lose(t.from, "it failed %d times in a row, last with reason %d", t.fails, f.Reason)
		}
	}
	t.shed()
	t.job.driveAll()
}

func (t *taker) outgoing(*flow, int) (parcel, bool)     { return parcel{}, false }
func (t *taker) agree(*flow, task.Action) wire.Message  { return nil }
func (t *taker) refuse(*flow, task.Action) wire.Message { return nil }

// onGainAgree is the holder's grant. What it misses is asked of others.
func (n *Node) onGainAgree(p *peer, m wire.GainAgree) {
	f := n.flows[flowKey{p.id, m.Flow}]
	t, ok := sideOf[*taker](f)
	if !ok {
		n.send(p.id, wire.TransmissionAbort{Flow: m.Flow, Code: core.ReasonStopped, Reason: "that flow has ended here"})
		return
	}
	t.misses(m.Missing)
	e := task.Event{Kind: task.Agreed, Lease: m.Lease, Rate: m.Rate,
		Term: time.Duration(m.ExpiresS * float64(time.Second))}
	for _, hash := range m.Runs {
		if number, w := t.byHash(hash); w != nil {
			e.Runs = append(e.Runs, task.Run{Number: number, Size: w.size})
		}
	}
	t.rate = m.Rate
	t.job.rates[t.from] = m.Rate
	n.step(f, e)
}

// onGainRefuse is the holder's no.
func (n *Node) onGainRefuse(p *peer, m wire.GainRefuse) {
	f := n.flows[flowKey{p.id, m.Flow}]
	t, ok := sideOf[*taker](f)
	if !ok {
		return
	}
	t.misses(m.Missing)
	if m.Code == core.ReasonRights {
		t.job.lose(t.from, "it refused: %s", m.Reason)
	}
	n.step(f, task.Event{Kind: task.Refused, Reason: m.Code, Retry: time.Duration(m.RetryS * float64(time.Second))})
}

// misses takes the holder off runs that it does not have after all.
func (t *taker) misses(hashes []core.Hash) {
	for _, hash := range hashes {
		if _, w := t.byHash(hash); w != nil {
			w.without(t.from)
		}
	}
}

func (t *taker) byHash(hash core.Hash) (int, *wantedRun) {
	for number, w := range t.runs {
		if w.Hash == hash {
			return number, w
		}
	}
	return 0, nil
}

// begin makes the inflow of a granted run.
func (t *taker) begin(f *flow, m wire.TransmissionBegin) (*inflow, int, error) {
	number, w := t.byHash(m.Hash)
	if w == nil {
		return nil, 0, fmt.Errorf("run %s was not asked for", m.Hash)
	}
	if !slices.Equal(m.Chunks, w.sent) {
		return nil, 0, fmt.Errorf("run %s comes with other chunks than were asked for", m.Hash)
	}
	g := t.job
	return &inflow{
		chunks: m.Chunks,
		keep: func(i int, c core.Chunk, data []byte) error {
			return w.once(i, func() error { return g.keep(t.from, w.indexes[i], w, c, data) })
		},
		done: func(err error) {
			t.n.ask(func() {
				if err != nil {
					t.n.Log.Warn("run refused", "from", t.from.Short(), "run", w.Name, "error", err)
					t.n.step(f, task.Event{Kind: task.RunFailed, Run: number, Reason: reasonFor(err)})
					return
				}
				t.n.received(f, number)
			})
		},
	}, number, nil
}
