// SPDX-License-Identifier: Apache-2.0

package core

import (
	"math"
	"slices"
	"time"
)

// Forecast is how a rate will change over the week to come: rates and when they begin, in order, the first at 0. After
// the week it begins anew. It is a calendar without its time zone, as nodes tell it each other. Without steps it says
// nothing.
type Forecast []Change

// Change is a rate, 0 for unlimited, and in how many seconds it begins.
type Change struct {
	After int64 `json:"after_s"`
	Rate  Rate  `json:"rate"`
}

// ForecastSpan is how far a forecast looks, MaxForecast how many changes it may have.
const (
	ForecastSpan = 7 * 24 * time.Hour
	MaxForecast  = 1024
)

// Forecast is the calendar's week to come; nil where its rate never changes.
func (c Calendar) Forecast(from time.Time) (f Forecast) {
	if _, steady := c.Steady(); steady {
		return nil
	}
	f = Forecast{{0, c.At(from)}}
	for at, ok := c.Next(from); ok && at.Sub(from) < ForecastSpan && len(f) < MaxForecast; at, ok = c.Next(at) {
		f = append(f, Change{int64(at.Sub(from) / time.Second), c.At(at)})
	}
	return f
}

// Steady is the forecast of a rate that does not change.
func Steady(r Rate) Forecast { return Forecast{{0, r}} }

// At is the rate in some seconds.
func (f Forecast) At(seconds float64) Rate {
	seconds = math.Mod(seconds, ForecastSpan.Seconds())
	rate := f[0].Rate
	for _, c := range f {
		if float64(c.After) > seconds {
			break
		}
		rate = c.Rate
	}
	return rate
}

// Mean is the mean rate over some seconds from now: unlimited where some of them are, the first rate for no time at
// all.
func (f Forecast) Mean(seconds float64) Rate {
	if seconds <= 0 {
		return f[0].Rate
	}
	week := ForecastSpan.Seconds()
	weeks, rest := math.Modf(seconds / week)
	whole, part := f.bytes(week), f.bytes(rest*week)
	if weeks == 0 {
		whole = 0
	}
	if mean := (weeks*whole + part) / seconds; !math.IsInf(mean, 1) {
		return max(1, Rate(mean))
	}
	return 0
}

// bytes is how many pass in the first seconds, of a week at most.
func (f Forecast) bytes(seconds float64) (sum float64) {
	for i, c := range f {
		end := seconds
		if i+1 < len(f) {
			end = min(end, float64(f[i+1].After))
		}
		switch lasts := end - float64(c.After); {
		case lasts <= 0:
		case c.Rate == 0:
			return math.Inf(1)
		default:
			sum += lasts * float64(c.Rate)
		}
	}
	return sum
}

// Narrower is the lower of two forecasts at every moment; one that says nothing limits nothing.
func (f Forecast) Narrower(g Forecast) (out Forecast) {
	if len(f) == 0 || len(g) == 0 {
		return slices.Concat(f, g)
	}
	var edges []int64
	for _, c := range slices.Concat(f, g) {
		edges = append(edges, c.After)
	}
	slices.Sort(edges)
	for _, at := range slices.Compact(edges) {
		rate, other := f.At(float64(at)), g.At(float64(at))
		if rate == 0 || other != 0 && other < rate {
			rate = other
		}
		if len(out) == 0 || out[len(out)-1].Rate != rate {
			out = append(out, Change{at, rate})
		}
	}
	return out
}

// Later is the forecast in some whole seconds from now.
func (f Forecast) Later(seconds int64) (out Forecast) {
	if len(f) == 0 {
		return nil
	}
	week := int64(ForecastSpan / time.Second)
	seconds %= week
	out = Forecast{{0, f.At(float64(seconds))}}
	for _, shift := range []int64{-seconds, week - seconds} { // what is left of this week, then how the next one begins
		for _, c := range f {
			if after := c.After + shift; after > 0 && after < week && c.Rate != out[len(out)-1].Rate {
				out = append(out, Change{after, c.Rate})
			}
		}
	}
	return out
}

// Next is in how many seconds, more than the given ones, the rate changes again; false for one that never does.
func (f Forecast) Next(seconds float64) (float64, bool) {
	week := ForecastSpan.Seconds()
	begun := math.Floor(seconds/week) * week
	for range 2 { // what is left of this week, then how the next one begins
		for _, c := range f {
			if at := begun + float64(c.After); at > seconds && f.At(at) != f.At(seconds) {
				return at, true
			}
		}
		begun += week
	}
	return 0, false
}

// Changes reports whether any rate of the snapshot will.
func (s Snapshot) Changes() bool {
	return slices.ContainsFunc(s.Nodes, func(n NodeState) bool { return len(n.UpAhead)+len(n.DownAhead) > 0 }) ||
		slices.ContainsFunc(s.Links, func(l LinkState) bool { return len(l.Ahead) > 0 }) ||
		slices.ContainsFunc(s.Trunks, func(t TrunkState) bool { return len(t.Ahead) > 0 })
}

// Slowest is the lowest rate that any forecast of the snapshot comes to; 0 without one.
func (s Snapshot) Slowest() (slowest Rate) {
	least := func(f Forecast) {
		for _, c := range f {
			if c.Rate > 0 && (slowest == 0 || c.Rate < slowest) {
				slowest = c.Rate
			}
		}
	}
	for _, n := range s.Nodes {
		least(n.UpAhead)
		least(n.DownAhead)
	}
	for _, l := range s.Links {
		least(l.Ahead)
	}
	for _, t := range s.Trunks {
		least(t.Ahead)
	}
	return slowest
}

// Over is the snapshot with the mean rates of some seconds from now, as if they did not change.
func (s Snapshot) Over(seconds float64) Snapshot {
	return s.each(func(rate *Rate, ahead *Forecast) { *rate, *ahead = ahead.Mean(seconds), nil })
}

// Later is the snapshot in some whole seconds from now, by its forecasts.
func (s Snapshot) Later(seconds int64) Snapshot {
	return s.each(func(rate *Rate, ahead *Forecast) {
		*ahead = ahead.Later(seconds)
		*rate = (*ahead)[0].Rate
	})
}

// each is a copy of the snapshot in which change had its way with every rate that has a forecast.
func (s Snapshot) each(change func(rate *Rate, ahead *Forecast)) Snapshot {
	with := func(rate *Rate, ahead *Forecast) {
		if len(*ahead) > 0 {
			change(rate, ahead)
		}
	}
	s.Nodes, s.Links, s.Trunks = slices.Clone(s.Nodes), slices.Clone(s.Links), slices.Clone(s.Trunks)
	for i := range s.Nodes {
		n := &s.Nodes[i]
		with(&n.Up, &n.UpAhead)
		with(&n.Down, &n.DownAhead)
	}
	for i := range s.Links {
		with(&s.Links[i].Rate, &s.Links[i].Ahead)
	}
	for i := range s.Trunks {
		with(&s.Trunks[i].Rate, &s.Trunks[i].Ahead)
	}
	return s
}

// Credible is what a plan may count on: what is declared, and at most what was measured (0: nothing was).
func Credible(rate Rate, ahead Forecast, measured Rate) (Rate, Forecast) {
	if measured == 0 {
		return rate, ahead
	}
	if ahead != nil {
		ahead = ahead.Narrower(Steady(measured))
	}
	if rate == 0 || measured < rate {
		rate = measured
	}
	return rate, ahead
}
