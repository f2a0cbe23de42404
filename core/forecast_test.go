// SPDX-License-Identifier: Apache-2.0

package core

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestForecastIsTheCalendarsWeek holds a forecast against its calendar, where no clock is put forward or back.
func TestForecastIsTheCalendarsWeek(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, err := ParseCalendar(drawnCalendar.Draw(t, "calendar"))
		if err != nil {
			t.Fatal(err)
		}
		c.zone = time.UTC
		from := time.Date(2026, 6, 1, 0, 0, rapid.IntRange(0, 7*86400).Draw(t, "from"), 0, time.UTC)
		f := c.Forecast(from)
		if f == nil {
			if _, ok := c.Next(from); ok {
				t.Fatalf("%s changes, its forecast is empty", c)
			}
			return
		}
		seconds := rapid.IntRange(1, 20*86400).Draw(t, "seconds")
		to := from.Add(time.Duration(seconds) * time.Second)
		if got := f.At(float64(seconds)); got != c.At(to) {
			t.Fatalf("in %d s: %s, the calendar says %s", seconds, got, c.At(to))
		}
		mean := float64(c.Bytes(from, to)) / float64(seconds)
		if got := f.Mean(float64(seconds)); math.Abs(float64(got)-mean) > 1 {
			t.Fatalf("the mean of %d s is %d, the calendar says %g", seconds, got, mean)
		}
		other := Forecast{{0, 60 * 1024}, {3600, 0}, {90000, 1024}}
		low := f.Narrower(other)
		at := float64(rapid.IntRange(0, 7*86400-1).Draw(t, "at"))
		want := f.At(at)
		if o := other.At(at); o != 0 && o < want {
			want = o
		}
		if got := low.At(at); got != want {
			t.Fatalf("in %g s the narrower of %s and %s is %s", at, f.At(at), other.At(at), got)
		}
		later := f.Later(int64(seconds))
		if got, want := later.At(at), f.At(at+float64(seconds)); got != want {
			t.Fatalf("%d s later, in %g s: %s, want %s", seconds, at, got, want)
		}
		next, ok := f.Next(float64(seconds))
		if !ok || f.At(next) == f.At(float64(seconds)) || f.At(next-1) != f.At(float64(seconds)) ||
			next <= float64(seconds) {
			t.Fatalf("the next change after %d s is in %v s (%v): from %s by way of %s to %s", seconds, next, ok,
				f.At(float64(seconds)), f.At(next-1), f.At(next))
		}
	})
}

func TestForecastCorners(t *testing.T) {
	f := Forecast{{0, 100}, {10, 0}, {20, 50}}
	if f.Mean(0) != 100 || f.Mean(10) != 100 || f.Mean(11) != 0 || f.Mean(1e9) != 0 {
		t.Errorf("means %d, %d, %d, %d", f.Mean(0), f.Mean(10), f.Mean(11), f.Mean(1e9))
	}
	if got := f.Narrower(nil); len(got) != 3 {
		t.Errorf("with nothing: %v", got)
	}
	if got := f.Narrower(Steady(70)); got.At(0) != 70 || got.At(15) != 70 || got.At(25) != 50 {
		t.Errorf("with a steady rate: %v", got)
	}
	s := Snapshot{Nodes: []NodeState{{Up: 7, UpAhead: f}, {Down: 9}}, Links: []LinkState{{Rate: 1, Ahead: f}},
		Trunks: []TrunkState{{Rate: 1, Ahead: f}}}
	over := s.Over(10)
	if !s.Changes() || over.Changes() || over.Nodes[0].Up != 100 || over.Nodes[1].Down != 9 ||
		over.Links[0].Rate != 100 || over.Trunks[0].Rate != 100 || s.Nodes[0].Up != 7 || s.Slowest() != 50 ||
		over.Slowest() != 0 {
		t.Errorf("over 10 s: %+v, and the snapshot itself %+v", over, s)
	}
	if later := s.Later(12); later.Nodes[0].Up != 0 || later.Nodes[1].Down != 9 || later.Trunks[0].Ahead.At(8) != 50 ||
		len(s.Nodes[0].UpAhead) != 3 {
		t.Errorf("12 s later: %+v", later)
	}
	if _, ok := Steady(5).Next(3); ok || Forecast(nil).Later(5) != nil {
		t.Error("a steady rate changes")
	}
}
