// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"math"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
)

const (
	// paceWindow is the least time over which it is counted how fast a node receives, and lateFor how long a task must
	// be about to end late.
	paceWindow = 5 * time.Second
	lateFor    = 10 * time.Second
	// paceRuns is how many runs the slowest flow of the plan carries in that time: a node is known by whole runs.
	paceRuns = 4
	// tooLate is how many times the planned end a task may be about to end without being late.
	tooLate = 1.10
	// worthMoving is to what part of the time that is left it must come down where copies are to move.
	worthMoving = 0.90
)

// Pace follows how fast the nodes of a task receive, and tells when it is about to end late. Times count from its
// beginning.
type Pace struct {
	run    core.Size     // the largest
	window time.Duration // over which rates are counted
	end    time.Duration // when it is planned to end
	since  time.Duration // since when it is late; 0: it is not
	seen   []seen        // the oldest first, a second apart
}

type seen struct {
	at   time.Duration
	left []core.Size
}

// NewPace is for a task that is planned to take so many seconds, of runs no larger than run, over flows no slower than
// slowest.
func NewPace(seconds float64, run core.Size, slowest core.Rate) *Pace {
	p := &Pace{end: duration(seconds), run: run, window: paceWindow}
	if slowest > 0 {
		p.window = max(p.window, duration(paceRuns*slowest.Seconds(run)))
	}
	return p
}

// Note takes what each node has left to receive and reports whether the task has been about to end more than a tenth
// late for ten seconds.
func (p *Pace) Note(at time.Duration, left []core.Size) (late bool) {
	if n := len(p.seen); n == 0 || at-p.seen[n-1].at >= time.Second {
		p.seen = append(p.seen, seen{at, slices.Clone(left)})
	}
	for len(p.seen) > 1 && at-p.seen[1].at >= p.window {
		p.seen = p.seen[1:]
	}
	if at-p.seen[0].at < p.window {
		return false
	}
	if duration(at.Seconds()+Last(left, p.Rates(at, left))) <= time.Duration(tooLate*float64(p.end)) {
		p.since = 0
		return false
	}
	if p.since == 0 {
		p.since = at
	}
	return at-p.since >= max(lateFor, p.window)
}

// Rates is how fast each node received of late, the run included that may have come in part. It is 0 where that is not
// known: the node has nothing left, was given more meanwhile, or nobody looked for long enough.
func (p *Pace) Rates(at time.Duration, left []core.Size) []core.Rate {
	rates := make([]core.Rate, len(left))
	if len(p.seen) == 0 || at-p.seen[0].at < time.Second {
		return rates
	}
	before, took := p.seen[0].left, (at - p.seen[0].at).Seconds()
	for node, bytes := range left[:min(len(left), len(before))] { // others joined since
		if bytes > 0 && bytes <= before[node] {
			rates[node] = max(1, core.Rate(float64(before[node]-bytes+p.run)/took))
		}
	}
	return rates
}

// Again begins anew: what is left is now expected to take so many seconds more.
func (p *Pace) Again(at time.Duration, seconds float64) {
	p.end, p.since, p.seen = at+duration(seconds), 0, nil
}

// Last is when the last node would have received what it has left, in seconds.
func Last(left []core.Size, rates []core.Rate) (seconds float64) {
	for node, bytes := range left {
		if bytes > 0 && rates[node] > 0 {
			seconds = max(seconds, float64(bytes)/float64(rates[node]))
		}
	}
	return seconds
}

// Worth reports whether copies should move for the time that is left to come down so far.
func Worth(before, after float64) bool { return after <= worthMoving*before }

func duration(seconds float64) time.Duration {
	return time.Duration(min(seconds*float64(time.Second), math.MaxInt64/4))
}
