// SPDX-License-Identifier: Apache-2.0

package spread

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/scenariotest"
	"github.com/bkp-tool/bkp/core/task"
	"pgregory.net/rapid"
)

// TestDownloads reads testdata/download-*.txt: lines that say what happens, then ---- and what the download does, to
// the next empty line. The words:
//
//	down RATE                             this node's downlink
//	holder NAME [RATE] [link=RATE] [delay=SPAN] [away]     RATE is what it says that it can send
//	runs 4x1MiB b,c                       wanted runs, and who has them; they are numbered from 0 on
//	start [judging]                       the download begins
//	agree NAME RATE [without RUN,…]       it grants what it was asked for, but runs that it misses
//	refuse NAME busy|unknown|rights [RUN,…]
//	begin|came|wrong NAME RUN             a run begins to arrive, is there, or has wrong bytes
//	abort NAME     away NAME     back NAME     wait SPAN
//	asked                                 prints who was asked for what and has not brought it
func TestDownloads(t *testing.T) {
	scenariotest.Each(t, "testdata/download-*.txt", func(t *testing.T, file string) {
		w := newDownloadWorld()
		scenariotest.Play(t, file, w.line, func() string { defer w.did.Reset(); return w.did.String() })
	})
}

// downloadWorld drives a Download by real flows over made-up holders, whose far ends the test plays.
type downloadWorld struct {
	d      *Download
	now    time.Duration
	down   core.Rate
	all    []*farHolder
	wanted []Wanted
	heard  map[core.ID]Standing
	did    strings.Builder
	over   *DownloadAction
	before func(a DownloadAction) // sees every action before it is carried out
}

type farHolder struct {
	name  string
	id    core.ID
	away  bool
	link  core.Rate
	delay time.Duration
	flow  *task.Flow
	due   time.Duration // when its flow stops waiting
}

func newDownloadWorld() *downloadWorld {
	return &downloadWorld{down: 1 << 30, heard: map[core.ID]Standing{}}
}

func (w *downloadWorld) holder(name string) *farHolder {
	i := slices.IndexFunc(w.all, func(h *farHolder) bool { return h.name == name })
	return w.all[i]
}

func (w *downloadWorld) of(id core.ID) *farHolder {
	i := slices.IndexFunc(w.all, func(h *farHolder) bool { return h.id == id })
	return w.all[i]
}

func (w *downloadWorld) add(name string, link core.Rate) *farHolder {
	h := &farHolder{name: name, id: core.ID{byte(len(w.all) + 1)}, link: link}
	w.all = append(w.all, h)
	return h
}

func (w *downloadWorld) want(sizes []core.Size, holders []core.ID) {
	for _, size := range sizes {
		run := core.Run{Chunks: []core.Chunk{{Size: size}}}
		w.wanted = append(w.wanted, Wanted{Run: run, Needed: core.FullBitmap(1), Holders: holders})
	}
}

func (w *downloadWorld) start(judging bool) {
	w.d = NewDownload(w.wanted, w.heard, judging)
	w.drain()
}

// Holder makes the world Holders.
func (w *downloadWorld) Holder(id core.ID) Reach {
	h := w.of(id)
	r := Reach{Connected: !h.away, Capacity: !h.away, Delay: h.delay, Nominal: min(w.down, h.link)}
	r.Free = min(w.Down(), h.link)
	if h.flow != nil {
		r.State, r.Rate = h.flow.State, h.flow.Rate
		r.Free = min(w.Down(), h.link-h.flow.Rate)
	}
	return r
}

func (w *downloadWorld) Down() core.Rate {
	free := w.down
	for _, h := range w.all {
		if h.flow != nil {
			free -= h.flow.Rate
		}
	}
	return free
}

// drain carries out what the download decides.
func (w *downloadWorld) drain() {
	for {
		a, ok := w.d.Next(w.now, w)
		if !ok {
			return
		}
		if w.before != nil {
			w.before(a)
		}
		switch a.Kind {
		case DownloadEnd:
			w.over = &a
			fmt.Fprintf(&w.did, "end: left %v, wrong %v\n", a.Left, a.Wrong)
			continue
		case DownloadLose:
			fmt.Fprintf(&w.did, "lose %s: %s\n", w.of(a.Holder).name, a.Reason)
			continue
		case DownloadStop:
			fmt.Fprintf(&w.did, "stop %s: number %d\n", w.of(a.Holder).name, a.Number)
			w.step(w.of(a.Holder), task.Event{Kind: task.RunFailed, Run: a.Number, Reason: core.ReasonHave})
			continue
		}
		h := w.of(a.Holder)
		fmt.Fprintf(&w.did, "ask %s at %s:", h.name, a.Rate)
		for _, r := range a.Runs {
			fmt.Fprintf(&w.did, " %d", w.runOf(h, r.Number))
		}
		fmt.Fprintln(&w.did)
		if h.flow == nil {
			h.flow = task.NewFlow(1, task.Asker, false)
		}
		w.step(h, task.Event{Kind: task.Ask, Runs: a.Runs, Rate: a.Rate})
	}
}

// runOf is the run that a number in a holder's flow stands for; -1 where it is asked for no more.
func (w *downloadWorld) runOf(h *farHolder, number int) int {
	for n, run := range w.d.Asked(h.id) {
		if n == number {
			return run
		}
	}
	return -1
}

// numberOf is the other r round.
func (w *downloadWorld) numberOf(h *farHolder, run int) int {
	for number, r := range w.d.Asked(h.id) {
		if r == run {
			return number
		}
	}
	return -1
}

// step moves a holder's flow and tells the download what comes of it.
func (w *downloadWorld) step(h *farHolder, e task.Event) {
	e.Now = w.now
	actions, err := h.flow.Step(e)
	if err != nil {
		panic(err)
	}
	for _, a := range actions {
		switch a.Kind {
		case task.DoRequeue:
			var numbers []int
			for _, r := range a.Runs {
				numbers = append(numbers, r.Number)
			}
			w.d.Back(h.id, numbers, e.Reason)
		case task.DoRetry:
			h.due = a.At
		}
	}
	if h.flow.State == task.Closed {
		reason := h.flow.Reason
		h.flow = nil
		w.d.Ended(w.now, h.id, reason, !h.away)
	}
}

// applied is what a holder's flow was asked for and has not been answered.
func (w *downloadWorld) applied(h *farHolder) (runs []task.Run) {
	open := h.flow.Open()
	for number, run := range w.d.Asked(h.id) {
		if !slices.ContainsFunc(open, func(r task.Run) bool { return r.Number == number }) {
			runs = append(runs, task.Run{Number: number, Size: w.wanted[run].Bytes()})
		}
	}
	return runs
}

func (w *downloadWorld) agree(h *farHolder, rate core.Rate, missing []int) {
	runs := w.applied(h)
	w.d.Agreed(h.id, rate, missing)
	runs = slices.DeleteFunc(runs, func(r task.Run) bool { return slices.Contains(missing, r.Number) })
	w.step(h, task.Event{Kind: task.Agreed, Lease: 7, Rate: rate, Runs: runs, Term: time.Minute})
}

func (w *downloadWorld) refuse(h *farHolder, reason core.Reason, missing []int) {
	w.d.Refused(h.id, reason, "no", missing)
	w.step(h, task.Event{Kind: task.Refused, Reason: reason})
}

func (w *downloadWorld) begin(h *farHolder, number int) {
	w.d.Begun(h.id, number)
	w.step(h, task.Event{Kind: task.Begun, Run: number})
}

func (w *downloadWorld) came(h *farHolder, number int) {
	w.step(h, task.Event{Kind: task.Received, Run: number})
	w.d.Came(w.now, h.id, number)
}

// pass lets time pass, and what is due happen.
func (w *downloadWorld) pass(span time.Duration) {
	w.now += span
	for _, h := range w.all {
		if h.flow == nil {
			continue
		}
		if h.flow.Holds() && h.flow.Expires <= w.now {
			w.step(h, task.Event{Kind: task.Expired})
		} else if h.flow.State == task.Waiting && h.due <= w.now {
			w.step(h, task.Event{Kind: task.Due})
		}
	}
	w.drain()
}

// line carries out one line of a scenario.
func (w *downloadWorld) line(f []string) (err error) {
	size := func(s string) core.Size {
		n, e := core.ParseSize(s)
		err = cmp.Or(err, e)
		return n
	}
	span := func(s string) time.Duration {
		d, e := time.ParseDuration(s)
		err = cmp.Or(err, e)
		return d
	}
	runs := func(h *farHolder, list string) (numbers []int) {
		for _, s := range strings.Split(list, ",") {
			run, e := strconv.Atoi(s)
			err = cmp.Or(err, e)
			numbers = append(numbers, w.numberOf(h, run))
		}
		return numbers
	}
	switch f[0] {
	case "down":
		w.down = core.Rate(size(f[1]))
		return err
	case "holder":
		h := w.add(f[1], 1<<30)
		for _, s := range f[2:] {
			word, value, _ := strings.Cut(s, "=")
			switch word {
			case "link":
				h.link = core.Rate(size(value))
			case "delay":
				h.delay = span(value)
			case "away":
				h.away = true
			default:
				w.heard[h.id] = Standing{Rate: core.Rate(size(s))}
			}
		}
		return err
	case "runs":
		times, bytes, _ := strings.Cut(f[1], "x")
		count, e := strconv.Atoi(times)
		var holders []core.ID
		for _, name := range strings.Split(f[2], ",") {
			holders = append(holders, w.holder(name).id)
		}
		w.want(slices.Repeat([]core.Size{size(bytes)}, count), holders)
		return cmp.Or(err, e)
	case "start":
		w.start(len(f) > 1)
		return nil
	case "wait":
		w.pass(span(f[1]))
		return err
	case "asked":
		for _, h := range w.all {
			var runs []int
			for _, run := range w.d.Asked(h.id) {
				runs = append(runs, run)
			}
			fmt.Fprintf(&w.did, "%s %v\n", h.name, runs)
		}
		return nil
	}
	h := w.holder(f[1])
	switch f[0] {
	case "agree":
		var missing []int
		if len(f) > 3 {
			missing = runs(h, f[4])
		}
		w.agree(h, core.Rate(size(f[2])), missing)
	case "refuse":
		var missing []int
		if len(f) > 3 {
			missing = runs(h, f[3])
		}
		w.refuse(h, map[string]core.Reason{"busy": core.ReasonBusy, "unknown": core.ReasonUnknown,
			"rights": core.ReasonRights}[f[2]], missing)
	case "begin":
		w.begin(h, runs(h, f[2])[0])
	case "came":
		w.came(h, runs(h, f[2])[0])
	case "wrong":
		w.step(h, task.Event{Kind: task.RunFailed, Run: runs(h, f[2])[0], Reason: core.ReasonCorrupt})
	case "abort":
		w.step(h, task.Event{Kind: task.Aborted, Reason: core.ReasonStopped})
	case "away":
		h.away = true
		if h.flow != nil {
			w.step(h, task.Event{Kind: task.Lost})
		}
	case "back":
		h.away = false
	default:
		return fmt.Errorf("no word %q", f[0])
	}
	w.drain()
	return err
}

// TestDownloadProperties has holders agree, refuse, lie, send, break off, go and come back in any order, and then all
// that are there behave. Every run that one of them has is brought, once; nothing is asked of more than two at a time,
// and nobody is asked for more than fits the window.
func TestDownloadProperties(t *testing.T) { rapid.Check(t, checkDownload) }

func checkDownload(t *rapid.T) {
	w := newDownloadWorld()
	for i := range rapid.IntRange(1, 4).Draw(t, "holders") {
		h := w.add(string(rune('b'+i)), core.Rate(rapid.IntRange(1, 20).Draw(t, "link"))*core.Rate(core.MiB))
		h.delay = time.Duration(rapid.IntRange(0, 40).Draw(t, "delay")) * time.Millisecond
		if rapid.Bool().Draw(t, "heard") {
			w.heard[h.id] = Standing{Rate: h.link}
		}
		if rapid.IntRange(0, 9).Draw(t, "lost before") == 0 {
			w.heard[h.id] = Standing{Lost: "before", Away: rapid.Bool().Draw(t, "away then")}
		}
	}
	for range rapid.IntRange(1, 90).Draw(t, "runs") {
		var holders []core.ID
		for _, h := range w.all {
			if rapid.Bool().Draw(t, "has") {
				holders = append(holders, h.id)
			}
		}
		size := core.Size(rapid.IntRange(1, 4096).Draw(t, "size")) * core.KiB
		w.want([]core.Size{size}, holders)
	}
	w.before = func(a DownloadAction) {
		checkCounts(t, w.d)
		if a.Kind == DownloadAsk {
			checkAsk(t, w, a)
		}
	}
	w.start(false)
	for range rapid.IntRange(0, 60).Draw(t, "events") {
		h := w.all[rapid.IntRange(0, len(w.all)-1).Draw(t, "who")]
		meet(t, w, h)
		w.drain()
		checkCounts(t, w.d)
	}
	for range 10_000 {
		if w.over != nil {
			break
		}
		for _, h := range w.all {
			behave(w, h)
			w.drain()
		}
		w.pass(100 * time.Millisecond)
	}
	checkEnd(t, w)
}

// meet has something happen to a holder, if it can.
func meet(t *rapid.T, w *downloadWorld, h *farHolder) {
	what := rapid.SampledFrom([]string{"agree", "agree", "refuse", "begin", "came", "came", "came", "wrong", "abort",
		"away", "back", "wait"}).Draw(t, "what")
	asks := h.flow != nil && (h.flow.State == task.Asking || h.flow.State == task.Renewing)
	open := []task.Run(nil)
	if h.flow != nil {
		open = h.flow.Open()
	}
	pick := func() int { return open[rapid.IntRange(0, len(open)-1).Draw(t, "run")].Number }
	switch {
	case what == "agree" && asks:
		var missing []int
		for _, r := range w.applied(h) {
			if rapid.IntRange(0, 19).Draw(t, "misses") == 0 {
				missing = append(missing, r.Number)
			}
		}
		w.agree(h, max(1, h.flow.Rate/core.Rate(rapid.IntRange(1, 4).Draw(t, "less"))), missing)
	case what == "refuse" && asks:
		w.refuse(h, rapid.SampledFrom([]core.Reason{core.ReasonBusy, core.ReasonUnknown}).Draw(t, "why"), nil)
	case what == "begin" && len(open) > 0:
		w.begin(h, pick())
	case what == "came" && len(open) > 0:
		deliver(w, h, pick())
	case what == "wrong" && len(open) > 0:
		w.step(h, task.Event{Kind: task.RunFailed, Run: pick(), Reason: core.ReasonCorrupt})
	case what == "abort" && h.flow != nil:
		w.step(h, task.Event{Kind: task.Aborted, Reason: core.ReasonStopped})
	case what == "away" && !h.away:
		h.away = true
		if h.flow != nil {
			w.step(h, task.Event{Kind: task.Lost})
		}
	case what == "back":
		h.away = false
	case what == "wait":
		w.pass(time.Duration(rapid.IntRange(1, 3000).Draw(t, "ms")) * time.Millisecond)
	}
}

// deliver has a run of a holder arrive.
func deliver(w *downloadWorld, h *farHolder, number int) {
	w.begin(h, number)
	w.drain() // it may be stopped
	if h.flow != nil && slices.ContainsFunc(h.flow.Open(), func(r task.Run) bool { return r.Number == number }) {
		w.came(h, number)
	}
}

// behave has a holder do what it should.
func behave(w *downloadWorld, h *farHolder) {
	switch {
	case h.away || h.flow == nil:
	case h.flow.State == task.Asking || h.flow.State == task.Renewing:
		w.agree(h, h.flow.Rate, nil)
	case len(h.flow.Open()) > 0:
		deliver(w, h, h.flow.Open()[0].Number)
	}
}

// checkCounts holds what a download counts against a recount.
func checkCounts(t *rapid.T, d *Download) {
	asked, open := make([]int, len(d.runs)), 0
	for _, h := range d.holders {
		for _, a := range h.asked {
			asked[a.run]++
		}
	}
	for run, r := range d.runs {
		if r.asked != asked[run] || asked[run] > 2 {
			t.Fatalf("run %d counts as asked of %d and is asked of %d", run, r.asked, asked[run])
		}
		waits := slices.Contains(d.pending, run)
		if waits != (!r.done && asked[run] == 0) {
			t.Fatalf("run %d: done %v, asked of %d, waits %v", run, r.done, asked[run], waits)
		}
		if !r.done {
			open++
		}
	}
	if open != d.open {
		t.Fatalf("%d runs are not there, and %d count so", open, d.open)
	}
	if orphans := d.lonely(); !d.stale && !slices.Equal(orphans, d.orphans) {
		t.Fatalf("%v are orphans, and %v count so", orphans, d.orphans)
	}
}

// checkAsk is a slow twin of the choice: it looks at every run that the holder may be asked for, in the order in which
// they wait, as it was before; a holds the answer.
func checkAsk(t *rapid.T, w *downloadWorld, a DownloadAction) {
	d, h := w.d, w.d.byID[a.Holder]
	var chosen []int
	for _, r := range a.Runs {
		chosen = append(chosen, w.runOf(w.of(a.Holder), r.Number))
	}
	var bytes, ahead core.Size
	for i, run := range chosen {
		if !slices.Contains(w.wanted[run].Holders, h.id) {
			t.Fatalf("%x is asked for run %d, which it does not have", h.id[0], run)
		}
		if i > 0 {
			bytes += d.runs[run].size
		}
	}
	for _, was := range h.asked {
		if !slices.ContainsFunc(a.Runs, func(r task.Run) bool { return r.Number == was.number }) {
			ahead += d.runs[was.run].size
		}
	}
	if len(h.asked) == len(a.Runs) && h.pace.since != d.now {
		t.Fatalf("it had nothing to bring, and counts as late since %v", h.pace.since)
	}
	first := d.runs[chosen[0]].size
	if window := windowBefore(d, h, a); len(chosen) > 1 && ahead+first+bytes > window {
		t.Fatalf("%d bytes are asked for, %d before, the window is %d", first+bytes, ahead, window)
	}
	twice := slices.ContainsFunc(chosen, func(run int) bool { return d.runs[run].asked > 1 })
	if twice && len(chosen) > 1 {
		t.Fatalf("runs %v are asked for again, together", chosen)
	}
	if twice { // only where nothing waits that it has
		for _, run := range d.pending {
			if slices.Contains(d.runs[run].holders, h.id) {
				t.Fatalf("run %d is asked for again while %d waits", chosen[0], run)
			}
		}
		return
	}
	if len(d.pending)+len(chosen) > endGame { // the first that wait, none left out that fits
		next := slices.IndexFunc(d.pending, func(run int) bool { return slices.Contains(d.runs[run].holders, h.id) })
		if next >= 0 && ahead+first+bytes+d.runs[d.pending[next]].size <= windowBefore(d, h, a) {
			t.Fatalf("run %d fits too", d.pending[next])
		}
	}
}

// windowBefore is the window of a holder as it was before it was asked.
func windowBefore(d *Download, h *holder, a DownloadAction) core.Size {
	before := *h
	before.asked = slices.DeleteFunc(slices.Clone(h.asked), func(was askedRun) bool {
		return slices.ContainsFunc(a.Runs, func(r task.Run) bool { return r.Number == was.number })
	})
	return d.window(&before)
}

// checkEnd holds the end against what the holders could give.
func checkEnd(t *rapid.T, w *downloadWorld) {
	if w.over == nil {
		t.Fatalf("it does not end: %d runs are open", w.d.open)
	}
	var got, want core.Size
	for run, r := range w.d.runs {
		reachable := slices.ContainsFunc(r.holders, func(id core.ID) bool { return w.d.byID[id].Lost == "" })
		if reachable && !r.done {
			t.Fatalf("run %d is at a holder that is there, and was not brought", run)
		}
		if r.done == slices.Contains(w.over.Left, run) {
			t.Fatalf("run %d: done %v, left %v", run, r.done, w.over.Left)
		}
		if r.done {
			want += r.size
		}
	}
	for _, s := range w.d.Standings() {
		got += s.Got
	}
	if got != want {
		t.Fatalf("runs of %d bytes are there, and count as %d", want, got)
	}
}

// TestWrongTooOften gives a holder up that has wrong bytes 65 times, though it has runs that are right.
func TestWrongTooOften(t *testing.T) {
	w := newDownloadWorld()
	b := w.add("b", 10<<20)
	w.want(slices.Repeat([]core.Size{core.MiB}, 70), []core.ID{b.id})
	w.start(false)
	for n := range 65 {
		if w.d.Standings()[b.id].Lost != "" {
			t.Fatalf("it is lost after %d times", n)
		}
		for b.flow.State != task.Leased {
			w.agree(b, b.flow.Rate, nil)
			w.drain()
		}
		w.step(b, task.Event{Kind: task.RunFailed, Run: b.flow.Open()[0].Number, Reason: core.ReasonCorrupt})
		w.drain()
	}
	if lost := w.d.Standings()[b.id].Lost; !strings.Contains(lost, "65 times") {
		t.Errorf("it is lost since %q", lost)
	}
}

// TestDownloadSharesByRate has two holders deliver at their own pace: the one that is four times as fast brings four
// times as much, and neither is waited for at the end.
func TestDownloadSharesByRate(t *testing.T) {
	w := newDownloadWorld()
	w.down = 100 << 20
	rates := []core.Rate{40 << 20, 10 << 20}
	for i, rate := range rates {
		h := w.add(string(rune('b'+i)), rate)
		w.heard[h.id] = Standing{Rate: rate}
	}
	w.want(slices.Repeat([]core.Size{core.MiB}, 200), []core.ID{{1}, {2}})
	w.start(false)
	sent := make([]core.Size, len(rates))
	const step = 5 * time.Millisecond
	for w.over == nil {
		w.pass(step)
		for i, h := range w.all {
			if h.flow != nil && (h.flow.State == task.Asking || h.flow.State == task.Renewing) {
				w.agree(h, h.flow.Rate, nil)
			}
			if h.flow == nil || len(h.flow.Open()) == 0 {
				sent[i] = 0
				continue
			}
			sent[i] += core.Size(float64(rates[i].Payload()) * step.Seconds())
			if next := h.flow.Open()[0]; sent[i] >= next.Size {
				sent[i] -= next.Size
				deliver(w, h, next.Number)
			}
		}
		w.drain()
		if w.now > time.Minute {
			t.Fatal("it does not end")
		}
	}
	least := (50 << 20 * core.Rate(1)).Payload().Seconds(200 * core.MiB)
	if took := w.now.Seconds(); took > 1.1*least {
		t.Errorf("it took %.2f s, the least is %.2f s", took, least)
	}
	s := w.d.Standings()
	if fast, slow := s[core.ID{1}].Got, s[core.ID{2}].Got; fast < 3*slow || fast > 5*slow {
		t.Errorf("the fast holder brought %s and the slow one %s", fast, slow)
	}
}

// BenchmarkDownload is the cost of a run, from the choice to its arrival, where many are wanted: each at one of eight
// holders, as a verification asks, or at all.
func BenchmarkDownload(b *testing.B) {
	for name, each := range map[string]int{"at-one": 1, "at-all": 8} {
		b.Run(name, func(b *testing.B) {
			w := newDownloadWorld()
			for i := range 8 {
				h := w.add(string(rune('b'+i)), 100<<20)
				w.heard[h.id] = Standing{Rate: h.link}
			}
			for i := range b.N {
				var holders []core.ID
				for j := range each {
					holders = append(holders, w.all[(i+j)%8].id)
				}
				w.want([]core.Size{core.MiB}, holders)
			}
			w.did.Grow(64 * b.N)
			b.ResetTimer()
			w.start(false)
			for w.over == nil {
				for _, h := range w.all {
					behave(w, h)
					w.drain()
				}
				w.now += time.Millisecond
			}
		})
	}
}
