// SPDX-License-Identifier: Apache-2.0

package plan

import "github.com/bkp-tool/bkp/core/plan/fluid"

// timeFits is how far the time that a plan takes may be from the time over which its rates are meant.
const timeFits = 0.005

// placeAhead plans where rates follow calendars: by the mean rates over the time that the plan itself takes.
func placeAhead(req Request) (out *Plan, err error) {
	changing := fluid.Narrowed(req.Snapshot)
	seconds, err := fluid.Settle(timeFits, func(t float64) (float64, error) {
		req.Snapshot = changing.Over(t)
		if out, err = place(req); err != nil {
			return 0, err
		}
		return out.PredictedS, nil
	})
	if err != nil {
		return nil, err
	}
	out.PredictedS = seconds
	return out, nil
}
