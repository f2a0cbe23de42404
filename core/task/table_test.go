// SPDX-License-Identifier: Apache-2.0

package task

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
)

// flowIn brings a flow into a state: leased and renewing ones have run 1 begun and run 2 open, and hold 100.
func flowIn(t *testing.T, s State, end End, sends bool) *Flow {
	f := NewFlow(7, end, sends)
	step := func(e Event) {
		if _, err := f.Step(e); err != nil {
			t.Fatal(err)
		}
	}
	lease := func() {
		if end == Grantor {
			step(Event{Kind: Applied, Runs: []Run{{1, 10}, {2, 10}}, Rate: 100, Free: 100, Nominal: 100, Lease: 5})
		} else {
			step(Event{Kind: Ask, Runs: []Run{{1, 10}, {2, 10}}, Rate: 100})
			step(Event{Kind: Agreed, Runs: []Run{{1, 10}, {2, 10}}, Rate: 100, Lease: 5})
		}
		step(Event{Kind: Begun, Run: 1})
	}
	switch s {
	case Asking:
		step(Event{Kind: Ask, Runs: []Run{{3, 10}}, Rate: 100})
	case Leased:
		lease()
	case Renewing:
		lease()
		step(Event{Kind: Ask, Runs: []Run{{3, 10}}})
	case Waiting:
		step(Event{Kind: Ask, Runs: []Run{{3, 10}}, Rate: 100})
		step(Event{Kind: Refused, Reason: core.ReasonBusy})
	case Closed:
		step(Event{Kind: Aborted, Reason: core.ReasonStopped})
	}
	if f.State != s {
		t.Fatalf("brought the flow to %s, not %s", f.State, s)
	}
	return f
}

// sample is an event that fits flowIn's flows.
func sample(k EventKind, s State) Event {
	e := Event{Kind: k, Reason: core.ReasonBusy, Rate: 90, Free: 100, Nominal: 100, Lease: 5, Term: time.Minute}
	switch k {
	case Ask:
		e.Rate = 100
		e.Runs = []Run{{3, 10}}
	case Applied:
		e.Reason = core.ReasonNone
		e.Runs = []Run{{3, 10}}
	case Agreed:
		e.Runs = []Run{{3, 10}}
	case Begun:
		e.Run = 2
	case Received, RunFailed, RunAborted:
		e.Run = 1
	}
	return e
}

// TestTheTableIsAsDocumented reads the table out of doc.go and holds every cell against what Step does, at whichever
// end the cell is about. A cell names the actions to expect, not all: those of "end", for one, are many.
func TestTheTableIsAsDocumented(t *testing.T) {
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string][]string{}
	for line := range strings.SplitSeq(string(text), "\n") {
		words := strings.Fields(strings.TrimPrefix(line, "//"))
		if strings.HasPrefix(line, "//\t") && len(words) == 1+int(states) {
			rows[words[0]] = words[1:]
		}
	}
	for k := range events {
		cells := rows[k.String()]
		if cells == nil {
			t.Fatalf("the table has no row %s", k)
		}
		for s := range states {
			for _, end := range []End{Asker, Grantor} {
				grantorOnly, askerOnly := k == Applied, k == Ask || k == Agreed || k == Refused
				if end == Grantor && (s == Asking || s == Renewing || s == Waiting || askerOnly) || end == Asker &&
					grantorOnly {
					continue
				}
				f := flowIn(t, s, end, end == Grantor)
				if k == Begun && s == Closed { // only a message gets an answer
					f.Sends = false
				} else if k == Received {
					f.Sends = s == Closed || f.Sends
				}
				t.Run(fmt.Sprintf("%s/%s/%s", k, s, end), func(t *testing.T) {
					checkCell(t, cells[s], f,
						sample(k, s))
				})
			}
		}
	}
}

func checkCell(t *testing.T, cell string, f *Flow, e Event) {
	before := f.State
	actions, err := f.Step(e)
	var names []string
	for _, a := range actions {
		names = append(names, a.Kind.String())
	}
	got := strings.Join(names, ",")
	if cell == "!" || cell == "late" { // no run is settled in these flows
		if err == nil {
			t.Errorf("impossible, but did %q → %s", got, f.State)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	doing, to, moves := strings.Cut(cell, "→")
	next := before.String()
	if moves {
		next = to
	}
	want := map[string]string{"·": "", "grant": "agree", "end": "give-back"}
	for word := range strings.SplitSeq(doing, ",") {
		if replaced, ok := want[word]; ok {
			word = replaced
		}
		if word == "" && doing == "·" && got != "" || !strings.Contains(got, word) {
			t.Errorf("want %q, did %q", cell, got)
		}
	}
	if f.State.String() != next {
		t.Errorf("want %q, came to %s", cell, f.State)
	}
}
