// SPDX-License-Identifier: Apache-2.0

package spread

import (
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/core/task"
)

// Download decides which holder is asked for which of the runs that somebody wants, and when. A run goes to the first
// holder that has room for it; the last ones to who would have them there first (plan.Deal), and then to two
// (plan.Twice).
//
// The driver tells it what happens, each event by a method, and then carries out what Next says, one action after the
// other, until Next has none. A run is known by its place in what was wanted; of each holder's flow it has a number,
// which is never used twice.
type Download struct {
	runs     []soughtRun
	pending  []int // runs that nobody is asked for now, in the order in which they are to be asked for
	open     int   // runs not there yet, without those in wrong
	wrong    []int // runs given up, since their holder has bytes of them wrong
	judges   bool
	holders  []*holder // in the order in which the runs name them
	byID     map[core.ID]*holder
	now      time.Duration
	decided  []DownloadAction // by events, to be carried out before anybody is asked
	orphans  []int            // pending runs that no holder left can bring
	stale    bool             // the orphans must be looked for anew
	orphaned time.Duration    // since when there are orphans; -1: there are none
	ended    bool
}

// Wanted is a run to be downloaded, whole or the chunks of it that are needed.
type Wanted struct {
	core.Run
	Needed  core.Bitmap // of Run.Chunks
	Holders []core.ID
}

// Bytes is the stored bytes that are needed.
func (w Wanted) Bytes() (bytes core.Size) {
	for i, c := range w.Chunks {
		if w.Needed.Has(i) {
			bytes += c.Size
		}
	}
	return bytes
}

// Standing is what is known of a holder from one download of a fetch to the next.
type Standing struct {
	Rate core.Rate // what it says that it can send, or agreed to last; 0: nobody knows
	Lost string    // why it is asked for nothing more
	Away bool      // that is since it is not connected: once it is, it is taken back
	Got  core.Size // stored bytes that it brought
}

// Holders tells how each holder can be asked now. Next asks anew after every action.
type Holders interface {
	Holder(id core.ID) Reach
	// Down is what is free of this node's own downlink.
	Down() core.Rate
}

// Reach is how a holder can be asked now.
type Reach struct {
	Connected bool
	Capacity  bool          // the capacity of the link is settled
	Delay     time.Duration // to it
	State     task.State    // of the flow from it; Idle where there is none
	Rate      core.Rate     // that the flow holds
	Free      core.Rate     // on every account of the flow
	Nominal   core.Rate     // the capacity of the narrowest
}

// DownloadActionKind is what the driver is to do.
type DownloadActionKind uint8

const (
	DownloadAsk  DownloadActionKind = iota // ask Holder for Runs at Rate, which is free
	DownloadStop                           // stop run Number of Holder's flow: another brought it
	DownloadLose                           // say that Holder is given up: Reason
	DownloadEnd                            // stop everything: no run is on its way, and none will be asked for
)

// DownloadAction is something for the driver to do.
type DownloadAction struct {
	Kind   DownloadActionKind
	Holder core.ID
	Runs   []task.Run
	Rate   core.Rate
	Number int
	Reason string

	Left  []int // DownloadEnd: runs that could be had from nobody
	Wrong []int // DownloadEnd: of a download that judges, the runs of which bytes are wrong at their holder
}

// soughtRun is a run of a download.
type soughtRun struct {
	size    core.Size
	holders []core.ID // but those that turned out not to have it whole
	asked   int       // holders that were asked for it and have not brought it: at most two
	done    bool
}

// holder is one that some wanted run names.
type holder struct {
	Standing
	id    core.ID
	reach Reach
	asked []askedRun // in the order of asking
	next  int        // number in its flow
	pace  pace
	fails int // times in a row that its flow ended early
	wrong int // times that bytes were wrong
	after time.Duration
	// since when it is asked and brings nothing; 0: it is not
	waits time.Duration
}

// askedRun is a run that a holder was asked for and has not brought.
type askedRun struct {
	number int
	run    int
	begun  bool
}

// pace is how fast a holder's runs come while it always has some to bring.
type pace struct {
	since time.Duration // the last one came, or the first was asked for
	idle  bool          // nothing was asked for before that
	bytes float64       // of the last few, each weighing a fifth less than the next
	took  float64       // seconds, weighed alike
}

const (
	// downloadFails is how often in a row a flow with a holder may end early, and downloadPause how much longer each
	// time the holder is left alone.
	downloadFails = 4
	downloadPause = 250 * time.Millisecond
	// downloadWrong is how often a holder may have bytes wrong: a disk with some bad places is worth asking for the
	// rest.
	downloadWrong = 64
	// unproven is how much is asked for of a holder that has brought nothing.
	unproven = 8 * core.MiB
	// endGame is how few runs are left when it begins to matter who is asked for the last ones.
	endGame = 64
	// askRuns is the most runs that are asked for at once.
	askRuns = 256
	// busyPatience is how long a holder may say that it is busy and bring nothing.
	busyPatience = 25 * time.Second
	// OrphanPatience is how long a download waits for a lost holder to come back when nobody else has a run.
	OrphanPatience = 10 * time.Second
)

// NewDownload begins a download; standings is what is known of holders. One that judges gives a run up of which bytes
// are wrong at its holder, else that holder is asked for it no more.
func NewDownload(wanted []Wanted, standings map[core.ID]Standing, judges bool) *Download {
	d := &Download{judges: judges, byID: map[core.ID]*holder{}, open: len(wanted), stale: true, orphaned: -1}
	for i, w := range wanted {
		d.runs = append(d.runs, soughtRun{size: w.Bytes(), holders: w.Holders})
		d.pending = append(d.pending, i)
		for _, id := range w.Holders {
			if d.byID[id] == nil {
				h := &holder{id: id, Standing: standings[id]}
				d.byID[id] = h
				d.holders = append(d.holders, h)
			}
		}
	}
	return d
}

// Standings is what is known of its holders now.
func (d *Download) Standings() map[core.ID]Standing {
	all := map[core.ID]Standing{}
	for _, h := range d.holders {
		all[h.id] = h.Standing
	}
	return all
}

// Asked is what a holder was asked for and has not brought, in the order of asking: numbers in its flow, and runs.
func (d *Download) Asked(id core.ID) iter.Seq2[int, int] {
	return func(yield func(number, run int) bool) {
		for _, a := range d.byID[id].asked {
			if !yield(a.number, a.run) {
				return
			}
		}
	}
}

// Next is what to do next; false where there is nothing until something happens or time passes.
func (d *Download) Next(now time.Duration, holders Holders) (a DownloadAction, ok bool) {
	d.now = now
	if len(d.decided) > 0 {
		a, d.decided = d.decided[0], d.decided[1:]
		return a, true
	}
	if d.ended {
		return a, false
	}
	for _, h := range d.holders {
		h.reach = holders.Holder(h.id)
		if h.Away && h.reach.Connected {
			h.Away, h.Lost, h.fails, d.stale = false, "", 0, true
		}
	}
	for _, h := range d.holders {
		if a, ok := d.ask(h, holders); ok {
			return a, true
		}
	}
	return d.end()
}

// ask asks a holder for runs while there is room in its window.
func (d *Download) ask(h *holder, holders Holders) (a DownloadAction, ok bool) {
	switch {
	case h.Lost != "" || d.now < h.after:
		return a, false
	case !h.reach.Connected:
		h.Away = true
		return d.lose(h, "it is not connected"), true
	case !h.reach.Capacity:
		return a, false
	case h.reach.State == task.Waiting && h.waits > 0 && d.now-h.waits >= busyPatience:
		return d.lose(h, "it has been busy for %v and brought nothing", (d.now - h.waits).Round(time.Second)), true
	}
	rate := core.Rate(0)
	switch h.reach.State {
	case task.Idle:
		asked := min(h.reach.Nominal, h.Rate)
		if h.Rate == 0 { // others wait too, so it gets its share; more when it has agreed
			asked = min(h.reach.Nominal, max(1, holders.Down()/core.Rate(d.strangers())))
		}
		if rate = task.Grant(asked, h.reach.Free, h.reach.Nominal); rate == 0 {
			return a, false
		}
	case task.Leased:
		if d.queued(h) >= d.window(h)/2 && len(h.asked) > 1 {
			return a, false
		}
		rate = min(h.reach.Nominal, h.reach.Rate+h.reach.Free)
	default:
		return a, false
	}
	runs := d.take(h)
	if len(runs) > 0 && h.waits == 0 {
		h.waits = max(d.now, 1)
	}
	return DownloadAction{Kind: DownloadAsk, Holder: h.id, Runs: runs, Rate: rate}, len(runs) > 0
}

// strangers counts the holders that wait to be asked and of which nobody knows what they can send.
func (d *Download) strangers() (count int) {
	for _, h := range d.holders {
		if h.Rate == 0 && h.Lost == "" && h.reach.State == task.Idle {
			count++
		}
	}
	return count
}

// take chooses the next runs of a holder: what nobody was asked for, else one that another is late with.
func (d *Download) take(h *holder) (runs []task.Run) {
	room := d.window(h) - d.queued(h)
	if len(h.asked) == 0 {
		h.pace.since, h.pace.idle = d.now, true
	}
	take := func(run int) {
		r := &d.runs[run]
		room -= r.size
		r.asked++
		h.asked = append(h.asked, askedRun{number: h.next, run: run})
		runs = append(runs, task.Run{Number: h.next, Size: r.size})
		h.next++
	}
	last := -1
	for _, run := range d.dealt(h) {
		r := &d.runs[run]
		if !slices.Contains(r.holders, h.id) {
			continue
		}
		if len(runs) > 0 && room < r.size || len(runs) == askRuns {
			break
		}
		take(run)
		last = run
	}
	if last >= 0 {
		d.unpend(last)
	} else if run := d.again(h); run >= 0 {
		take(run)
	}
	return runs
}

// unpend takes out of the pending runs those that are asked for by now, of which last is the last. It looks at none
// behind that: there may be a million.
func (d *Download) unpend(last int) {
	end := slices.Index(d.pending, last) + 1
	from := end
	for i := end - 1; i >= 0; i-- {
		if run := d.pending[i]; d.runs[run].asked == 0 {
			from--
			d.pending[from] = run
		}
	}
	d.pending = d.pending[from:]
}

// dealt is the runs that a holder may be asked for: all that nobody was asked for, or near the end those that it would
// bring first.
func (d *Download) dealt(h *holder) []int {
	if len(d.pending) > endGame || h.Rate == 0 {
		return d.pending
	}
	var bringers []plan.Bringer
	at := map[core.ID]int{}
	for _, other := range d.holders {
		if other == h || d.able(other) {
			at[other.id] = len(bringers)
			bringers = append(bringers, d.bringer(other))
		}
	}
	pieces := make([]plan.Piece, len(d.pending))
	for i, run := range d.pending {
		pieces[i].Size = d.runs[run].size
		for _, id := range d.runs[run].holders {
			if b, able := at[id]; able {
				pieces[i].Holders = append(pieces[i].Holders, b)
			}
		}
	}
	var mine []int
	for i, b := range plan.Deal(bringers, pieces) {
		if b == at[h.id] {
			mine = append(mine, d.pending[i])
		}
	}
	return mine
}

// again is a run that another holder is late with and this one should be asked for too; -1 where there is none.
func (d *Download) again(h *holder) int {
	has := func(run int) bool { return slices.Contains(d.runs[run].holders, h.id) }
	if slices.ContainsFunc(d.pending, has) {
		return -1
	}
	var runs []int
	var late []plan.Late
	for _, other := range d.holders {
		if other == h {
			continue
		}
		speed, before := d.speed(other), core.Size(0)
		for _, a := range other.asked {
			r := &d.runs[a.run]
			before += r.size
			if r.asked == 1 && !r.done && has(a.run) {
				runs = append(runs, a.run)
				late = append(late, plan.Late{Size: r.size, Due: other.roundTrip()/2 + speed.Seconds(before)})
			}
		}
	}
	if k := plan.Twice(d.bringer(h), late); k >= 0 {
		return runs[k]
	}
	return -1
}

// window is how much may be asked for ahead: little, so that no holder is left with much when the others are done, but
// enough for some round trips; and not much before anything came.
func (d *Download) window(h *holder) core.Size {
	bytes := core.Size(float64(d.speed(h)) * (0.4 + 3*h.roundTrip()))
	if h.pace.took == 0 {
		bytes = min(bytes, unproven)
	}
	return bytes
}

// roundTrip is how many seconds an answer takes on its way.
func (h *holder) roundTrip() float64 { return 2 * h.reach.Delay.Seconds() }

// speed is how many stored bytes come in a second: what was agreed to or said, at most what does come, and less and
// less while nothing comes that is due.
func (d *Download) speed(h *holder) core.Rate {
	rate := h.Rate.Payload()
	if h.pace.took > 0 {
		rate = min(rate, max(1, core.Rate(h.pace.bytes/h.pace.took)))
	}
	if len(h.asked) == 0 {
		return rate
	}
	mean, waited := d.queued(h)/core.Size(len(h.asked)), (d.now - h.pace.since).Seconds()
	if waited > 0.5+2*(h.roundTrip()+rate.Seconds(mean)) {
		rate = max(1, min(rate, core.Rate(float64(mean)/waited)))
	}
	return rate
}

// queued is what a holder was asked for and has not brought.
func (d *Download) queued(h *holder) (bytes core.Size) {
	for _, a := range h.asked {
		bytes += d.runs[a.run].size
	}
	return bytes
}

// able reports whether a holder could be asked now or soon.
func (d *Download) able(h *holder) bool {
	return h.Lost == "" && d.now >= h.after && h.reach.State != task.Waiting
}

func (d *Download) bringer(h *holder) plan.Bringer {
	return plan.Bringer{Rate: d.speed(h), Queued: d.queued(h), Delay: h.roundTrip()}
}

// end ends the download when every run is there or given up, or what is left could be had from nobody for a while.
func (d *Download) end() (a DownloadAction, ok bool) {
	if d.stale {
		d.orphans, d.stale = d.lonely(), false
	}
	left := d.orphans
	switch {
	case len(left) == 0 && d.open == 0:
	case len(left) == 0:
		d.orphaned = -1
		return a, false
	case d.orphaned < 0:
		d.orphaned = d.now
		return a, false
	case len(left) < d.open || d.now-d.orphaned <= OrphanPatience:
		return a, false
	}
	d.ended = true
	return DownloadAction{Kind: DownloadEnd, Left: left, Wrong: d.wrong}, true
}

// lonely looks for orphans.
func (d *Download) lonely() (left []int) {
	for _, run := range d.pending {
		if !slices.ContainsFunc(d.runs[run].holders, func(id core.ID) bool { return d.byID[id].Lost == "" }) {
			left = append(left, run)
		}
	}
	return left
}

// lose gives a holder up that was not.
func (d *Download) lose(h *holder, format string, args ...any) DownloadAction {
	h.Lost, d.stale = fmt.Sprintf(format, args...), true
	return DownloadAction{Kind: DownloadLose, Holder: h.id, Reason: h.Lost}
}

func (d *Download) loseSoon(h *holder, format string, args ...any) {
	if h.Lost == "" {
		d.decided = append(d.decided, d.lose(h, format, args...))
	}
}

// Agreed says that a holder granted a lease of this rate, and which of the runs that it was asked for it does not have.
// Those, and whatever else is not granted, come Back.
func (d *Download) Agreed(id core.ID, rate core.Rate, missing []int) {
	d.byID[id].Rate = rate
	d.misses(d.byID[id], missing)
}

// Refused says that a holder granted nothing, and which of the runs that it was asked for it does not have. What it was
// asked for comes Back.
func (d *Download) Refused(id core.ID, code core.Reason, reason string, missing []int) {
	h := d.byID[id]
	d.misses(h, missing)
	if code == core.ReasonRights {
		d.loseSoon(h, "it refused: %s", reason)
	}
}

// misses takes a holder off runs that it does not have after all.
func (d *Download) misses(h *holder, numbers []int) {
	for _, a := range h.asked {
		if slices.Contains(numbers, a.number) {
			d.without(a.run, h.id)
		}
	}
}

func (d *Download) without(run int, id core.ID) {
	r := &d.runs[run]
	r.holders = slices.DeleteFunc(slices.Clone(r.holders), func(h core.ID) bool { return h == id })
	d.stale = true
}

// Begun says that a run of a holder's flow begins to arrive.
func (d *Download) Begun(id core.ID, number int) {
	h := d.byID[id]
	if i := h.find(number); i >= 0 {
		h.asked[i].begun = true
		d.stop(h, h.asked[i].run)
	}
}

// stop stops a run at a holder that another brought. One that has not begun there is stopped when it does.
func (d *Download) stop(h *holder, run int) {
	i := slices.IndexFunc(h.asked, func(a askedRun) bool { return a.run == run })
	if i < 0 || !h.asked[i].begun || !d.runs[run].done {
		return
	}
	d.decided = append(d.decided, DownloadAction{Kind: DownloadStop, Holder: h.id, Number: h.asked[i].number})
	h.asked = slices.Delete(h.asked, i, i+1)
	d.runs[run].asked--
}

// Came says that a run of a holder's flow is here, whole.
func (d *Download) Came(now time.Duration, id core.ID, number int) {
	h := d.byID[id]
	i := h.find(number)
	if i < 0 {
		return
	}
	run := h.asked[i].run
	r := &d.runs[run]
	h.asked = slices.Delete(h.asked, i, i+1)
	h.pace.came(now, r.size)
	h.fails, h.waits = 0, 0
	r.asked--
	if r.done {
		return
	}
	r.done = true
	d.open--
	h.Got += r.size
	for _, other := range d.holders {
		if r.asked > 0 && other != h {
			d.stop(other, run)
		}
	}
}

// came notes that a run came.
func (p *pace) came(now time.Duration, size core.Size) {
	if !p.idle {
		p.bytes, p.took = 0.8*p.bytes+float64(size), 0.8*p.took+(now-p.since).Seconds()
	}
	p.since, p.idle = now, false
}

// Back says that runs of a holder's flow will not come this way, and why: core.ReasonCorrupt where its bytes are wrong.
func (d *Download) Back(id core.ID, numbers []int, reason core.Reason) {
	h := d.byID[id]
	var back []int
	for _, number := range numbers {
		i := h.find(number)
		if i < 0 {
			continue
		}
		run := h.asked[i].run
		h.asked = slices.Delete(h.asked, i, i+1)
		if reason == core.ReasonCorrupt && !d.judges {
			d.without(run, id)
		}
		r := &d.runs[run]
		if r.asked--; r.asked == 0 && !r.done {
			back = append(back, run)
		}
	}
	if reason == core.ReasonCorrupt && d.judges {
		d.wrong = append(d.wrong, back...)
		d.open -= len(back)
		return
	}
	d.pending = append(back, d.pending...)
	d.stale = true
	if reason == core.ReasonCorrupt {
		if h.wrong++; h.wrong > downloadWrong {
			d.loseSoon(h, "it sent bytes that do not match their hash, %d times", h.wrong)
		}
	}
}

// Ended says that a holder's flow ended, after what it was asked for came Back; connected, whether the holder is there
// still.
func (d *Download) Ended(now time.Duration, id core.ID, reason core.Reason, connected bool) {
	h := d.byID[id]
	h.fails++
	h.after = now + time.Duration(h.fails)*downloadPause
	switch {
	case !connected:
		h.Away = h.Away || h.Lost == ""
		d.loseSoon(h, "it went away")
	case h.fails >= downloadFails:
		d.loseSoon(h, "it failed %d times in a row, last: %s", h.fails, reason)
	}
}

func (h *holder) find(number int) int {
	return slices.IndexFunc(h.asked, func(a askedRun) bool { return a.number == number })
}
