package plan

import (
	"math"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
)

// TestPlanTakesAsLongAsItsCalendarsSay compares plans of one source and one target with what the calendar itself answers.
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
			"uplink":   {Nodes: []core.NodeState{at(1, core.NodeState{Up: cal.At(noon), UpAhead: cal.Forecast(noon)}), at(2, core.NodeState{})}},
			"downlink": {Nodes: []core.NodeState{at(1, core.NodeState{}), at(2, core.NodeState{Down: cal.At(noon), DownAhead: cal.Forecast(noon)})}},
			"link": {Nodes: []core.NodeState{at(1, core.NodeState{}), at(2, core.NodeState{})},
				Links: []core.LinkState{{From: 0, To: 1, Rate: cal.At(noon), Ahead: cal.Forecast(noon)}}},
		} {
			p, err := Place(Request{Snapshot: s, Replicas: 1, Classes: []Class{class}})
			if err != nil {
				t.Fatal(err)
			}
			if math.Abs(p.PredictedS-p.FillS-want) > 0.02*want+1 {
				t.Errorf("%s of %s, %s: predicted %.0f s with %.3g s of fill, the calendar says %.0f s", name, c.calendar, bytes, p.PredictedS, p.FillS, want)
			}
		}
	}
}
