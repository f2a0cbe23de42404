// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"testing"

	"github.com/bkp-tool/bkp/core"
)

func TestRisk(t *testing.T) {
	s := core.Snapshot{Nodes: make([]core.NodeState, 5)}
	for i, zone := range []string{"A", "A", "A", "B", ""} {
		s.Nodes[i].Zone = zone
	}
	span := func(node, start, length int) Span { return Span{Node: node, Start: start, Length: length} }
	for _, c := range []struct {
		name             string
		spans            []Span
		replicas, needed int
		want             Risk
	}{
		{"two sets of two", []Span{span(1, 0, 10), span(3, 0, 6), span(4, 6, 4)}, 2, 1,
			Risk{Bears: 1, Sets: 2, Of: 6, Zones: true}},
		{"a set comes again", []Span{span(1, 0, 10), span(3, 0, 3), span(4, 3, 3), span(3, 6, 4)}, 2, 1,
			Risk{Bears: 1, Sets: 2, Of: 6, Zones: true}},
		{"both in one zone", []Span{span(1, 0, 10), span(2, 0, 5), span(3, 5, 5)}, 2, 1,
			Risk{Bears: 1, Sets: 2, Of: 6, Zone: "zone A"}},
		{"one copy", []Span{span(4, 0, 10)}, 1, 1, Risk{Sets: 1, Of: 4, Zone: "a node without a zone"}},
		{"shards", []Span{span(1, 0, 10), span(2, 0, 10), span(3, 0, 10)}, 3, 2,
			Risk{Bears: 1, Sets: 1, Of: 4, Zone: "zone A"}},
	} {
		if got := RiskOf(s, [][]Span{c.spans}, c.replicas, c.replicas-c.needed,
			func(int) int { return c.needed }); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}
