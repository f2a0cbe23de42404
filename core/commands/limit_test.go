// SPDX-License-Identifier: Apache-2.0

package commands_test

import (
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // calendars of the tests name a time zone

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/commands"
	"github.com/bkp-tool/bkp/core/control"
)

func calendar(s string) core.Calendar {
	c, err := core.ParseCalendar(s)
	if err != nil {
		panic(err)
	}
	return c
}

// limit changes what a node gives.
func (m *member) limit(args control.LimitArgs) control.LimitResult {
	m.cluster.t.Helper()
	r, err := m.Limit(m.cluster.t.Context(), args, quiet)
	check(m.cluster.t, err)
	return r
}

// leased watches the sum of a node's leases in one direction for some seconds: the least and the most of it.
func (m *member) leased(direction string, seconds float64) (least, most core.Rate) {
	least = 1 << 60
	for range int(seconds * 10) {
		time.Sleep(100 * time.Millisecond)
		sum := core.Rate(0)
		for _, l := range m.status().Leases {
			if l.State == "live" && l.Direction == direction {
				sum += l.Rate
			}
		}
		least, most = min(least, sum), max(most, sum)
	}
	return least, most
}

// TestALimitTakesHoldAtOnceAtBothEnds lowers the sender's uplink, the link and the receiver's downlink under a running
// placement, and lifts them again. Strict nodes hold I2 and I3 after every look.
func TestALimitTakesHoldAtOnceAtBothEnds(t *testing.T) {
	long(t)
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a", "", c.owned)
		b := c.start("b", "a-4MiB")
		a.split("disk.img", 1, content(1, 112<<20))
		c.settle()
		done := make(chan control.PlaceResult, 1)
		go func() { done <- a.place(control.PlaceArgs{Replicas: 1}) }()
		time.Sleep(2 * time.Second)
		const mib = core.Rate(core.MiB)
		for _, step := range []struct {
			at     *member
			change control.LimitArgs
			most   core.Rate
		}{
			{a, control.LimitArgs{Uplink: "1MiB"}, 1 * mib},
			{a, control.LimitArgs{Uplink: "unlimited"}, 4 * mib},
			{b, control.LimitArgs{Downlink: "2MiB"}, 2 * mib},
			{b, control.LimitArgs{Downlink: "unlimited"}, 4 * mib},
			{b, control.LimitArgs{Peer: "a:8001", Link: "1MiB"}, 1 * mib},
			{b, control.LimitArgs{Peer: "a:8001", Link: "3MiB"}, 3 * mib}, // a has no figure, and follows
			{b, control.LimitArgs{Peer: "a:8001", Link: "1MiB"}, 1 * mib},
			{a, control.LimitArgs{Peer: b.ID().Short(), Link: "512"}, mib / 2},
			{a, control.LimitArgs{Peer: "b:8001", Link: "8MiB"}, 1 * mib}, // the other side gives no more
			{b, control.LimitArgs{Peer: a.ID().String(), Link: "3MiB"}, 3 * mib},
		} {
			step.at.limit(step.change)
			time.Sleep(2 * time.Second)
			_, sent := a.leased("send", 1.5)
			_, received := b.leased("receive", 1.5)
			if sent > step.most || received > step.most || sent < step.most/10*9 || received < step.most/10*9 {
				t.Errorf("after %+v: %s leased to send, %s to receive, want %s", step.change, sent, received, step.most)
			}
		}
		result := <-done
		t.Logf("%s in %.1f s", result.Bytes, result.Seconds)
		for _, m := range []*member{a, b} {
			for _, account := range m.status().Accounts {
				if account.Leased != 0 {
					t.Errorf("%s: account %s still has %s leased at rest", m.name, account.Name, account.Leased)
				}
			}
		}
		a.stop()
		b.stop()
		if n := strings.Count(a.trace.String()+b.trace.String(), `"LEASE_REVISE"`); n == 0 {
			t.Error("no lease was revised")
		}
	})
}

// TestPlacementFollowsACalendar places through a window that opens after half a minute. The time of the plan is the
// calendar's.
func TestPlacementFollowsACalendar(t *testing.T) {
	long(t)
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		uplink := calendar("tz=UTC,00:01-00:02=2MiB,else=256KiB") // the bubble's clock starts at midnight
		a := c.start("a", "", c.owned, func(conf *commands.Config) { conf.Uplink = uplink })
		c.start("b", "a-50MiB")
		a.split("disk.img", 1, content(2, 24<<20))
		c.settle()
		time.Sleep(time.Until(time.Date(2000, 1, 1, 0, 0, 30, 0, time.UTC)))
		began := time.Now()
		result := a.place(control.PlaceArgs{Replicas: 1})
		want := uplink.Seconds(core.Size(float64(result.Bytes)*core.WireOverhead), began)
		if result.PredictedS < want*0.97 || result.PredictedS > want*1.05 {
			t.Errorf("predicted %.1f s, the calendar says %.1f s", result.PredictedS, want)
		}
		if result.Seconds < want*0.97 || result.Seconds > want*1.1 {
			t.Errorf("took %.1f s, the calendar says %.1f s", result.Seconds, want)
		}
	})
}

// TestSlowHourIsNotASilentTarget places through minutes in which one run takes longer than a receipt may otherwise.
func TestSlowHourIsNotASilentTarget(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a", "", c.owned, func(conf *commands.Config) { conf.Uplink = calendar("tz=UTC,00:00-00:10=1,else=2MiB") })
		c.start("b", "a-50MiB")
		a.split("disk.img", 1, content(2, 8<<20))
		c.settle()
		result := a.place(control.PlaceArgs{Replicas: 1})
		if result.Seconds < 590 || result.Seconds > 620 {
			t.Errorf("took %.1f s, the uplink opens after 10 minutes", result.Seconds)
		}
	})
}

// TestCalendarsOfOthersReachThePlan plans over a relay's downlink and a link that the far side alone knows the
// calendars of.
func TestCalendarsOfOthersReachThePlan(t *testing.T) {
	for name, setup := range map[string]func(*commands.Config){
		"downlink": func(conf *commands.Config) { conf.Downlink = calendar("tz=UTC,00:01-00:02=2MiB,else=256KiB") },
		"link": func(conf *commands.Config) {
			conf.Links = map[string]core.Calendar{"a:8001": calendar("tz=UTC,00:01-00:02=2MiB,else=256KiB")}
		},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				c := newCluster(t)
				a := c.start("a", "", c.owned)
				c.start("b", "a-50MiB", setup)
				a.split("disk.img", 1, content(2, 16<<20))
				c.settle()
				time.Sleep(time.Until(time.Date(2000, 1, 1, 0, 0, 30, 0, time.UTC)))
				plan, err := a.Place(t.Context(), control.PlaceArgs{Replicas: 1, Strategy: "seed", DryRun: true}, quiet)
				check(t, err)
				want := calendar("tz=UTC,00:01-00:02=2MiB,else=256KiB").Seconds(core.Size(float64(plan.Bytes)*core.WireOverhead), time.Now())
				if plan.PredictedS < want*0.97 || plan.PredictedS > want*1.05 {
					t.Errorf("predicted %.1f s, the calendar says %.1f s", plan.PredictedS, want)
				}
			})
		})
	}
}

func TestLimitRefusesWhatMakesNoSense(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a", "")
		c.start("b", "a-4MiB")
		c.settle()
		for _, test := range []struct {
			args control.LimitArgs
			code core.Code
			says string
		}{
			{control.LimitArgs{Uplink: "fast"}, core.CodeUsage, "fast"},
			{control.LimitArgs{Peer: "b:8001"}, core.CodeUsage, "go together"},
			{control.LimitArgs{Link: "1MiB"}, core.CodeUsage, "go together"},
			{control.LimitArgs{Peer: "b:8001", Link: "mon=unlimited,else=1MiB"}, core.CodeUsage, "cannot be unlimited"},
			{control.LimitArgs{Peer: "nobody:1", Link: "1MiB"}, core.CodeNoName, "not known"},
		} {
			before := a.limit(control.LimitArgs{})
			_, err := a.Limit(t.Context(), test.args, quiet)
			if core.CodeOf(err) != test.code || !strings.Contains(err.Error(), test.says) || core.HintOf(err) == "" &&
				test.args.Peer != "" && test.args.Link != "" {
				t.Errorf("%+v: %v (code %d)", test.args, err, core.CodeOf(err))
			}
			if after := a.limit(control.LimitArgs{}); len(after.Limits) != 3 || after.Limits[0] != before.Limits[0] ||
				after.Limits[2].Bandwidth != "4MiB" {
				t.Errorf("%+v changed %+v to %+v", test.args, before.Limits, after.Limits)
			}
		}
		if row := a.limit(control.LimitArgs{}).Limits[2]; !row.Followed || row.Changed {
			t.Errorf("a has no figure for b: %+v", row)
		}
	})
}
