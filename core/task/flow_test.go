// SPDX-License-Identifier: Apache-2.0

package task

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/account"
	"pgregory.net/rapid"
)

// shell carries out the actions of a flow on a real book, and counts.
type shell struct {
	*Flow
	book        *account.Book
	others      core.Rate // leased to other flows
	holds       int
	backs       int
	sent        []Action
	requeued    []Run
	unprocessed []Action // for the other end
}

// others is the ID of a lease that is not the flow's.
const others = 1 << 40

func newShell(f *Flow) *shell {
	s := &shell{Flow: f, book: account.New()}
	s.book.SetCapacity("side", 100)
	return s
}

func (s *shell) free() core.Rate { return s.book.Free("side") }

func (s *shell) step(e Event) error {
	actions, err := s.Flow.Step(e)
	for _, a := range actions {
		var failed error
		switch a.Kind {
		case DoHold:
			s.holds++
			failed = s.book.Reserve(e.Now, account.Lease{ID: uint64(s.holds), Accounts: []string{"side"}, Rate: a.Rate,
				Expires: a.At})
		case DoAdjust:
			failed = s.book.Adjust(uint64(s.holds), a.Rate)
		case DoExtend:
			failed = s.book.Renew(uint64(s.holds), a.At)
		case DoGiveBack:
			s.backs++
			if !s.book.GiveBack(uint64(s.holds)) {
				failed = fmt.Errorf("nothing to give back")
			}
		case DoRequeue:
			s.requeued = append(s.requeued, a.Runs...)
		case SendApply, SendAgree, SendRefuse, SendBegin, SendComplete, SendAbort, SendRevise:
			s.sent = append(s.sent, a)
			s.unprocessed = append(s.unprocessed, a)
		}
		if failed != nil {
			panic(fmt.Sprintf("%s: %v", a.Kind, failed))
		}
	}
	return err
}

// settled returns an error unless the flow and its book agree about what is held.
func (s *shell) settled() error {
	held := s.holds - s.backs
	switch {
	case held != 0 && held != 1 || (held == 1) != s.Holds():
		return fmt.Errorf("%s after %d holds and %d given back", s.State, s.holds, s.backs)
	case 100-s.free()-s.others != s.Rate:
		return fmt.Errorf("the flow says it holds %d, the book %d", s.Rate, 100-s.free()-s.others)
	}
	return s.book.Check()
}

// TestEveryLeaseComesBackOnce lets any event happen to one end, whether it makes sense or not, in any order.
func TestEveryLeaseComesBackOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newShell(NewFlow(1, rapid.SampledFrom([]End{Asker, Grantor}).Draw(t, "end"),
			rapid.Bool().Draw(t, "sends")))
		now := time.Duration(0)
		for range rapid.IntRange(1, 60).Draw(t, "events") {
			now += time.Duration(rapid.IntRange(0, 5).Draw(t, "seconds")) * time.Second
			e := Event{Kind: EventKind(rapid.IntRange(0, int(events)-1).Draw(t, "kind")), Now: now, Nominal: 100,
				Run: rapid.IntRange(0, 5).Draw(t, "run"), Rate: core.Rate(rapid.IntRange(-1, 100).Draw(t, "rate")),
				Reason: rapid.SampledFrom([]core.Reason{0, core.ReasonBusy, core.ReasonHave, core.ReasonSpace}).Draw(t,
					"reason")}
			for _, n := range rapid.SliceOfNDistinct(rapid.IntRange(0, 5), 0, 4, rapid.ID[int]).Draw(t, "runs") {
				e.Runs = append(e.Runs, Run{n, core.MiB})
			}
			if e.Free = s.free(); e.Kind == Ask {
				e.Rate = min(e.Rate, s.free()+s.Rate) // as a shell does: it asks for what is free
			}
			if e.Kind == Scaled {
				if e.Rate = max(0, min(e.Rate, s.Rate)); s.Holds() && e.Rate > 0 {
					if err := s.book.Adjust(uint64(s.holds), e.Rate); err != nil {
						t.Fatal(err)
					}
				}
			}
			s.step(e)
			if err := s.settled(); err != nil {
				t.Fatalf("after %s: %v", e.Kind, err)
			}
		}
		s.step(Event{Kind: Lost, Now: now})
		if s.holds != s.backs || s.State != Closed || s.free() != 100 {
			t.Fatalf("at rest: %d holds, %d given back, %s", s.holds, s.backs, s.State)
		}
	})
}

// deliver turns a message of one end into the event that the other end's shell makes of it.
func deliver(a Action, now time.Duration, to *shell, lease uint64) Event {
	e := Event{Now: now, Runs: a.Runs, Run: a.Run, Rate: a.Rate, Lease: a.Lease, Reason: a.Reason, Retry: a.Retry,
		Free: to.free(), Nominal: 100}
	switch a.Kind {
	case SendApply:
		e.Kind, e.Lease = Applied, lease
	case SendAgree:
		e.Kind, e.Term = Agreed, a.At-now
	case SendRefuse:
		e.Kind = Refused
	case SendBegin:
		e.Kind = Begun
	case SendComplete:
		e.Kind = Received
	case SendRevise:
		e.Kind = Revised
	case SendAbort:
		if e.Kind = Aborted; a.Run != NoRun {
			e.Kind = RunAborted
		}
	}
	return e
}

// TestTwoEndsAgree connects two ends in order and lets time, failures and messages take turns. No end ever breaks the
// protocol in the other's eyes, each run is received or queued again, and once the messages are through both hold
// nothing or both do.
func TestTwoEndsAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		askerSends := rapid.Bool().Draw(t, "asker sends")
		ends := [2]*shell{newShell(NewFlow(1, Asker, askerSends)), newShell(NewFlow(1, Grantor, !askerSends))}
		sender, receiver := ends[0], ends[1]
		if !askerSends {
			sender, receiver = ends[1], ends[0]
		}
		now, leases, next := time.Duration(0), uint64(0), 0
		asked := 0
		pass := func(from int) bool {
			if len(ends[from].unprocessed) == 0 {
				return false
			}
			a := ends[from].unprocessed[0]
			ends[from].unprocessed = ends[from].unprocessed[1:]
			leases++
			if err := ends[1-from].step(deliver(a, now, ends[1-from], leases)); err != nil {
				t.Fatalf("%s broke the protocol: %v", a.Kind, err)
			}
			return true
		}
		t.Repeat(map[string]func(*rapid.T){
			"message forth": func(t *rapid.T) { pass(0) },
			"message back":  func(t *rapid.T) { pass(1) },
			"ask": func(t *rapid.T) {
				if s := ends[0]; s.State == Idle || s.State == Leased {
					var runs []Run
					for range rapid.IntRange(0, 3).Draw(t, "runs") {
						runs = append(runs, Run{next, core.MiB})
						next++
					}
					asked += len(runs)
					rate := min(core.Rate(rapid.IntRange(1, 100).Draw(t, "rate")), s.free()+s.Rate)
					if len(runs) == 0 && (s.State == Idle || rate <= s.Rate) {
						return // it would ask for nothing
					}
					if err := s.step(Event{Kind: Ask, Now: now, Runs: runs, Rate: rate}); err != nil {
						t.Fatal(err)
					}
				}
			},
			"begin": func(t *rapid.T) {
				if runs := sender.Unbegun(); len(runs) > 0 {
					if err := sender.step(Event{Kind: Begun, Now: now, Run: runs[0].Number}); err != nil {
						t.Fatal(err)
					}
				}
			},
			"receive": func(t *rapid.T) {
				for _, r := range receiver.open {
					if r.begun {
						if err := receiver.step(Event{Kind: Received, Now: now, Run: r.Number}); err != nil {
							t.Fatal(err)
						}
						return
					}
				}
			},
			"run fails": func(t *rapid.T) {
				if runs := receiver.Open(); len(runs) > 0 && rapid.IntRange(0, 3).Draw(t, "fails") == 0 {
					receiver.step(Event{Kind: RunFailed, Now: now, Run: runs[0].Number, Reason: core.ReasonCorrupt})
				}
			},
			"time passes": func(t *rapid.T) {
				now += time.Duration(rapid.IntRange(0, 1500).Draw(t, "ms")) * time.Millisecond
				for _, s := range ends {
					if s.Holds() && s.Expires <= now {
						s.step(Event{Kind: Expired, Now: now})
					}
					s.step(Event{Kind: Due, Now: now})
				}
			},
			"others come and go": func(t *rapid.T) { // at the grantor, so that it refuses or grants less
				busy := core.Rate(rapid.IntRange(0, 100).Draw(t, "busy"))
				ends[1].book.GiveBack(others)
				if busy = min(busy, ends[1].free()); busy > 0 {
					ends[1].others = busy
					ends[1].book.Reserve(now, account.Lease{ID: others, Accounts: []string{"side"}, Rate: busy,
						Expires: time.Hour})
				} else {
					ends[1].others = 0
				}
			},
			"an account shrinks": func(t *rapid.T) {
				s := ends[rapid.IntRange(0, 1).Draw(t, "end")]
				if !s.Holds() {
					return
				}
				rate := core.Rate(rapid.IntRange(0, int(s.Rate)).Draw(t, "rate"))
				if rate > 0 {
					if err := s.book.Adjust(uint64(s.holds), rate); err != nil {
						t.Fatal(err)
					}
				}
				s.step(Event{Kind: Scaled, Now: now, Rate: rate})
			},
			"stop": func(t *rapid.T) {
				if rapid.IntRange(0, 9).Draw(t, "stops") == 0 {
					ends[rapid.IntRange(0, 1).Draw(t, "end")].step(Event{Kind: Stop, Now: now,
						Reason: core.ReasonStopped})
				}
			},
			"": func(t *rapid.T) {
				for _, s := range ends {
					if err := s.settled(); err != nil {
						t.Fatal(err)
					}
				}
			},
		})
		for pass(0) || pass(1) {
		}
		if ends[0].Holds() != ends[1].Holds() {
			t.Fatalf("nothing is on its way, and the ends are %s and %s", ends[0].State, ends[1].State)
		}
		if ends[0].Holds() && ends[0].Rate != ends[1].Rate {
			t.Fatalf("the ends hold %d and %d", ends[0].Rate, ends[1].Rate)
		}
		settled := len(ends[0].requeued) + ends[0].done.Count(next) + len(ends[0].open) + len(ends[0].asked)
		twice := 0 // a run that failed is queued again and settled
		for _, r := range ends[0].requeued {
			if ends[0].done.Has(r.Number) {
				twice++
			}
		}
		if settled-twice != asked {
			t.Fatalf("%d runs were asked for, %d are accounted for", asked, settled-twice)
		}
	})
}

// TestStories are the bad inputs of a flow, as a conversation: events of one end, and what it does.
func TestStories(t *testing.T) {
	two := []Run{{1, core.MiB}, {2, core.MiB}}
	applied := Event{Kind: Applied, Runs: two, Rate: 50, Free: 100, Nominal: 100, Lease: 9}
	agreed := Event{Kind: Agreed, Runs: two, Rate: 40, Lease: 9, Term: time.Minute}
	ask := Event{Kind: Ask, Runs: two, Rate: 50}
	for _, story := range []struct {
		name   string
		end    End
		sends  bool
		events []Event
		does   string // by the last event
		errs   bool
		state  State
	}{
		{"COMPLETE before BEGIN", Asker, true, []Event{ask, agreed, {Kind: Received, Run: 1}},
			"give-back requeue abort:2", true, Closed},
		{"the same APPLY again", Grantor, false, []Event{applied, applied}, "agree", false, Leased},
		{"COMPLETE after the lease expired", Asker, true, []Event{ask, agreed, {Kind: Begun, Run: 1}, {Kind: Expired},
			{Kind: Received, Run: 1}}, "abort:16", false, Closed},
		{"BEGIN after the lease expired", Grantor, false, []Event{applied, {Kind: Expired}, {Kind: Begun, Run: 1}},
			"abort:16", false, Closed},
		{"BEGIN without a grant", Grantor, false, []Event{{Kind: Begun, Run: 1}}, "abort:2", true, Closed},
		{"BEGIN of another run", Grantor, false, []Event{applied, {Kind: Begun, Run: 3}}, "give-back requeue abort:2",
			true, Closed},
		{"BEGIN twice", Grantor, false, []Event{applied, {Kind: Begun, Run: 1}, {Kind: Begun, Run: 1}}, "", false,
			Leased},
		{"COMPLETE twice", Asker, true, []Event{ask, agreed, {Kind: Begun, Run: 1}, {Kind: Received, Run: 1},
			{Kind: Received, Run: 1}}, "", false, Leased},
		{"a lease of 0 is asked for", Grantor, false, []Event{{Kind: Applied, Runs: two}}, "abort:2", true, Closed},
		{"a negative lease is asked for", Grantor, false, []Event{{Kind: Applied, Runs: two, Rate: -1}}, "abort:2",
			true, Closed},
		{"more than there is is asked for", Grantor, false, []Event{{Kind: Applied, Runs: two, Rate: 5000, Free: 100,
			Nominal: 100}}, "hold:100 agree", false, Leased},
		{"a lease of 0 is granted", Asker, true, []Event{ask, {Kind: Agreed, Runs: two}}, "give-back requeue abort:2",
			true, Closed},
		{"more is granted than asked", Asker, true, []Event{ask, {Kind: Agreed, Runs: two, Rate: 51}},
			"give-back requeue abort:2", true, Closed},
		{"another run is granted", Asker, true, []Event{ask, {Kind: Agreed, Runs: []Run{{3, 1}}, Rate: 50}},
			"give-back requeue abort:2", true, Closed},
		{"little is free", Grantor, false, []Event{{Kind: Applied, Runs: two, Rate: 50, Free: 9, Nominal: 100}},
			"refuse:10", false, Idle},
		{"enough is free", Grantor, false, []Event{{Kind: Applied, Runs: two, Rate: 50, Free: 10, Nominal: 100}},
			"hold:10 agree", false, Leased},
		{"the shell refuses", Grantor, false, []Event{{Kind: Applied, Runs: two, Rate: 50, Free: 100, Nominal: 100,
			Reason: core.ReasonSpace}}, "refuse:13", false, Idle},
		{"it has them all", Grantor, false, []Event{{Kind: Applied, Rate: 50, Free: 100, Nominal: 100}}, "refuse:11",
			false, Idle},
		{"some are there already", Asker, true, []Event{ask, {Kind: Agreed, Runs: two[:1], Have: []int{2}, Rate: 50}},
			"extend", false, Leased},
		{"one is granted, the other not", Asker, true, []Event{ask, {Kind: Agreed, Runs: two[:1], Rate: 50}},
			"requeue extend", false, Leased},
		{"all are there already", Asker, true, []Event{ask, {Kind: Refused, Reason: core.ReasonHave,
			Have: []int{1, 2}}}, "give-back", false, Idle},
		{"there is no room", Asker, true, []Event{ask, {Kind: Refused, Reason: core.ReasonSpace}}, "requeue give-back",
			false, Closed},
		{"nobody answers", Asker, true, []Event{ask, {Kind: Expired, Now: Hold}}, "give-back requeue abort:16", false,
			Closed},
		{"the answer comes too late", Asker, true, []Event{ask, {Kind: Expired, Now: Hold}, agreed}, "", false, Closed},
		{"a renewal meets a drained lease", Grantor, false, []Event{applied, {Kind: Begun, Run: 1},
			{Kind: Begun, Run: 2}, {Kind: Received, Run: 1},
			{Kind: Received, Run: 2}, {Kind: Applied, Runs: []Run{{3, 1}}, Rate: 50, Free: 100, Nominal: 100,
				Lease: 10}}, "hold:50 agree", false, Leased},
		{"more is asked for at the same runs", Asker, true, []Event{ask, agreed, {Kind: Ask, Rate: 80},
			{Kind: Agreed, Rate: 60, Lease: 9, Term: time.Minute}}, "adjust:60 extend", false, Leased},
		{"no more is free for the same runs", Asker, true, []Event{ask, agreed, {Kind: Ask, Rate: 80},
			{Kind: Refused, Reason: core.ReasonHave}}, "adjust:40", false, Leased},
		{"more is given to the same runs", Grantor, false, []Event{applied,
			{Kind: Applied, Rate: 80, Free: 50, Nominal: 100}}, "adjust:80 agree", false, Leased},
		{"no runs and no more", Asker, true, []Event{ask, agreed, {Kind: Ask, Rate: 40}}, "", true, Leased},
		{"a renewal for more is refused", Asker, true, []Event{ask, agreed, {Kind: Ask, Runs: []Run{{3, 1}}, Rate: 80},
			{Kind: Refused, Reason: core.ReasonBusy}},
			"requeue adjust:40", false, Leased},
		{"an account shrinks", Grantor, false, []Event{applied, {Kind: Scaled, Rate: 20}}, "extend revise:20", false,
			Leased},
		{"an account shrinks while it asks", Asker, true, []Event{ask, {Kind: Scaled, Rate: 20}, agreed},
			"extend revise:20", false, Leased},
		{"an account shrinks to nothing", Grantor, false, []Event{applied, {Kind: Scaled}},
			"give-back requeue abort:10", false, Closed},
		{"an account shrinks at the other end", Asker, true, []Event{ask, agreed, {Kind: Revised, Rate: 20, Lease: 9}},
			"adjust:20 extend", false, Leased},
		{"a revision of an earlier lease", Asker, true, []Event{ask, agreed, {Kind: Revised, Rate: 20, Lease: 8}}, "",
			false, Leased},
		{"a revision upwards", Asker, true, []Event{ask, agreed, {Kind: Revised, Rate: 45, Lease: 9}}, "", false,
			Leased},
		{"a revision to less than nothing", Asker, true, []Event{ask, agreed, {Kind: Revised, Rate: -1, Lease: 9}},
			"give-back requeue abort:2", true, Closed},
		{"a revision that crosses a renewal", Asker, true, []Event{ask, agreed,
			{Kind: Ask, Runs: []Run{{3, 1}}, Rate: 80}, {Kind: Revised, Rate: 20, Lease: 9},
			{Kind: Agreed, Runs: []Run{{3, 1}}, Rate: 60, Lease: 9}}, "extend revise:20", false, Leased},
		{"the shell asks at the wrong end", Grantor, false, []Event{ask}, "", true, Idle},
		{"the shell asks for nothing", Asker, true, []Event{{Kind: Ask, Rate: 5}}, "", true, Idle},
	} {
		f := NewFlow(1, story.end, story.sends)
		var did []string
		var err error
		for _, e := range story.events {
			var actions []Action
			actions, err = f.Step(e)
			did = nil
			for _, a := range actions {
				word := a.Kind.String()
				switch a.Kind {
				case SendAbort, SendRefuse:
					word = fmt.Sprintf("%s:%d", word, a.Reason)
				case DoHold, DoAdjust, SendRevise:
					word = fmt.Sprintf("%s:%d", word, a.Rate)
				}
				did = append(did, word)
			}
		}
		if got := strings.Join(did, " "); got != story.does || (err != nil) != story.errs || f.State != story.state {
			t.Errorf("%s: did %q (error %v), came to %s; want %q, %s", story.name, got, err, f.State, story.does,
				story.state)
		}
	}
}

// TestRefusalsWaitLonger: each refusal in a row doubles the wait; a grant starts over; a peer's own wish is heard.
func TestRefusalsWaitLonger(t *testing.T) {
	f := NewFlow(1, Asker, true)
	wait := func(reason core.Reason, retry time.Duration) time.Duration {
		f.Step(Event{Kind: Ask, Runs: []Run{{1, 1}}, Rate: 1})
		actions, _ := f.Step(Event{Kind: Refused, Reason: reason, Retry: retry})
		f.Step(Event{Kind: Due})
		return actions[len(actions)-1].At
	}
	for i, want := range []time.Duration{MinRetry, 2 * MinRetry, 4 * MinRetry, 8 * MinRetry, 16 * MinRetry, MaxRetry,
		MaxRetry} {
		if got := wait(core.ReasonBusy, 0); got != want {
			t.Errorf("refusal %d: waits %v, want %v", i+1, got, want)
		}
	}
	if got := wait(core.ReasonBusy, time.Minute); got != time.Minute {
		t.Errorf("waits %v though told to wait a minute", got)
	}
	f.Step(Event{Kind: Ask, Runs: []Run{{1, 1}}, Rate: 1})
	f.Step(Event{Kind: Agreed, Runs: []Run{{1, 1}}, Rate: 1})
	f.Step(Event{Kind: RunAborted, Run: 1})
	if got := wait(core.ReasonBusy, 0); got != MinRetry {
		t.Errorf("after a grant it waits %v", got)
	}
}

func TestTerm(t *testing.T) {
	if got := Term(core.KiB, 1<<20); got != MinTerm {
		t.Errorf("a small run: %v", got)
	}
	if got, want := Term(100*core.MiB, core.Rate(core.MiB)), 315*time.Second; got != want {
		t.Errorf("100 MiB at 1 MiB/s: %v, want %v", got, want)
	}
	if got := Term(core.TiB, 1); got != maxTerm {
		t.Errorf("a lease for ever: %v", got)
	}
}
