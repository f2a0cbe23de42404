// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
)

// progress plays a task of two nodes that have 100 MiB each to receive, the second at a share of the rate that the plan
// of 100 s says. It returns when the pace first called it late; 0: never.
func progress(p *Pace, share func(second int) float64) time.Duration {
	left := []float64{100, 100}
	for second := 0; second < 100; second++ {
		at := time.Duration(second) * time.Second
		if p.Note(at, []core.Size{core.Size(left[0] * float64(core.MiB)), core.Size(left[1] * float64(core.MiB))}) {
			return at
		}
		left[0]--
		left[1] -= share(second)
	}
	return 0
}

func TestPaceTellsWhatEndsLate(t *testing.T) {
	slow := func(share float64) func(int) float64 { return func(int) float64 { return share } }
	for name, c := range map[string]struct {
		share func(int) float64
		want  time.Duration
	}{
		"as planned":       {slow(1), 0},
		"a twentieth late": {slow(0.95), 0},
		"half as fast":     {slow(0.5), 15 * time.Second}, // five to see it, ten in which it does not mend
		"nothing comes":    {slow(0), 15 * time.Second},
		"slow for a while": {func(s int) float64 { return map[bool]float64{true: 0.5, false: 1.01}[s < 8] }, 0},
		"slow from the middle on": {func(s int) float64 { return map[bool]float64{true: 0.5, false: 1}[s >= 50] },
			62 * time.Second},
	} {
		if got := progress(NewPace(100, 0, 0), c.share); got != c.want {
			t.Errorf("%s: called late after %s, want %s", name, got, c.want)
		}
	}
}

// A node that gets a run every ten seconds shows nothing for nine of them; over a window of four runs it is on time.
func TestPaceWaitsForWholeRuns(t *testing.T) {
	run := 10 * core.MiB
	inRuns := func(p *Pace) time.Duration {
		for second := range 100 {
			left := 100*core.MiB - core.Size(second)/10*run
			if at := time.Duration(second) * time.Second; p.Note(at, []core.Size{left}) {
				return at
			}
		}
		return 0
	}
	if at := inRuns(NewPace(100, run, core.Rate(core.MiB))); at != 0 {
		t.Errorf("late after %s, though it is on time", at)
	}
	if at := inRuns(NewPace(50, run, core.Rate(core.MiB))); at == 0 {
		t.Error("twice as long as planned is not late")
	}
}

// What was dealt anew has its own end; it is not late by that of the plan.
func TestPaceBeginsAgain(t *testing.T) {
	p := NewPace(10, 0, 0)
	if progress(p, func(int) float64 { return 1 }) == 0 {
		t.Fatal("100 s are not late for 10")
	}
	p = NewPace(10, 0, 0)
	p.Again(0, 100)
	if at := progress(p, func(int) float64 { return 1 }); at != 0 {
		t.Errorf("late after %s, though 100 s were expected", at)
	}
}

func TestRatesAreThoseOfLate(t *testing.T) {
	p := NewPace(100, 0, 0)
	for second := range 20 {
		p.Note(time.Duration(second)*time.Second, []core.Size{core.Size(1000 - 10*second), 0, 50})
	}
	left := []core.Size{810, 0, 50}
	if got := p.Rates(19*time.Second, left); got[0] != 10 || got[1] != 0 || got[2] != 1 {
		t.Errorf("rates %v, want 10 B/s, not known, and the least", got)
	}
	if got := Last(left, []core.Rate{10, 0, 1}); got != 81 {
		t.Errorf("%v s are left, want 81", got)
	}
}
