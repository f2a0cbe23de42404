// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"

	"github.com/bkp-tool/bkp/core"
)

// What a plan is to make small first.
const (
	// ObjectiveTime lets a node take no more than it can receive within Slack times the bound, then looks at costs.
	ObjectiveTime = "time"
	// ObjectiveCost fills nodes in the order of their cost, or by their weights, as far as their space goes.
	ObjectiveCost = "cost"
	// ObjectiveBlend looks at plans of many lengths and takes the one whose time and cost, each against the least,
	// weigh least.
	ObjectiveBlend = "blend"
)

// Slack is how much longer than the bound a plan for ObjectiveTime may take for the sake of lower costs.
const Slack = 1.05

// Request is one question to the planner. Nodes are named by their index in Snapshot.Nodes.
type Request struct {
	Snapshot core.Snapshot
	Info     core.StrategyInfo
	Scores   core.Scores // one entry a candidate, in the order of BatchOf: every node but the source
	Replicas int         // copies of every run, the source's own not counted; the scores may ask for more
	Classes  []Class
	Seed     uint64 // orders the nodes on the circle; derived from the file, so that files differ
	// Objective is one of the above. Empty means that which the scores name, else ObjectiveTime.
	Objective string
	Blend     float64 // ObjectiveBlend: the weight of time from 0 to 1; the rest is that of cost
	Deadline  float64 // seconds that a node may receive, whatever the objective; 0 for any time

	// Relays says that nodes may pass on what they do not keep. Then a candidate needs no link from the source, only a
	// way.
	Relays bool
	// K is above 0 where the copies of a run are shards, of which any K restore it: no two are alike, so none is passed
	// on from one that keeps another. Replicas is then the number of shards, and the classes' runs have the size of
	// one. A class with Copies of its own bears as many losses as the others: it needs K less for each copy less, and
	// where that leaves 1, copies of whole runs go by the same rule.
	K int
}

// Class is runs that the same nodes keep already, and that may go to the same others: usually the only one.
type Class struct {
	Runs    []core.Size // stored bytes of each run, in order
	Holders []int       // who keeps all of these runs now; of shards, one each
	Copies  int         // of each run, where that is another number than Request.Replicas; 0 for that
}

// Plan is who keeps what, from whom it comes, how long that takes, and why.
type Plan struct {
	Classes    [][]Span // per class of the request, by Start; a sender stands before those it sends to
	Flows      []Flow   // by From, then To
	Nodes      []NodeRow
	Refused    []Refusal
	Replicas   int    // copies of every run
	Raised     string // why there are more replicas than were asked for; empty where there are not
	Risk       Risk
	PredictedS float64 // until the last byte arrived: the slowest flow and FillS
	BoundS     float64 // the least possible time for these copies on any choice of the candidates
	Ratio      float64 // PredictedS without FillS, over BoundS; 1 where both are 0, 0 where only BoundS is
	Binding    string  // what sets the bound: "source uplink", "downlinks n2, n4", …
	Relays     []Span  // what nodes pass on and do not keep, in the order of the classes; none without Request.Relays
	FillS      float64 // what it takes longer because runs are passed on whole
}

// Spans is who has which runs at the end, by class: who passes runs on keeps them too.
func (p *Plan) Spans() (spans [][]Span) {
	for _, list := range p.Classes {
		spans = append(spans, slices.Clone(list))
	}
	for _, s := range p.Relays {
		spans[s.Class] = append(spans[s.Class], s)
	}
	return spans
}

// Span gives the runs Start to Start+Length-1 of a class to Node, which gets them from From.
type Span struct {
	Node, From    int // equal where Node keeps the runs already
	Start, Length int
	Class         int // of the request
	Shard         int // which shard of the runs, from 0; only where Request.K is above 0
}

// End is the first run after the span.
func (s Span) End() int { return s.Start + s.Length }

// Flow is everything that one node sends to another for this plan.
type Flow struct {
	From, To int
	Bytes    core.Size // stored bytes, without what the wire adds
	Rate     core.Rate // its share of the wire, 0 where nothing limits it
}

// NodeRow is what one node gets.
type NodeRow struct {
	Node    int
	Bytes   core.Size // stored bytes that it is to keep for this task
	Held    core.Size // how much of Bytes it keeps already
	Runs    int
	Cost    float64 // the strategy's price per byte, or 1 over its weight where it gave weights alone; 0 without either
	Explain string  // why it gets this much, for a person
	First   float64 // seconds until its first run can be there
	Finish  float64 // seconds until its last run is there
}

// Refusal is a candidate that gets nothing, and why.
type Refusal struct {
	Node   int
	Reason string
	Barred bool // the strategy does not allow it, and would not later
}
