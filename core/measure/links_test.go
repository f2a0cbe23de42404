// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
)

const mib = core.Rate(core.MiB)

// sending has flows to peers get what they get of a lease of 1 MiB/s each, for so many seconds, ten runs a second.
type sending struct {
	of    core.Rate // each run arrives at this rate
	held  time.Duration
	read  time.Duration
	whole bool
}

func send(l *Links, flows map[byte]sending, seconds int) {
	stretches := map[byte]*Stretch{}
	for to := range flows {
		stretches[to] = &Stretch{}
	}
	start := time.Hour
	for i := range 10*seconds + 1 {
		for to := range byte(9) { // in order
			f, ok := flows[to]
			if !ok {
				continue
			}
			now := start + time.Duration(i)*100*time.Millisecond
			l.Arrived(stretches[to], core.ID{to}, Arrival{Now: now, At: 1e6 + int64(i/10),
				Size: core.Size(float64(f.of) / 10 / core.WireOverhead), Lease: mib, Held: f.held, Read: f.read, Whole: f.whole})
		}
	}
}

// TestOnlyWhatWasSlowIsMeasured tells apart what held a flow back.
func TestOnlyWhatWasSlowIsMeasured(t *testing.T) {
	for name, c := range map[string]struct {
		flows map[byte]sending
		link  core.Rate // of the first, 0: not known
		up    core.Rate
	}{
		"a slow link":                        {map[byte]sending{1: {of: mib / 4}}, mib / 4, 0},
		"a slow receiver":                    {map[byte]sending{1: {of: mib / 4, held: 30 * time.Millisecond}}, 0, 0},
		"a slow store here":                  {map[byte]sending{1: {of: mib / 4, read: 30 * time.Millisecond}}, 0, 0},
		"a lease that is less than it":       {map[byte]sending{1: {of: mib}}, 0, 0},
		"a lease that is all of it":          {map[byte]sending{1: {of: mib, whole: true}}, mib, 0},
		"an uplink that two share":           {map[byte]sending{1: {of: mib / 4}, 2: {of: mib / 2}}, 0, mib * 3 / 4},
		"a slow link beside one that is not": {map[byte]sending{1: {of: mib / 4}, 2: {of: mib}}, mib / 4, 0},
	} {
		t.Run(name, func(t *testing.T) {
			l := New()
			send(l, c.flows, 20)
			about := func(what string, got, want core.Rate) {
				if got < want*97/100 || got > want*103/100 {
					t.Errorf("%s: %s, want %s", what, got, want)
				}
			}
			about("the link", l.To(core.ID{1}).Low(), c.link)
			about("the uplink", l.Up.Low(), c.up)
		})
	}
}

// TestPausesAreNotMeasured has a flow that sends for half of each second only.
func TestPausesAreNotMeasured(t *testing.T) {
	l, s, now := New(), &Stretch{}, time.Hour
	for range 40 {
		for i := range 6 {
			took, allowed := l.Arrived(s, core.ID{1}, Arrival{Now: now, Size: core.Size(mib) / 40, Lease: mib})
			if (took > 0) != (i > 0) || (allowed > 0) != (i > 0) {
				t.Fatalf("run %d after a pause took %s and was allowed %.0f bytes", i, took, allowed)
			}
			now += 100 * time.Millisecond
		}
		s.End()
		now += 500 * time.Millisecond
	}
	if got, want := l.To(core.ID{1}).Low(), core.Rate(275_247); got != want { // 26,214 bytes in 0.1 s, and what the wire adds
		t.Errorf("the link carries %s, want %s", got, want)
	}
}

// TestMemoryIsWhatWasMeasured reads back what was written down, and what an earlier release wrote.
func TestMemoryIsWhatWasMeasured(t *testing.T) {
	l := New()
	if l.Changed() != nil {
		t.Error("there is something to write down before anything was measured")
	}
	send(l, map[byte]sending{1: {of: mib / 4}, 2: {of: mib / 2}}, 20)
	text, err := l.Changed().Text()
	if err != nil || l.Changed() != nil {
		t.Fatalf("written down: %v, and once more: %v", err, l.Changed() != nil)
	}
	again, err := Recall(text)
	if err != nil || again.Up.Low() != l.Up.Low() || l.Up.Low() == 0 {
		t.Errorf("the uplink is %s again, was %s: %v", again.Up.Low(), l.Up.Low(), err)
	}
	id := core.ID{7}.String()
	old := `{"v":1,"up":[{"at":1000000,"rate":400}],"links":[{"peer":"` + id +
		`","samples":[{"at":1000000,"rate":300},{"at":1000001,"rate":300}]}]}` + "\n"
	before, err := Recall([]byte(old))
	if err != nil || before.Up.Mean() != 400 || before.To(core.ID{7}).Mean() != 300 {
		t.Errorf("an earlier release wrote: %s, %s, %v", before.Up.Mean(), before.To(core.ID{7}).Mean(), err)
	}
	before.Probed(core.ID{8}, 1e6, Probed{Carried: 500})
	if text, err := before.Changed().Text(); err != nil || len(text) < len(old) || string(text[:40]) != old[:40] {
		t.Errorf("it is written otherwise now: %s, %v", text, err)
	}
	for _, bad := range []string{"", "{", `{"v":2,"up":[],"links":[]}`} {
		if l, err := Recall([]byte(bad)); err == nil || l.Up.Mean() != 0 {
			t.Errorf("%q was read", bad)
		}
	}
}

// TestProbeFigures leaves the start of a probe out, and says where the link may carry more.
func TestProbeFigures(t *testing.T) {
	arrived := func(rate core.Rate) (at []time.Duration) { // 100 runs of 10,500 bytes on the wire, after a slow start
		for i := range 100 {
			at = append(at, 500*time.Millisecond+time.Duration(float64(i)*10500/float64(rate)*1e9))
		}
		return at
	}
	for name, c := range map[string]struct {
		p       Probe
		carried core.Rate
		atLeast bool
	}{
		"a slow link":     {Probe{Arrived: arrived(5e5), Lease: 1e6, Capacity: 1e6}, 5e5, false},
		"a slow receiver": {Probe{Arrived: arrived(5e5), Lease: 1e6, Capacity: 1e6, Held: time.Second}, 5e5, true},
		"all that it has": {Probe{Arrived: arrived(1e6), Lease: 1e6, Capacity: 1e6}, 1e6, false},
		"a small lease":   {Probe{Arrived: arrived(1e6), Lease: 1e6, Capacity: 8e6}, 1e6, true},
		"more than asked": {Probe{Arrived: arrived(2e6), Lease: 1e6, Capacity: 1e6}, 1e6, false},
	} {
		c.p.Size = 10000
		f, err := c.p.Figures()
		if err != nil || f.Carried < c.carried*99/100 || f.Carried > c.carried*101/100 || f.AtLeast != c.atLeast ||
			f.Bytes != 1_000_000 {
			t.Errorf("%s: %+v, %v", name, f, err)
		}
	}
	if _, err := (Probe{Arrived: make([]time.Duration, 1)}).Figures(); err == nil {
		t.Error("one run says something")
	}
}
