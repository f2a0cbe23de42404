// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"math"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan/wrap"
)

// Frontier is up to so many plans between the soonest and the cheapest: each costs less than those before it, and takes
// longer.
func Frontier(req Request, points int) (plans []*Plan, err error) {
	req.Objective, req.Deadline = ObjectiveTime, 0
	soonest, err := Place(req)
	if err != nil {
		return nil, err
	}
	req.Objective = ObjectiveCost
	cheapest, err := Place(req)
	if err != nil {
		return nil, err
	}
	plans = []*Plan{soonest}
	add := func(p *Plan) {
		if p.Price() < plans[len(plans)-1].Price()*(1-wrap.SameCost) {
			plans = append(plans, p)
		}
	}
	first, last := soonest.PredictedS-soonest.FillS, cheapest.PredictedS-cheapest.FillS
	for k := 1; k < points-1 && first > 0 && last > first; k++ {
		req.Deadline = first * math.Pow(last/first, float64(k)/float64(points-1))
		p, err := Place(req)
		if core.CodeOf(err) == core.CodeRedundant {
			continue // whole runs do not fit into that time
		}
		if err != nil {
			return nil, err
		}
		add(p)
	}
	add(cheapest)
	return plans, nil
}
