// SPDX-License-Identifier: Apache-2.0

package task

import (
	"time"

	"github.com/bkp-tool/bkp/core"
)

// End is one of the two ends of a flow.
type End uint8

const (
	Asker   End = iota // applies for the lease
	Grantor            // answers at once
)

func (e End) String() string { return [...]string{"asker", "grantor"}[e] }

// State is where a flow stands, at one of its ends.
type State uint8

const (
	Idle     State = iota // holds nothing, asks for nothing
	Asking                // holds its own accounts, has applied
	Leased                // holds; granted runs are open
	Renewing              // leased, and has applied for more
	Waiting               // was refused for now; holds nothing until Due
	Closed                // ended; Flow.Reason says why
	states
)

func (s State) String() string {
	return [...]string{"idle", "asking", "leased", "renewing", "waiting", "closed"}[s]
}

// Run is a run of the flow. Number tells it from the flow's others at this end, from 0 up: in a placement segment ×
// core.SegmentRuns + its number there, in a fetch its place in the order in which it was asked for.
type Run struct {
	Number int
	Size   core.Size
}

const (
	// Hold is how long an asker holds its own accounts for an answer.
	Hold = 2 * time.Second
	// MinTerm is the shortest time a lease is given.
	MinTerm = 10 * time.Second
	// maxTerm bounds it, however slow the lease.
	maxTerm = 24 * time.Hour
	// MinRetry and MaxRetry bound how long a flow that was refused for now waits; it doubles from refusal to refusal.
	MinRetry = 250 * time.Millisecond
	MaxRetry = 5 * time.Second
	// MinShare is the part of what was asked below which a grant is not worth having: then it is better to wait.
	MinShare = 0.2
)

// Grant is the rate to hold or to agree to when so much is asked for and free; 0 says that it is better to wait. Give
// the capacity of the narrowest account as nominal.
func Grant(asked, free, nominal core.Rate) core.Rate {
	rate := min(asked, free)
	if rate <= 0 || float64(rate) < MinShare*float64(min(asked, nominal)) {
		return 0
	}
	return rate
}

// Term is how long a lease of this rate lasts for so many stored bytes: three times what they should take.
func Term(bytes core.Size, rate core.Rate) time.Duration {
	expected := core.WireOverhead * rate.Seconds(bytes)
	return max(MinTerm, time.Duration(min(3*expected*float64(time.Second), float64(maxTerm))))
}

// Flow is one end of a flow. Make it with NewFlow; change it only through Step.
type Flow struct {
	ID    uint64
	End   End
	Sends bool // whether this end sends the data

	State   State
	Lease   uint64        // the grantor's number of the lease, while there is one
	Rate    core.Rate     // held here now; 0 while nothing is
	Expires time.Duration // when to step Expired, while something is held
	Reason  core.Reason   // why it closed

	agreed   core.Rate     // what both ends agreed to; Rate may be above it while a renewal asks for more
	moved    time.Duration // when there was progress last: a grant, or a run that began or arrived
	applied  core.Rate     // what was asked for; Rate may be below it where an account shrank since
	asked    []Run         // applied for, not answered yet
	open     []openRun     // granted, not received yet, in the order of the grants
	done     core.Bitmap   // runs that were open once and are settled
	refusals int           // in a row
}

type openRun struct {
	Run
	begun bool
}

// NewFlow is an idle end of a flow.
func NewFlow(id uint64, end End, sends bool) *Flow {
	return &Flow{ID: id, End: end, Sends: sends}
}

// Holds reports whether a lease stands on this end's accounts.
func (f *Flow) Holds() bool { return f.State == Asking || f.State == Leased || f.State == Renewing }

// Agreed is what both ends agreed to: the most that the sending end may send, also while it holds more to ask for it.
func (f *Flow) Agreed() core.Rate { return f.agreed }

// Open lists the granted runs that are not received yet, in the order of the grants.
func (f *Flow) Open() (runs []Run) {
	for _, r := range f.open {
		runs = append(runs, r.Run)
	}
	return runs
}

// Unbegun lists the granted runs that have not begun: what the sending end may begin next.
func (f *Flow) Unbegun() (runs []Run) {
	for _, r := range f.open {
		if !r.begun {
			runs = append(runs, r.Run)
		}
	}
	return runs
}

// OpenBytes is the size of the open runs.
func (f *Flow) OpenBytes() (sum core.Size) {
	for _, r := range f.open {
		sum += r.Size
	}
	return sum
}
