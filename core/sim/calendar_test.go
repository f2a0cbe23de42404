// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan"
)

// calendarTopology is one source and two more nodes in a row, whose links have the rates of a and b.
func calendarTopology(t testing.TB, at string, mib int, a, b, more string) Topology {
	t.Helper()
	text := fmt.Sprintf(`{"schema":"bkp-topology/1","name":"calendars","at":"%s","file":{"bytes":%d},"nodes":[{"id":"s"},{"id":"a"},{"id":"b"}],
		"links":[{"from":"s","to":"a","bw":"%s"},{"from":"a","to":"b","bw":"%s"}],"source":"s",%s}`, at, mib<<20, a, b, more)
	top, err := Read([]byte(text), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	return top
}

const toA, toBoth = `"redundancy":{"mode":"broadcast","targets":["a"]}`, `"redundancy":{"mode":"broadcast"}`

// TestLinksFollowCalendars compares with what a person works out from the calendars.
func TestLinksFollowCalendars(t *testing.T) {
	const noon = "2026-01-05T12:00:00Z" // a Monday
	hour := 3600.0
	for name, c := range map[string]struct {
		at   string
		mib  int
		a, b string
		job  string
		want float64 // seconds, of the bound; the simulation comes close
	}{
		"all of it by day": {noon, 3600, "22:00-06:00=50MiB,else=1MiB", "unlimited", toA, hour},
		"a link that opens at night": { // until 22:00, 36000 MiB; the other 66400 at 50 MiB a second
			noon, 102_400, "22:00-06:00=50MiB,else=1MiB", "unlimited", toA, 10*hour + 66_400/50},
		"a link that all but sleeps by day": { // until 22:00, 36000 KiB
			noon, 1024, "22:00-06:00=10MiB,else=1KiB", "unlimited", toA, 10*hour + (1024-36_000.0/1024)/10},
		"a link that closes in the morning": { // one minute at 50 MiB a second, the other 600 MiB at 1
			"2026-01-05T05:59:00Z", 3600, "22:00-06:00=50MiB,else=1MiB", "unlimited", toA, 60 + 600},
		"another time zone": { // 22:00 in Tokyo is 13:00 in UTC
			noon, 7200, "tz=Asia/Tokyo,22:00-06:00=2MiB,else=1MiB", "unlimited", toA, hour + 3600/2},
		"the zone of the beginning": { // where it is 21:00 then
			"2026-01-05T21:00:00+09:00", 7200, "22:00-06:00=2MiB,else=1MiB", "unlimited", toA, hour + 3600/2},
		"over several days": { // 57.6 GiB·1.024 a day at work, four times that at the weekend, from Thursday noon
			"2026-01-08T12:00:00Z", 36*3600 + 3600*4, "sat-sun=4MiB,else=1MiB", "unlimited", toA, 37 * hour},
		"unlimited for an hour": {noon, 900_000, "13:00-14:00=unlimited,else=1MiB", "unlimited", toA, hour},
		"two links in a row": { // the second carries 3600 MiB until 14:00, and then 4 MiB a second
			noon, 10_800, "2MiB", "14:00-20:00=4MiB,else=512KiB", toBoth, 2*hour + 7200/4},
	} {
		t.Run(name, func(t *testing.T) {
			top := calendarTopology(t, c.at, c.mib, c.a, c.b, c.job)
			w, r := simulate(t, top, Config{Runs: 2000, Seed: 1})
			if math.Abs(r.BoundS-c.want) > 1e-3*c.want {
				t.Errorf("bound %.1f s, by hand %.1f s", r.BoundS, c.want)
			}
			if r.Ratio < 1-1e-6 || r.Ratio > 1.01 || r.UndeliveredBytes > 0 {
				t.Errorf("done after %.1f s, by hand %.1f s: %.4f of the bound %.1f s", r.MakespanS, c.want, r.Ratio, r.BoundS)
			}
			if off := r.PredictedS/r.MakespanS - 1; math.Abs(off) > 0.02 {
				t.Errorf("predicted %.1f s, took %.1f s", r.PredictedS, r.MakespanS)
			}
			for _, use := range r.Links {
				if use.Share > 1+1e-4 {
					t.Errorf("%s>%s carried %.4f of what its calendar lets it", use.From, use.To, use.Share)
				}
			}
			if at := c.at; w.topology.Start.Format(time.RFC3339) != at || r.Start != at {
				t.Errorf("begins at %s, result says %s, want %s", w.topology.Start, r.Start, at)
			}
		})
	}
}

// TestPlansFollowCalendars: of two nodes, the one that is slow now and fast at night keeps most of a large file.
func TestPlansFollowCalendars(t *testing.T) {
	text := `{"schema":"bkp-topology/1","name":"night","at":"2026-01-05T20:00:00Z","file":{"bytes":500000000000},
		"nodes":[{"id":"s"},{"id":"day","down":1000000},{"id":"night","down":"22:00-06:00=40MiB,else=100KiB"}],"mesh":{"bw":null},
		"source":"s","redundancy":{"mode":"replicas","r":1}}`
	top, err := Read([]byte(text), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	_, r := simulate(t, top, Config{Runs: 1000, Seed: 1})
	if r.Ratio > 1.05 || r.Nodes[2].Bytes < 20*r.Nodes[1].Bytes {
		t.Errorf("ratio %.3f of %.0f s; the night keeps %s, the day %s", r.Ratio, r.BoundS, r.Nodes[2].Bytes, r.Nodes[1].Bytes)
	}
	if early := r.BoundS - 2*3600; early < 0 || early > 4*3600 {
		t.Errorf("the bound is %.0f s", r.BoundS)
	}
}

// busyWeek is a small mesh in which every kind of account has a calendar, and they change while data moves.
func busyWeek(t testing.TB, mode string) Topology {
	top, err := Read([]byte(fmt.Sprintf(`{"schema":"bkp-topology/1","name":"busy","file":{"bytes":2000000000},
		"nodes":[{"id":"a","up":"00:01-00:02=1MiB,else=10MiB","zone":"A"},{"id":"b","down":"00:01-00:03=9MiB,else=6MiB","zone":"A"},
			{"id":"c","up":"00:00-00:02=2MiB,00:02-00:04=8MiB,else=4MiB","down":"00:00-00:04=4MiB,else=9MiB","zone":"B"},{"id":"d","up":3000000,"zone":"B"}],
		"mesh":{"bw":"00:00-00:03=3MiB,else=6MiB"},"trunks":[{"from_zone":"A","to_zone":"B","bw":"00:01-00:02=500KiB,else=5MiB"}],
		"source":"a","redundancy":%s}`, mode)), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	return top
}

func TestEveryAccountMayChange(t *testing.T) {
	for _, mode := range []string{`{"mode":"broadcast"}`, `{"mode":"replicas","r":2}`, `{"mode":"shards","k":2,"m":1}`,
		`{"mode":"fetch","sink":"a","classes":[{"fraction":"1/2","holders":["b","c"]},{"fraction":"1/2","holders":["d"]}]}`} {
		top := busyWeek(t, mode)
		for _, c := range []Config{{Runs: 200, Seed: 1}, {Runs: 200, Seed: 2, Error: 0.3}, {Runs: 200, Seed: 3}} {
			far := c.Seed == 3
			for i := range top.Network.Nodes {
				if top.Network.Nodes[i].Delay = 0; far {
					top.Network.Nodes[i].Delay = 0.02
				}
			}
			_, r := simulate(t, top, c)
			most := 1.1
			if far {
				most = 1.16 // what talking costs is not in the bound
			}
			if r.Ratio < 1-treeSlack || r.Ratio > most || r.UndeliveredBytes > 0 {
				t.Errorf("%s, seed %d: ratio %.4f of %.1f s by %s, missing %v", top.Goal.Mode, c.Seed, r.Ratio, r.BoundS, r.Binding, r.Missing)
			}
			for _, use := range append(r.Links, r.Trunks...) {
				if use.Share > 1+1e-4 {
					t.Errorf("%s, seed %d: %s>%s carried %.4f of what its calendar lets it", top.Goal.Mode, c.Seed, use.From, use.To, use.Share)
				}
			}
			again, err := Run(top, c)
			if err != nil || !reflect.DeepEqual(r, again) {
				t.Errorf("%s: twice the same question, two answers (%v)", top.Goal.Mode, err)
			}
		}
		lost, err := Run(top, Config{Runs: 200, Seed: 4, Lose: []Loss{{2, 100}}})
		three := top.Goal.Mode == plan.Shards // of them; two nodes are left
		if err != nil || lost.Ratio > 2 || lost.Ratio < 0.9 && !three || three != (lost.UndeliveredBytes > 0) && top.Goal.Mode != plan.Broadcast {
			t.Errorf("%s with c lost: ratio %.3f of %.1f s, missing %v (%v)", top.Goal.Mode, lost.Ratio, lost.BoundS, lost.Missing, err)
		}
	}
}

// treeSlack is how far a bound by trees may be off.
const treeSlack = 0.005

// TestLaterIsTheSame: a network whose calendars come to one rate behaves as one without calendars.
func TestLaterIsTheSame(t *testing.T) {
	with := calendarTopology(t, "2026-01-05T12:00:00Z", 100, "00:00-12:00=1MiB,else=1MiB", "2MiB", toBoth)
	if with.Network.Changes() || !with.Start.IsZero() {
		t.Errorf("a calendar of one rate counts as one that changes: %+v", with.Network.Links)
	}
	plain := strings.NewReplacer(`"1MiB"`, "1048576", `"2MiB"`, "2097152").Replace(`{"schema":"bkp-topology/1","name":"calendars","file":{"bytes":104857600},
		"nodes":[{"id":"s"},{"id":"a"},{"id":"b"}],"links":[{"from":"s","to":"a","bw":"1MiB"},{"from":"a","to":"b","bw":"2MiB"}],"source":"s",` + toBoth + `}`)
	without, err := Read([]byte(plain), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	a, errA := Run(with, Config{Runs: 50, Seed: 1})
	b, errB := Run(without, Config{Runs: 50, Seed: 1})
	if errA != nil || errB != nil || !reflect.DeepEqual(a, b) {
		t.Errorf("%+v (%v)\n%+v (%v)", a, errA, b, errB)
	}
}

// TestLiveKeepsForecasts: what nodes tell of the week to come is what a simulation of the live network goes by.
func TestLiveKeepsForecasts(t *testing.T) {
	opens := core.Forecast{{After: 0, Rate: core.Rate(core.MiB)}, {After: 1000, Rate: 10 * core.Rate(core.MiB)}}
	s := core.Snapshot{Nodes: []core.NodeState{{ID: core.ID{1}}, {ID: core.ID{2}, Free: core.TiB, Total: core.TiB}},
		Links: []core.LinkState{{From: 0, To: 1, Rate: opens[0].Rate, Ahead: opens}, {From: 1, To: 0}}}
	// on the wire, 1000 MiB until the link opens, 10000 after
	size := core.Size(math.Round((11_000 << 20) / core.WireOverhead))
	r, err := Run(Live(s, plan.Goal{Mode: plan.Replicas, Size: size, Replicas: 1}), Config{Runs: 1000, Seed: 1})
	if err != nil || math.Abs(r.MakespanS-2000) > 5 || math.Abs(r.BoundS-2000) > 1 {
		t.Errorf("done after %v s, bound %v s, want 2000 (%v)", r.MakespanS, r.BoundS, err)
	}
}
