// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/core"
)

// tight is two classes for which space just suffices: the one held by n1 can only go to n2, where the other could go
// too.
func tight(free core.Size) Request {
	req := Request{Replicas: 2, Classes: []Class{
		{Runs: []core.Size{1000, 1000}, Holders: []int{3}},
		{Runs: []core.Size{1000, 1000}, Holders: []int{1}},
	}}
	req.Snapshot.Nodes = make([]core.NodeState, 4)
	for i := range req.Snapshot.Nodes {
		req.Snapshot.Nodes[i].ID[0] = byte(i + 1)
		req.Snapshot.Nodes[i].Labels = map[string]string{"name": string(rune('a' + i))}
	}
	req.Snapshot.Nodes[1].Free = free
	req.Snapshot.Nodes[2].Free = 2000
	req.Scores.PlaceCost = []float64{9, 1, 9} // c is the cheapest, so the first class would fill it
	return req
}

func TestClassesShareTightSpace(t *testing.T) {
	p, err := Place(tight(2000))
	if err != nil {
		t.Fatal(err)
	}
	for c, want := range []int{1, 2} {
		for _, s := range p.Classes[c] {
			if s.From != s.Node && s.Node != want {
				t.Errorf("class %d: new copies on %d, want %d", c, s.Node, want)
			}
		}
	}
	_, err = Place(tight(1000))
	if core.CodeOf(err) != core.CodeRedundant || !strings.Contains(err.Error(), "space of b, c") {
		t.Errorf("with too little room: %v", err)
	}
}
