// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"math"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
)

// TestPlanTakesAsLongAsItsCalendarsSay compares plans of one source and one target with what the calendar itself
// answers.
func TestPlanTakesAsLongAsItsCalendarsSay(t *testing.T) {
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		calendar string
		runs     int // of 4 MiB
	}{
		{"22:00-06:00=50MiB,else=5MiB", 100},
		{"22:00-06:00=50MiB,else=5MiB", 50_000},
		{"22:00-06:00=50MiB,else=5MiB", 400_000},
		{"22:00-06:00=1MiB,else=50MiB", 500_000},
		{"12:01-13:00=1MiB,else=100MiB", 2000},
		{"tue=unlimited,else=1MiB", 50_000},
		{"mon-fri 08:00-18:00=1MiB,else=20MiB", 1_000_000},
	} {
		cal, err := core.ParseCalendar(c.calendar)
		if err != nil {
			t.Fatal(err)
		}
		class := Class{}
		for range c.runs {
			class.Runs = append(class.Runs, core.MaxRun)
		}
		bytes := core.Size(c.runs) * core.MaxRun
		want := cal.Seconds(core.Size(core.WireOverhead*float64(bytes)), noon)
		at := func(id byte, n core.NodeState) core.NodeState {
			n.ID, n.Free, n.Total = core.ID{id}, 100*core.TiB, 100*core.TiB
			return n
		}
		for name, s := range map[string]core.Snapshot{
			"uplink": {Nodes: []core.NodeState{at(1, core.NodeState{Up: cal.At(noon), UpAhead: cal.Forecast(noon)}),
				at(2, core.NodeState{})}},
			"downlink": {Nodes: []core.NodeState{at(1, core.NodeState{}),
				at(2, core.NodeState{Down: cal.At(noon), DownAhead: cal.Forecast(noon)})}},
			"link": {Nodes: []core.NodeState{at(1, core.NodeState{}), at(2, core.NodeState{})},
				Links: []core.LinkState{{From: 0, To: 1, Rate: cal.At(noon), Ahead: cal.Forecast(noon)}}},
		} {
			p, err := Place(Request{Snapshot: s, Replicas: 1, Classes: []Class{class}})
			if err != nil {
				t.Fatal(err)
			}
			if math.Abs(p.PredictedS-p.FillS-want) > 0.02*want+1 {
				t.Errorf("%s of %s, %s: predicted %.0f s with %.3g s of fill, the calendar says %.0f s", name,
					c.calendar, bytes, p.PredictedS, p.FillS, want)
			}
		}
	}
}

// TestBoundFollowsCalendars: two links in a row that are never open together pass on what was kept meanwhile, and one
// whose end sleeps passes nothing.
func TestBoundFollowsCalendars(t *testing.T) {
	day, night := core.Forecast{{After: 0, Rate: 1050}, {After: 1000, Rate: 1}},
		core.Forecast{{After: 0, Rate: 1}, {After: 1000, Rate: 1050}}
	free := core.NodeState{Free: core.TiB, Total: core.TiB}
	for name, c := range map[string]struct {
		middle core.NodeState
		second core.Forecast
		want   float64
	}{
		"the second link opens when the first shuts": {free, night, 1500},
		"the middle hears by day and speaks by night": {core.NodeState{DownAhead: day, UpAhead: night}, nil,
			1500},
		"the first link and who hears it are never open together": {core.NodeState{DownAhead: night}, nil, 525_000},
	} {
		s := core.Snapshot{Nodes: []core.NodeState{free, c.middle, free},
			Links: []core.LinkState{{From: 0, To: 1, Ahead: day}, {From: 1, To: 2, Ahead: c.second}}}
		b, err := LeastTime(s, Goal{Mode: Broadcast, Size: 500_000, Targets: []int{2}})
		if err != nil || b.Seconds > c.want*1.01 || b.Seconds < c.want*0.99 {
			t.Errorf("%s: %v s by %s, want %v (%v)", name, b.Seconds, b.Binding, c.want, err)
		}
	}
}

// TestZoneKeepsNoMoreCopiesThanItHasNodes: with one node beside the source, one of two copies must cross the trunk.
func TestZoneKeepsNoMoreCopiesThanItHasNodes(t *testing.T) {
	s := core.Snapshot{Trunks: []core.TrunkState{{From: "A", To: "B", Rate: 1050}}}
	for _, zone := range []string{"A", "A", "B", "B"} {
		s.Nodes = append(s.Nodes, core.NodeState{Zone: zone, Free: core.TiB, Total: core.TiB, Up: 1e6, Down: 1e6})
	}
	for replicas, want := range map[int]float64{1: 0.105, 2: 100, 3: 100} {
		b, err := LeastTime(s, Goal{Mode: Replicas, Size: 100_000, Replicas: replicas})
		if err != nil || math.Abs(b.Seconds-want) > 0.01*want {
			t.Errorf("%d replicas: %v s by %s, want %v (%v)", replicas, b.Seconds, b.Binding, want, err)
		}
	}
}
