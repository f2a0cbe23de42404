package node

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/task"
	"github.com/bkp-tool/bkp/core/wire"
)

// gather brings runs from their holders, each run from the first that has room for it. Owned by the loop.
type gather struct {
	n       *Node
	owner   core.ID
	alias   string
	pending []*wantedRun // not asked for, in order
	open    int          // runs not there yet
	takers  map[core.ID]*taker
	lost    map[core.ID]string    // holders that failed, and how
	got     map[core.ID]core.Size // stored bytes by holder
	changed chan struct{}         // one word after every change
	failed  error                 // of this machine's own: nobody else can help
	keep    func(from core.ID, i int, r *wantedRun, c core.Chunk, data []byte) error
	corrupt func([]*wantedRun) // takes runs whose bytes are wrong at their holder; nil: the holder is lost, and others asked
}

// wantedRun is a run to be fetched, whole or the chunks of it that are wanted.
type wantedRun struct {
	core.Run
	wanted  core.Bitmap  // of Run.Chunks
	sent    []core.Chunk // the wanted ones, as the holder will send them
	size    core.Size    // their stored bytes
	holders []core.ID
	indexes []int // of sent, in Run.Chunks
}

func newWantedRun(r core.Run, wanted core.Bitmap, holders []core.ID) *wantedRun {
	w := &wantedRun{Run: r, wanted: wanted, holders: holders}
	for i, c := range r.Chunks {
		if wanted.Has(i) {
			w.sent, w.indexes = append(w.sent, c), append(w.indexes, i)
			w.size += c.Size
		}
	}
	return w
}

// taker asks one holder for runs of a gather. Owned by the loop.
type taker struct {
	n     *Node
	from  core.ID
	job   *gather
	flow  *flow
	runs  map[int]*wantedRun // asked for or granted, by number in the flow
	next  int
	rate  core.Rate // last agreed; until then nobody knows what the holder can give, so it is asked for one run
	fails int
	after time.Duration
	away  bool // lost because it is not connected
}

// start asks every connected holder. Loop only.
func (g *gather) start() {
	g.open = len(g.pending)
	for _, r := range g.pending {
		for _, id := range r.holders {
			if g.takers[id] == nil {
				t := &taker{n: g.n, from: id, job: g, runs: map[int]*wantedRun{}}
				g.takers[id] = t
				g.n.takers[t] = struct{}{}
			}
		}
	}
	g.driveAll()
}

func (g *gather) driveAll() {
	for _, t := range g.takers {
		t.drive()
	}
}

// stop ends every flow that is left. Loop only.
func (g *gather) stop() {
	for _, t := range g.takers {
		delete(g.n.takers, t)
		if t.flow != nil {
			g.n.step(t.flow, task.Event{Kind: task.Stop, Reason: core.ReasonStopped})
		}
	}
}

// orphans are the wanted runs that no holder left can bring. Loop only.
func (g *gather) orphans() (left []*wantedRun) {
	for _, r := range g.pending {
		if !slices.ContainsFunc(r.holders, func(id core.ID) bool { return g.lost[id] == "" }) {
			left = append(left, r)
		}
	}
	return left
}

// lose gives a holder up for this gather. Loop only.
func (g *gather) lose(id core.ID, format string, args ...any) {
	if g.lost[id] == "" {
		g.lost[id] = fmt.Sprintf(format, args...)
		g.n.Log.Warn("holder lost", "peer", id.Short(), "reason", g.lost[id])
	}
	signal(g.changed)
}

// forgive takes holders back that were away and are connected again. Loop only.
func (g *gather) forgive() {
	for id, t := range g.takers {
		if p := g.n.peers[id]; t.away && p != nil && p.session != nil {
			t.away, t.fails = false, 0
			delete(g.lost, id)
		}
	}
}

// takerFails is how often in a row a flow with a holder may end early.
const takerFails = 4

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
		rate := task.Grant(nominal, n.book.Free(f.accounts...), nominal)
		if rate == 0 {
			return
		}
		if runs := t.take(t.rate); len(runs) > 0 {
			n.step(f, task.Event{Kind: task.Ask, Runs: runs, Rate: rate})
		}
	case task.Leased:
		if f.OpenBytes() < t.window(f.Rate)/2 || len(f.Open()) < 2 {
			if runs := t.take(f.Rate); len(runs) > 0 {
				rate := min(n.book.Nominal(f.accounts...), f.Rate+n.book.Free(f.accounts...))
				n.step(f, task.Event{Kind: task.Ask, Runs: runs, Rate: rate})
			}
		}
	}
}

// window is how much may be asked for ahead: little, so that no holder is left with much when the others are done, but
// enough for some round trips.
func (t *taker) window(rate core.Rate) core.Size {
	seconds := 0.4
	if p := t.n.peers[t.from]; p != nil && p.session != nil {
		seconds += 6 * p.session.Delay().Seconds()
	}
	return core.Size(float64(rate) * seconds)
}

// take picks the next runs that this holder has.
func (t *taker) take(rate core.Rate) (runs []task.Run) {
	room := t.window(rate) - t.flow.OpenBytes()
	g := t.job
	horizon := g.horizon()
	g.pending = slices.DeleteFunc(g.pending, func(r *wantedRun) bool {
		if len(runs) > 0 && room < r.size || len(runs) >= batchRuns || !slices.Contains(r.holders, t.from) || t.late(r, horizon) {
			return false
		}
		room -= r.size
		t.runs[t.next] = r
		runs = append(runs, task.Run{Number: t.next, Size: r.size})
		t.next++
		return true
	})
	return runs
}

// endGame is how few runs are left when it begins to matter who takes the last ones.
const endGame = 64

// horizon is how many seconds all holders together need for what is left; +Inf while that is much.
func (g *gather) horizon() float64 {
	if len(g.pending) > endGame {
		return math.Inf(1)
	}
	var left core.Size
	for _, r := range g.pending {
		left += r.size
	}
	var all core.Rate
	for id, t := range g.takers {
		if g.lost[id] != "" {
			continue
		}
		all += t.rate
		if t.flow != nil {
			left += t.flow.OpenBytes()
		}
	}
	return all.Seconds(left)
}

// late reports whether this holder would bring a run only when the others have long brought all that is left. The fastest
// holder of it never is, so that somebody is asked.
func (t *taker) late(r *wantedRun, horizon float64) bool {
	if t.rate == 0 || t.rate.Seconds(r.size+t.flow.OpenBytes()) <= horizon {
		return false
	}
	return slices.ContainsFunc(r.holders, func(id core.ID) bool {
		other := t.job.takers[id]
		return other != nil && t.job.lost[id] == "" && other.rate > t.rate
	})
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
		if w := t.runs[r.Number]; w != nil {
			back = append(back, w)
			delete(t.runs, r.Number)
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
		t.job.lose(t.from, "it sent bytes that do not match their hash")
	}
}

func (t *taker) settled(_ *flow, number int) {
	if w := t.runs[number]; w != nil {
		delete(t.runs, number)
		t.job.open--
		t.job.got[t.from] += w.size
		t.fails = 0
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
	e := task.Event{Kind: task.Agreed, Lease: m.Lease, Rate: m.Rate, Term: time.Duration(m.ExpiresS * float64(time.Second))}
	for _, hash := range m.Runs {
		if number, w := t.byHash(hash); w != nil {
			e.Runs = append(e.Runs, task.Run{Number: number, Size: w.size})
		}
	}
	t.rate = m.Rate
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
			w.holders = slices.DeleteFunc(slices.Clone(w.holders), func(id core.ID) bool { return id == t.from })
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
		keep:   func(i int, c core.Chunk, data []byte) error { return g.keep(t.from, w.indexes[i], w, c, data) },
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
