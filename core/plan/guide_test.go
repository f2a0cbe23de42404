// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"testing"

	"github.com/bkp-tool/bkp/core"
)

// TestGuide says what senders go by for copies on three nodes, of which each case changes something.
func TestGuide(t *testing.T) {
	const mib = core.Rate(core.MiB)
	for _, test := range []struct {
		name string
		runs int
		f    func(s *core.Snapshot, p *Plan)
		want core.Guide
	}{
		{"two of them keep something", 100, func(_ *core.Snapshot, p *Plan) { p.Refused = []Refusal{{Node: 2}} }, core.GuideRuns},
		{"few runs", 10, func(_ *core.Snapshot, p *Plan) { p.Refused = []Refusal{{Node: 2}} }, core.GuideNone},
		{"few runs, and a node passes on", 10, func(_ *core.Snapshot, p *Plan) { p.Relays = []Span{{Node: 2, Length: 1}} },
			core.GuideLinks},
		{"senders that choose are sooner", 100, func(_ *core.Snapshot, p *Plan) {
			p.Refused, p.PredictedS = []Refusal{{Node: 2}}, 5
		}, core.GuideNone},
		{"all keep all, and only their sides limit", 100, func(*core.Snapshot, *Plan) {}, core.GuideNone},
		{"all keep all over a narrow link", 100, func(s *core.Snapshot, _ *Plan) { s.Links[0].Rate = mib / 2 }, core.GuideRuns},
		{"all keep all over a trunk", 100, func(s *core.Snapshot, _ *Plan) {
			s.Trunks = []core.TrunkState{{From: "a", To: "b", Rate: mib}}
		}, core.GuideRuns},
		{"one flow carries next to nothing", 100, func(_ *core.Snapshot, p *Plan) {
			p.Refused, p.PredictedS = []Refusal{{Node: 2}}, 8.4
			p.Flows = append(p.Flows, Flow{From: 0, To: 2, Bytes: 807, Rate: 100}) // 100.9 by the plan
		}, core.GuideRuns},
		{"more ways from one node than it serves", 100, func(_ *core.Snapshot, p *Plan) {
			p.Refused = []Refusal{{Node: 2}}
			for to := range mostWays {
				p.Flows = append(p.Flows, Flow{From: 0, To: 3 + to, Bytes: 1, Rate: mib})
			}
		}, core.GuideNone},
		{"one keeps less", 100, func(_ *core.Snapshot, p *Plan) { p.Nodes[1].Bytes-- }, core.GuideRuns},
	} {
		s := core.Snapshot{Nodes: []core.NodeState{{Up: mib}, {Up: mib}, {Up: mib}}}
		for from := range 3 {
			for to := range 3 {
				if from != to {
					s.Links = append(s.Links, core.LinkState{From: from, To: to, Rate: 2 * mib})
				}
			}
		}
		p := &Plan{PredictedS: 10, Nodes: []NodeRow{{Node: 1, Bytes: 8 * core.MiB}, {Node: 2, Bytes: 8 * core.MiB}},
			Flows: []Flow{{From: 0, To: 1, Bytes: 8 * core.MiB, Rate: mib}, {From: 1, To: 2, Bytes: 8 * core.MiB, Rate: mib}}}
		if test.f(&s, p); p.Guide(test.runs, s) != test.want {
			t.Errorf("%s: %q, want %q", test.name, p.Guide(test.runs, s), test.want)
		}
	}
}
