// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"math"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan/fluid"
)

// What a sender goes by when it chooses whom to send to next.
const (
	// MaxFlows is how many flows a sender keeps for one task at a time.
	MaxFlows = 8
	// MaxReceivers is how many receivers it looks at for one choice, at random where more want something.
	MaxReceivers = 8
	// MaxSampled is how many runs it looks at to find a rare one.
	MaxSampled = 32
	// MinShare is the part of what a receiver could take at best below which it counts as busy.
	MinShare = 0.2
	// minFair is the part of its fair rate with which a receiver is served at least.
	minFair = 0.7
	// minFree is the part of its uplink below which a sender looks for no further receiver.
	minFree = 0.05
)

// Receiver is a node that wants runs which the sender holds, as the sender knows it.
type Receiver struct {
	// what a flow to it could have at best: the least of link, trunk and both nodes' sides; 0 is unlimited
	Nominal core.Rate
	Free    core.Rate // what link, trunk and its own downlink have free now, as far as the sender knows
	Empty   bool      // it has nothing of the task yet
	Near    float64   // its distance for the nearest-first round: delay in seconds, then the smaller the nearer
	First   float64   // what it can do with first copies, in bytes: FirstWeights, or the plan's share of the link
	Given   float64   // bytes of first copies that the sender gave it already
	Planned float64   // bytes that the plan has the sender give it; 0 where it has none, or nothing is planned
	Sent    float64   // of all that the sender gave it
	Crit    float64   // seconds that it still has to receive, see Crit
	Fair    core.Rate // what the sender would give it, see Fair; 0: as much as it could take
}

// Stage says by which rule a sender chooses.
type Stage int

const (
	// Spreading is the stage of a source that has runs which it never sent: by First and Given.
	Spreading Stage = iota
	// Filling is everybody else's: by Crit.
	Filling
	// Guided is Filling where the plan has the sender give somebody something: by what of that it did not give yet.
	Guided
)

// Crit is how urgently a node has to receive: the seconds that its need takes on its downlink, or, across a trunk,
// those that its whole zone's need takes on the trunk. A rate of 0 is unlimited.
func Crit(need core.Size, down core.Rate, zoneNeed core.Size, trunk core.Rate) float64 {
	crit := 0.0
	if down > 0 {
		crit = down.Seconds(need)
	}
	if trunk > 0 {
		crit = max(crit, trunk.Seconds(zoneNeed))
	}
	return crit
}

// Choose is the sender's choice of a receiver: its index, or −1 where the sender had better wait. The rules, in order:
//
//   - a sender that leased all but a twentieth of its uplink waits;
//   - of the receivers that could take a fifth of their nominal rate now, a spreading source serves those without any run
//     first, the nearest of them before the others; then by D'Hondt's rule the one that can do most with a first copy,
//     counting those that it was given. That keeps first copies in proportion to First whatever order they are asked in;
//   - everybody else, and a source whose First are all 0, serves by D'Hondt's rule the one to which it is furthest behind
//     with what the plan has it give, and before those to which nothing is planned; without a plan, the one that needs
//     longest to receive what it lacks; of those that need as long, as nodes beyond a narrow trunk do, the one that can do
//     most with it;
//   - where the sender's own uplink cannot give the chosen one most of its fair part, or a fifth of its nominal rate where it has no such
//     part, it waits for that, rather than let a smaller transfer overtake: overtaking starves whoever needs much.
//
// free and nominal are the sender's uplink: what is free, and all of it (0 is unlimited).
func Choose(stage Stage, free, nominal core.Rate, receivers []Receiver) int {
	if Spent(free, nominal) {
		return -1
	}
	best := -1
	for i, r := range receivers {
		if !r.Able() {
			continue
		}
		if best < 0 || before(stage, r, receivers[best]) {
			best = i
		}
	}
	if best < 0 {
		return -1
	}
	if r := receivers[best]; r.Fair > 0 && float64(free) < minFair*float64(r.Fair) || r.Fair == 0 &&
		!enough(free, r.Nominal) {
		return -1
	}
	return best
}

// Able reports whether a receiver could take enough now to be served.
func (r Receiver) Able() bool { return enough(r.Free, r.Nominal) }

// Spent reports whether a sender leased all but a twentieth of its uplink. nominal is all of it, 0 is unlimited.
func Spent(free, nominal core.Rate) bool {
	return nominal > 0 && float64(free) <= minFree*float64(nominal)
}

// enough reports whether a free rate is worth leasing where nominal would be best. Nothing is enough of nothing.
func enough(free, nominal core.Rate) bool {
	if nominal == 0 {
		return free > 0
	}
	return free > 0 && float64(free) >= MinShare*float64(nominal)
}

func before(stage Stage, a, b Receiver) bool {
	if stage == Spreading {
		if a.Empty != b.Empty {
			return a.Empty
		}
		if a.Empty && a.Near != b.Near {
			return a.Near < b.Near
		}
		if dueA, dueB := a.Due(), b.Due(); dueA != dueB {
			return dueA > dueB
		}
	}
	if behindA, behindB := a.behind(), b.behind(); behindA != behindB {
		return behindA > behindB
	}
	if math.Abs(a.Crit-b.Crit) > 1e-9*a.Crit {
		return a.Crit > b.Crit
	}
	return a.Due() > b.Due()
}

// Due is D'Hondt's quotient: the largest is served next.
func (r Receiver) Due() float64 { return r.First / (1 + r.Given) }

// behind is D'Hondt's quotient of what the plan has the sender give.
func (r Receiver) behind() float64 { return r.Planned / (1 + r.Sent) }

// Behind reports whether the sender is further behind the plan with one receiver than with another.
func (r Receiver) Behind(other Receiver) bool { return r.behind() > other.behind() }

// FirstWeights says what each node can do with first copies: send on what it keeps, to those that keep it too, as fast
// as its uplink goes within the time that the plan has. quota is what each is to keep, in bytes; the answer is in
// bytes.
func FirstWeights(up []core.Rate, quota []core.Size, replicas int, seconds float64) []float64 {
	weights := make([]float64, len(up))
	for i := range up {
		weights[i] = float64(replicas-1) * float64(quota[i])
		if up[i] > 0 {
			weights[i] = math.Min(weights[i], fluid.Payload(up[i])*seconds)
		}
	}
	return weights
}

// ChoosePart is which part of a file a holder should give runs of next: by D'Hondt's rule over what the flow of least
// time has it give of each, counting what it gave. Parts of which it has nothing to give now (free false) are passed
// over; −1 where that is all of them.
func ChoosePart(share, given []float64, free []bool) int {
	best, due := -1, 0.0
	for c := range share {
		if d := (1 + share[c]) / (1 + given[c]); free[c] && (best < 0 || d > due) {
			best, due = c, d
		}
	}
	return best
}
