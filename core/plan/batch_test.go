// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"math"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/core"
)

func threeNodes() core.Snapshot {
	s := core.Snapshot{Source: 1, Nodes: make([]core.NodeState, 3)}
	for i := range s.Nodes {
		s.Nodes[i].ID[0] = byte(i + 1)
	}
	s.Nodes[0].Labels = map[string]string{"price_store": "0.5", "afr": "0.02", "uptime": "nonsense", "price_send": "-1"}
	s.Nodes[2].Labels = map[string]string{"uptime": "0.99"}
	s.Links = []core.LinkState{{From: 1, To: 2, Rate: 7}, {From: 0, To: 2, Rate: 9}, {From: 0, To: 1, Rate: 11}}
	return s
}

func TestBatchLeavesTheSourceOut(t *testing.T) {
	b, index := BatchOf(threeNodes(), []Class{{Runs: []core.Size{5, 3}, Holders: []int{2, 1}}}, 2)
	if b.Nodes.Len() != 2 || index[0] != 0 || index[1] != 2 {
		t.Fatalf("index %v of %d candidates", index, b.Nodes.Len())
	}
	if b.Nodes.Link[0] != 0 || b.Nodes.Link[1] != 7 || len(b.Links) != 1 ||
		b.Links[0] != (core.BatchLink{From: 0, To: 1, Rate: 9}) {
		t.Errorf("links %v, from the source %v", b.Links, b.Nodes.Link)
	}
	if c := b.File.Classes[0]; c.Count != 2 || c.Size != 8 || len(c.Holders) != 1 || c.Holders[0] != 1 ||
		b.File.RunSize != 5 {
		t.Errorf("file %+v", b.File)
	}
	if b.Nodes.PriceStore[0] != 0.5 || b.Nodes.PriceSend[0] != 0 || b.Nodes.AnnualFailure[0] != 0.02 ||
		b.Nodes.Uptime[0] != 1 || b.Nodes.Uptime[1] != 0.99 {
		t.Errorf("labels read as %+v", b.Nodes)
	}
}

// TestNumericLabelsAreColumns: a strategy finds every label that is a number by its name.
func TestNumericLabelsAreColumns(t *testing.T) {
	s := threeNodes()
	s.Nodes[0].Labels = map[string]string{"carbon": "12.5", "rack": "left", "owed": "-1"}
	s.Nodes[2].Labels = map[string]string{"height": "3"}
	b, _ := BatchOf(s, nil, 1)
	want := map[string][]float64{"carbon": {12.5, 0}, "height": {0, 3}}
	if !reflect.DeepEqual(b.Nodes.Numbers, want) {
		t.Errorf("columns %v, want %v", b.Nodes.Numbers, want)
	}
	for i := range 2 * maxNumbers {
		s.Nodes[2].Labels["x"+strconv.Itoa(i)] = "1"
	}
	s.Nodes[0].Labels["height"] = "4"
	b, _ = BatchOf(s, nil, 1)
	if n := b.Nodes.Numbers; len(n) != maxNumbers || n["height"] == nil || n["carbon"] == nil {
		t.Errorf("%d columns, of those that most nodes have %v", len(n), n["height"])
	}
}

// TestBatchKnowsTrunks: beyond a thin trunk a node can be reached no faster than it allows, whatever its link.
func TestBatchKnowsTrunks(t *testing.T) {
	s := threeNodes()
	s.Nodes[s.Source].Zone, s.Nodes[2].Zone = "west", "east"
	s.Trunks = []core.TrunkState{{From: "west", To: "east", Rate: 3}, {From: "east", To: "west", Rate: 1}}
	if b, _ := BatchOf(s, nil, 1); b.Nodes.Link[1] != 3 {
		t.Errorf("a node behind a trunk of 3 B/s is reached at %d", b.Nodes.Link[1])
	}
}

func TestBadAnswersOfAStrategy(t *testing.T) {
	batch, _ := BatchOf(threeNodes(), nil, 1)
	for name, bad := range map[string]struct {
		scores core.Scores
		says   string
	}{
		"too few rows":  {core.Scores{PlaceCost: []float64{1}}, "1 rows of place_cost for 2 nodes"},
		"too many rows": {core.Scores{Allow: []bool{true, true, true}}, "3 rows of allow for 2 nodes"},
		"NaN": {core.Scores{PlaceCost: []float64{1, math.NaN()}},
			"place_cost = NaN for node " + batch.Nodes.ID[1]},
		"negative":          {core.Scores{TargetWeight: []float64{-1, 0}}, "target_weight = -1"},
		"infinite":          {core.Scores{FirstHolderWeight: []float64{math.Inf(1), 0}}, "first_holder_weight = +Inf"},
		"negative quota":    {core.Scores{QuotaCap: []core.Size{-1, 0}}, "quota_cap = -1"},
		"spread by planet":  {core.Scores{Spread: core.Spread{Level: "planet", Max: 1}}, `level "planet"`},
		"spread of nothing": {core.Scores{Spread: core.Spread{Level: "zone"}}, "at least 1"},
		"spread nowhere":    {core.Scores{Spread: core.Spread{Max: 2}}, "without a level"},
	} {
		err := CheckScores(batch, bad.scores)
		if core.CodeOf(err) != core.CodePlugin || err == nil || !strings.Contains(err.Error(), bad.says) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := Place(Request{Snapshot: threeNodes(), Replicas: 1,
			Scores: bad.scores}); core.CodeOf(err) != core.CodePlugin {
			t.Errorf("%s: Place: %v", name, err)
		}
	}
	if err := CheckScores(batch, core.Scores{Allow: []bool{true, false},
		Spread: core.Spread{Level: "zone", Max: 1}}); err != nil {
		t.Error(err)
	}
}

func TestBadSnapshots(t *testing.T) {
	for name, spoil := range map[string]func(*core.Snapshot){
		"source beyond the end": func(s *core.Snapshot) { s.Source = 3 },
		"no nodes":              func(s *core.Snapshot) { *s = core.Snapshot{} },
		"link to nowhere":       func(s *core.Snapshot) { s.Links[0].To = 3 },
		"link to itself":        func(s *core.Snapshot) { s.Links[0].To = s.Links[0].From },
		"negative link":         func(s *core.Snapshot) { s.Links[0].Rate = -1 },
		"negative space":        func(s *core.Snapshot) { s.Nodes[0].Free = -1 },
		"negative uplink":       func(s *core.Snapshot) { s.Nodes[0].Up = -1 },
	} {
		s := threeNodes()
		spoil(&s)
		if _, err := Place(Request{Snapshot: s, Replicas: 1}); err == nil {
			t.Errorf("%s: planned", name)
		}
	}
	if _, err := Place(Request{Snapshot: threeNodes(), Replicas: 1,
		Classes: []Class{{Holders: []int{9}}}}); err == nil {
		t.Error("holder beyond the end: planned")
	}
}
