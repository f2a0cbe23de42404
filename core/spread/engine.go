// SPDX-License-Identifier: Apache-2.0

package spread

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan"
)

// Uplink is the one side of a node that all its tasks share.
type Uplink interface {
	// Uplink is what is free of it, and all of it; all is 0 where it is unlimited.
	Uplink() (free, all core.Rate)
}

// Ways is what a node knows of the ways that lead from it.
type Ways interface {
	// Way is the one to another node of a task; false where there is none now.
	Way(to int) (Way, bool)
}

// Way is what could flow from one node to another. Rates are 0 where nothing limits them, but for Free.
type Way struct {
	Free      core.Rate     // now, by all that limits it but this node's uplink
	Rate      core.Rate     // at best, both nodes' sides included
	RoundTrip time.Duration // 0 where words and changes of a lease cost nothing
	Trunk     core.Rate     // of the trunk that it crosses; 0 where it crosses none
	Planned   float64       // bytes that the plan has cross that trunk; 0 where there is no plan
	Share     core.Rate     // the part of the trunk that only this way may use; 0 where all share it
}

// ActionKind is what a driver is to do.
type ActionKind uint8

const (
	Ask    ActionKind = iota // apply for a lease of Rate over Runs, or for Runs more under the one that stands
	Raise                    // ask for a higher rate for what is on its way
	Lower                    // give back what the lease is above Rate
	GiveUp                   // the target fails to keep whatever it is sent: Reason
)

func (k ActionKind) String() string { return [...]string{"ask", "raise", "lower", "give up"}[k] }

// Action is something for the driver to do at once, before it asks for the next.
type Action struct {
	Kind    ActionKind
	Sender  *Sender
	Segment *Segment
	Runs    []int // of the segment
	Rate    core.Rate
	Reason  core.Reason
}

// Engine decides what one node sends, over all tasks that share its uplink. Its driver tells it what happened, and then
// calls Next until there is nothing more to do.
type Engine struct {
	net    Uplink
	random *rand.Rand
	parts  []*Part // by the time at which they were added
	turn   int     // of the parts

	low     []*Sender // of whose lease little is left
	pending []Action
	look    bool  // something changed: there may be somebody to serve
	first   *Peer // whom to look at first
	raise   []*Sender
	hungry  bool
}

// New is the engine of a node.
func New(up Uplink, random *rand.Rand) *Engine { return &Engine{net: up, random: random} }

// Part is a node's part in a transfer.
type Part struct {
	e       *Engine
	t       *Transfer
	me      *Peer
	ways    Ways
	senders []*Sender  // by the target's number; nil where nothing was sent there
	busy    []*Sender  // that hold a lease or ask for one; some may not any more
	nothing []barren   // by the target's number: when there was nothing for it
	sent    []set      // by segment, at the source: given to somebody
	unsent  int        // of what the source has
	first   []float64  // by target: bytes of first copies that are due to it
	given   []float64  // the same: of which it has so much
	planned []float64  // by target: bytes that the plan has the node give it; empty where nothing is planned
	gave    []float64  // the same: of all that it was given
	routes  [][]*route // by target and segment: what the plan has the node give it
	quota   *Quota     // nil where nobody says how much of what to give
}

// Add lets a node take part in a transfer.
func (e *Engine) Add(t *Transfer, me *Peer, ways Ways) *Part {
	p := &Part{e: e, t: t, me: me, ways: ways}
	e.parts, me.part = append(e.parts, p), p
	return p
}

// Remove ends a node's part in a transfer.
func (e *Engine) Remove(p *Part) {
	ours := func(s *Sender) bool { return s.part == p }
	e.parts = slices.DeleteFunc(e.parts, func(other *Part) bool { return other == p })
	e.low, e.raise = slices.DeleteFunc(e.low, ours), slices.DeleteFunc(e.raise, ours)
	e.pending = slices.DeleteFunc(e.pending, func(a Action) bool { return ours(a.Sender) })
}

// Spread says that the source has a run to spread, which it gave to nobody yet.
func (p *Part) Spread(s *Segment, run int) {
	for len(p.sent) <= s.index {
		p.sent = append(p.sent, nil)
	}
	if p.sent[s.index] == nil {
		p.sent[s.index] = newSet(s.Runs())
		for k := range p.sent[s.index] {
			p.sent[s.index][k] = math.MaxUint64
		}
	}
	if p.sent[s.index].has(run) {
		p.sent[s.index].drop(run)
		p.unsent++
	}
}

// First says what a target can do with first copies, in bytes: plan.FirstWeights, or the plan's share of the link.
func (p *Part) First(to int, bytes float64) { p.first = put(p.first, to, bytes) }

// Plan says that the plan has the node give a target so many bytes more. Targets are then served in proportion, and
// those to which nothing is planned when nobody else takes more.
func (p *Part) Plan(to int, bytes float64) {
	p.planned, p.t.guided = put(p.planned, to, at(p.planned, to)+bytes), true
}

// put sets one place of a table that grows as needed.
func put[T any](table []T, at int, value T) []T {
	for len(table) <= at {
		table = append(table, *new(T))
	}
	table[at] = value
	return table
}

// at is one place of a table that may be shorter.
func at[T any](table []T, i int) (value T) {
	if i < len(table) {
		value = table[i]
	}
	return value
}

// Wake says that something changed that may let the node send: bandwidth came free, a run came, time passed.
func (e *Engine) Wake() { e.look, e.first = true, nil }

// WakeFor is Wake where a target came, or can take more.
func (e *Engine) WakeFor(q *Peer) { e.look, e.first = true, q }

// Hungry reports whether the node would send more, had it bandwidth and somebody who takes it.
func (e *Engine) Hungry() bool { return e.hungry }

// Next is what to do next; false when there is nothing to do until something happens.
func (e *Engine) Next(now time.Duration) (Action, bool) {
	for len(e.pending) > 0 {
		a := e.pending[0]
		if e.pending = e.pending[1:]; a.stands() {
			return a, true
		}
	}
	for len(e.low) > 0 {
		s := e.low[0]
		e.low = e.low[1:]
		if a, ok := s.renew(now); ok {
			return a, true
		}
	}
	if e.look {
		if a, ok := e.serve(now); ok {
			return a, true
		}
		e.look, e.first = false, nil
		for _, p := range e.parts {
			e.raise = append(e.raise, p.busy...)
		}
	}
	for len(e.raise) > 0 {
		s := e.raise[0]
		e.raise = e.raise[1:]
		if a, ok := s.raise(now); ok {
			return a, true
		}
	}
	return Action{}, false
}

// serve finds somebody to send to; the tasks take turns.
func (e *Engine) serve(now time.Duration) (Action, bool) {
	e.hungry = false
	if e.active() >= plan.MaxFlows {
		return Action{}, false
	}
	e.hungry = true
	for i := range e.parts {
		p := e.parts[(e.turn+i)%len(e.parts)]
		for _, stage := range p.stages() {
			if able, i := p.choose(now, stage, nil); i >= 0 {
				if a, ok := p.further(now, stage, able[i]); ok {
					return a, true
				}
				if a, ok := p.ask(now, stage, able[i]); ok {
					e.turn++
					return a, true
				}
			}
		}
	}
	return Action{}, false
}

// active is how many leases stand or are asked for.
func (e *Engine) active() (n int) {
	for _, p := range e.parts {
		n += len(p.holding())
	}
	return n
}

// holding are the senders on which a lease stands or is asked for.
func (p *Part) holding() []*Sender {
	kept := p.busy[:0]
	for _, s := range p.busy {
		if s.holds() {
			kept = append(kept, s)
		} else {
			s.busy = false
		}
	}
	clear(p.busy[len(kept):])
	p.busy = kept
	return kept
}

var (
	spreading = []plan.Stage{plan.Spreading, plan.Filling}
	filling   = []plan.Stage{plan.Filling}
)

// stages are the rules by which a node chooses now, in order.
func (p *Part) stages() []plan.Stage {
	if p.unsent > 0 && !p.t.routed {
		return spreading
	}
	return filling
}
