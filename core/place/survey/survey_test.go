// SPDX-License-Identifier: Apache-2.0

package survey

import (
	"slices"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/wire"
)

var a, b, c, d = core.ID{1}, core.ID{2}, core.ID{3}, core.ID{4}

// TestLinksOfASurvey: each link is there once a direction, as fast as it was agreed on, and no faster than whoever
// sends over it measured; the links of nodes that were not heard are not.
func TestLinksOfASurvey(t *testing.T) {
	s := New(core.NodeState{ID: a})
	reports := map[core.ID]wire.StateReport{
		b: {Links: []wire.LinkReport{{ID: a, Capacity: 100, Measured: 40}, {ID: c, Capacity: 90, Measured: 0},
			{ID: d, Capacity: 70}}},
		c: {Links: []wire.LinkReport{{ID: b, Capacity: 90, Measured: 30}}, Labels: map[string]string{"zone": "x"},
			Remaining: 7},
	}
	s.Add(b, End{Address: "b", Direct: true, Capacity: 100, Report: wire.LinkReport{Measured: 60}}, reports[b])
	s.Add(c, End{Address: "c", Delay: 0.5}, reports[c])
	s.Between(reports)
	want := []core.LinkState{{From: 0, To: 1, Rate: 60}, {From: 1, To: 0, Rate: 40}, {From: 1, To: 2, Rate: 90},
		{From: 2, To: 1, Rate: 30}}
	if !slices.EqualFunc(s.Links, want, func(x, y core.LinkState) bool {
		return x.From == y.From && x.To == y.To && x.Rate == y.Rate
	}) {
		t.Errorf("links %+v, want %+v", s.Links, want)
	}
	if n := s.Nodes[2]; n.Zone != "x" || n.Free != 7 || n.Delay != 0.5 || s.Address(c) != "c" || s.Address(d) != "" {
		t.Errorf("c is %+v", n)
	}
	if got := s.Strangers([]core.ID{a, b, c, d}); !slices.Equal(got, []core.ID{d}) {
		t.Errorf("not in the survey: %v", got)
	}
}

// TestLinkAhead: where both ends have a calendar the slower one counts at each moment; where one has, what the other
// gives now caps it.
func TestLinkAhead(t *testing.T) {
	ahead := func(rate core.Rate) core.Forecast { return core.Steady(rate) }
	for _, test := range []struct {
		a, b wire.LinkReport
		want core.Forecast
	}{
		{wire.LinkReport{}, wire.LinkReport{}, nil},
		{wire.LinkReport{Ahead: ahead(50), Theirs: 30}, wire.LinkReport{}, ahead(30)},
		{wire.LinkReport{}, wire.LinkReport{Ahead: ahead(50), Theirs: 80}, ahead(50)},
		{wire.LinkReport{Ahead: ahead(50), Theirs: 1}, wire.LinkReport{Ahead: ahead(20), Theirs: 1}, ahead(20)},
	} {
		if got := linkAhead(test.a, test.b); !slices.Equal(got, test.want) {
			t.Errorf("%+v and %+v: %v, want %v", test.a, test.b, got, test.want)
		}
	}
}
