// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"

	"github.com/bkp-tool/bkp/core"
)

// runsEach is how many runs a node has to get, about, for the plan's ways to be worth keeping to for each run: with
// fewer, whole runs are too much for links that are planned to carry little.
const runsEach = 24

// Steady reports whether every one of so many runs may go the way that a plan has it go; else nodes keep to how much
// goes over each link, which is all that holds where rates change.
func Steady(runs int, s core.Snapshot) bool { return runs >= runsEach*len(s.Nodes) && !s.Changes() }

// Guide is what senders of so many runs should go by. Where ways are one solution among many, which those are known to
// beat that choose as they go, it is none.
func (p *Plan) Guide(runs int, s core.Snapshot) core.Guide {
	steady := Steady(runs, s)
	switch {
	case len(p.Relays) == 0 && !p.sharded() && (!steady || !p.paced() || p.crowded() || p.replicates() && sidesOnly(s)):
		return core.GuideNone
	case steady:
		return core.GuideRuns
	}
	return core.GuideLinks
}

// sharded reports whether no two copies of a run are alike.
func (p *Plan) sharded() bool {
	return slices.ContainsFunc(p.Classes, func(spans []Span) bool {
		return slices.ContainsFunc(spans, func(s Span) bool { return s.Shard > 0 })
	})
}

// paced reports whether the plan's flows are done in the time that it foretells: then runs may as well go its ways.
func (p *Plan) paced() bool {
	return p.FlowS() <= 1.001*(p.PredictedS-p.FillS)
}

// mostWays is to how many others a node can send by the plan's ways: it serves plan.MaxReceivers at a time, each at no
// less than a part of its uplink that they can add up to.
const mostWays = 2 * MaxReceivers

// crowded reports whether some node is to send to more.
func (p *Plan) crowded() bool {
	ways := map[int]int{}
	for _, f := range p.Flows {
		if ways[f.From]++; ways[f.From] > mostWays {
			return true
		}
	}
	return false
}

// replicates reports whether every node but the source keeps as much as any other.
func (p *Plan) replicates() bool {
	return len(p.Refused) == 0 &&
		!slices.ContainsFunc(p.Nodes, func(r NodeRow) bool { return r.Bytes < p.Nodes[0].Bytes })
}

// sidesOnly reports whether everybody is linked to everybody, and nothing but the nodes' own sides limits what flows.
func sidesOnly(s core.Snapshot) bool {
	if len(s.Trunks) > 0 {
		return false
	}
	wide := 0
	for _, l := range s.Links {
		side := Least(s.Nodes[l.From].Up, s.Nodes[l.To].Down)
		if l.From != l.To && (l.Rate == 0 || side > 0 && l.Rate >= side) {
			wide++
		}
	}
	return len(s.Links) == 0 || wide >= len(s.Nodes)*(len(s.Nodes)-1)
}

// FlowS is how long the plan's flows take, in seconds. Their rates are rounded down to whole bytes a second, which is
// much for those that carry a few runs only.
func (p *Plan) FlowS() (seconds float64) {
	for _, f := range p.Flows {
		if f.Rate > 0 {
			seconds = max(seconds, core.WireOverhead*float64(f.Bytes)/(float64(f.Rate)+1))
		}
	}
	return seconds
}
