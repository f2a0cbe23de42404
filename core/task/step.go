// SPDX-License-Identifier: Apache-2.0

package task

import (
	"fmt"
	"time"

	"github.com/bkp-tool/bkp/core"
)

// EventKind is what happened.
type EventKind uint8

const (
	Ask EventKind = iota // asker: cover Runs, at Rate, which is free on its accounts (0: the rate it has)
	// grantor: an application for Runs (what it would take), at Rate; Free, Nominal, Lease as it finds them; Reason to
	// refuse
	Applied
	Agreed     // asker: Runs granted, Have there already, Lease, Rate, Term
	Refused    // asker: Reason, Have, Retry
	Begun      // Run begins: BEGIN is to be sent, or arrived
	Received   // Run is there, verified: COMPLETE is to be sent, or arrived
	RunFailed  // Run cannot go on here: Reason
	RunAborted // Run cannot go on there: Reason
	Scaled     // the lease here is only Rate now
	Revised    // the other end lowered the lease Lease to Rate
	Due        // the time that RetryAt named has come
	Expired    // the time that Expires names has come
	Aborted    // the other end ended the flow: Reason
	Stop       // this end ends the flow: Reason
	Lost       // the session is gone
	events
)

func (k EventKind) String() string {
	return [...]string{"Ask", "Applied", "Agreed", "Refused", "Begun", "Received", "RunFailed", "RunAborted", "Scaled",
		"Revised", "Due", "Expired", "Aborted", "Stop", "Lost"}[k]
}

// Event is something that happened to one end of a flow. Each kind says which fields it reads; all may read Now.
type Event struct {
	Kind    EventKind
	Now     time.Duration // monotonic
	Runs    []Run
	Have    []int // run numbers
	Run     int   // number
	Rate    core.Rate
	Free    core.Rate
	Nominal core.Rate
	Lease   uint64
	Term    time.Duration // how long the lease lasts from now
	Retry   time.Duration
	Reason  core.Reason
}

// ActionKind is what the shell is to do.
type ActionKind uint8

const (
	DoHold     ActionKind = iota // reserve Rate on this end's accounts until At
	DoAdjust                     // change what is held to Rate
	DoExtend                     // renew what is held until At
	DoGiveBack                   // give back what is held
	// Runs were asked for or granted and will not come this way: queue them again, forget partial bytes
	DoRequeue
	DoRetry      // step Due at At
	SendApply    // Runs, Rate
	SendAgree    // Lease, Rate, Runs, and ExpiresS = At − now
	SendRefuse   // Reason, Retry
	SendBegin    // Run
	SendComplete // Run
	SendAbort    // Reason; of the run only, where Run is not NoRun
	SendRevise   // Lease, Rate: what is left of it
)

func (k ActionKind) String() string {
	return [...]string{"hold", "adjust", "extend", "give-back", "requeue", "retry", "apply", "agree", "refuse", "begin",
		"complete", "abort", "revise"}[k]
}

// NoRun stands in Action.Run where an action is about the whole flow.
const NoRun = -1

// Action is something for the shell to do, in the order given. Hold and adjust ask for a rate that the event itself
// said was free, so they succeed in a loop that steps right after it looked.
type Action struct {
	Kind   ActionKind
	Runs   []Run
	Run    int
	Rate   core.Rate
	Lease  uint64
	At     time.Duration
	Retry  time.Duration
	Reason core.Reason
}

// Step moves the flow. The error, if any, says how the peer broke the protocol (the actions then end the flow) or how
// the shell misused the flow (then there are no actions and nothing changed).
func (f *Flow) Step(e Event) ([]Action, error) {
	cell := table[e.Kind][f.State]
	if (e.Kind == Ask || e.Kind == Agreed || e.Kind == Refused) && f.End != Asker || e.Kind == Applied &&
		f.End != Grantor {
		cell = nil
	}
	s := &step{Flow: f, Event: e}
	if cell == nil {
		s.violation("%s in state %s at the %s", e.Kind, f.State, f.End)
	} else {
		cell(s)
	}
	return s.actions, s.err
}

// fromPeer tells the events that a message of the other end causes.
func (f *Flow) fromPeer(k EventKind) bool {
	switch k {
	case Applied, Agreed, Refused, Revised, RunAborted, Aborted:
		return true
	case Begun:
		return !f.Sends
	case Received:
		return f.Sends
	default:
		return false
	}
}

// step is one move: the flow, the event, and what comes of it.
type step struct {
	*Flow
	Event
	actions []Action
	err     error
}

func (s *step) do(a Action) {
	if a.Kind != SendBegin && a.Kind != SendComplete && a.Kind != SendAbort {
		a.Run = NoRun
	}
	s.actions = append(s.actions, a)
}

func (s *step) violation(format string, args ...any) {
	s.err = fmt.Errorf("flow %d: "+format, append([]any{s.ID}, args...)...)
	if s.fromPeer(s.Kind) {
		s.Event.Reason = core.ReasonProtocol
		s.end()
		s.do(Action{Kind: SendAbort, Run: NoRun, Reason: core.ReasonProtocol})
	}
}
