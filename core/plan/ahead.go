package plan

import "math"

// timeFits is how far the time that a plan takes may be from the time over which its rates are meant.
const timeFits = 0.005

// placeAhead plans where rates follow calendars: by the mean rates over the time that the plan itself takes. The longer that
// time, the nearer the means are to those of a week, so that one time fits; it is found by trying the time that the last plan
// took, between the longest that was too short and the shortest that was too long.
func placeAhead(req Request) (*Plan, error) {
	ahead := req.Snapshot
	over := func(seconds float64) (*Plan, error) {
		req.Snapshot = ahead.Over(seconds)
		return Place(req)
	}
	out, err := over(0)
	if err != nil {
		return nil, err
	}
	short, long := 0.0, math.Inf(1)
	for t, tries := out.PredictedS, 0; t > 0 && !math.IsInf(t, 1) && long-short > timeFits*short && tries < 60; tries++ {
		if out, err = over(t); err != nil {
			return nil, err
		}
		takes := out.PredictedS
		if math.Abs(takes-t) <= timeFits*t {
			return out, nil
		}
		if takes > t {
			short = t
		} else {
			long = t
		}
		if t = takes; t <= short || t >= long {
			t = (short + long) / 2
		}
	}
	if !math.IsInf(long, 1) {
		out.PredictedS = long // a window opens at this moment, and all that is left passes at once
	}
	return out, nil
}
