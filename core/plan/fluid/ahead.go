// SPDX-License-Identifier: Apache-2.0

package fluid

import (
	"math"
	"slices"

	"github.com/bkp-tool/bkp/core"
)

// boundFits is how far the time over which rates are meant may be from the bound.
const boundFits = 1e-8

// leastAhead is the bound where rates follow calendars. Whatever passes within a time passes at the mean rates over it
// too, so that the job cannot end before the mean rates allow it; and what may pass grows with the time.
func leastAhead(s core.Snapshot, g Goal) (b Bound, err error) {
	s = Narrowed(s)
	b.Seconds, err = Settle(boundFits, func(t float64) (float64, error) {
		at, err := LeastTime(s.Over(t), g)
		b.Binding = at.Binding
		return at.Seconds, err
	})
	b.Seconds /= 1 + boundFits
	return b, err
}

// Narrowed lets a link carry at no moment more than its two ends and its trunk do at that moment: their means alone
// would not know that the one sleeps while the other is open.
func Narrowed(s core.Snapshot) core.Snapshot {
	s.Links = slices.Clone(s.Links)
	trunks := map[[2]string]core.Forecast{}
	for _, t := range s.Trunks {
		trunks[[2]string{t.From, t.To}] = ahead(t.Rate, t.Ahead)
	}
	for i := range s.Links {
		l := &s.Links[i]
		from, to := s.Nodes[l.From], s.Nodes[l.To]
		trunk := trunks[[2]string{from.Zone, to.Zone}]
		if len(l.Ahead)+len(from.UpAhead)+len(to.DownAhead) > 0 || len(trunk) > 1 {
			l.Ahead = ahead(l.Rate, l.Ahead).Narrower(ahead(from.Up, from.UpAhead)).Narrower(ahead(to.Down,
				to.DownAhead)).Narrower(trunk)
		}
	}
	return s
}

// ahead is the forecast of a rate that may have none.
func ahead(r core.Rate, f core.Forecast) core.Forecast {
	if len(f) == 0 {
		return core.Steady(r)
	}
	return f
}

// Settle finds the time that something takes at the mean rates over just that time. The longer the time, the nearer its
// means are to those of a week, so that one fits; it is found by trying the time that the last try took, between the
// longest that was too short and the shortest that was too long.
func Settle(fits float64, takes func(seconds float64) (float64, error)) (float64, error) {
	t, err := takes(0)
	if err != nil {
		return 0, err
	}
	short, long := 0.0, math.Inf(1)
	for tries := 0; t > 0 && !math.IsInf(t, 1) && long-short > fits*short && tries < 60; tries++ {
		took, err := takes(t)
		switch {
		case err != nil || math.Abs(took-t) <= fits*t:
			return took, err
		case took > t:
			short = t
		default:
			long = t
		}
		if t = took; t <= short || t >= long {
			t = (short + long) / 2
		}
	}
	if !math.IsInf(long, 1) {
		return long, nil // a window opens at this moment, and all that is left passes at once
	}
	return t, nil
}
