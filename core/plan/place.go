// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"math"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan/fluid"
)

// Place decides who keeps what. Replicas are never lowered in silence: where the nodes or their space do not suffice,
// the error is of core.CodeRedundant and says what is missing. A bad answer of the strategy is of core.CodePlugin.
func Place(req Request) (*Plan, error) {
	asked, r := req.Replicas, req.Scores.Redundancy
	if r.Replicas <= asked || asked < 1 || req.K > 0 {
		return place(req)
	}
	raised := fmt.Sprintf("the strategy wants %s instead of %d", copies(r.Replicas), asked)
	if r.Why != "" {
		raised += ": " + r.Why
	}
	if nodes := len(req.Snapshot.Nodes) - 1; r.Replicas > nodes {
		return nil, tooMany(core.Fail(core.CodeRedundant, "%s; %s beside the source", raised,
			fluid.Plural(nodes, "there is 1 node", fmt.Sprintf("there are %d nodes", nodes))))
	}
	req.Replicas = r.Replicas
	out, err := place(req)
	if err != nil {
		if core.CodeOf(err) == core.CodeRedundant {
			err = tooMany(core.Fail(core.CodeRedundant, "%s; %w", raised, err))
		}
		return nil, err
	}
	out.Raised = raised
	return out, nil
}

func tooMany(err error) error {
	return core.WithHint(err, "add nodes, or use another strategy: --replicas cannot ask for fewer copies than this one wants")
}

// place is Place with the number of replicas settled.
func place(req Request) (*Plan, error) {
	if req.Snapshot.Changes() {
		return placeAhead(req)
	}
	p, err := newPlanner(req)
	if err != nil {
		return nil, err
	}
	p.t0, _ = p.demand(p.usable, p.quotaLeft).bound(p.net)
	caps := []float64{math.Inf(1)}
	if p.timed {
		// Whole runs and zones may need more time than the bound knows of: then a little more is allowed, and a little
		// more.
		caps = []float64{Slack * p.t0, 1.25 * p.t0, 1.5 * p.t0, 2 * p.t0, 4 * p.t0, 16 * p.t0, math.Inf(1)}
	}
	if req.Objective == ObjectiveBlend {
		return p.blend()
	}
	out, err := p.within(caps)
	if p.computed() && (err == nil || core.CodeOf(err) == core.CodeRedundant) {
		if better := p.better(out); better != nil {
			return better, nil
		}
	}
	full := core.CodeOf(err) == core.CodeRedundant
	slow := err == nil && p.timed && out.PredictedS-out.FillS > Slack*p.t0
	if len(req.Scores.PlaceCost) == 0 || !full && !slow {
		return out, err
	}
	// The cheapest nodes are too slow together, though none is alone, or leave room that no whole run fits: then costs do
	// not count.
	p.order, p.costless = make([]float64, len(p.cost)), true
	other, failed := p.within(caps)
	if failed != nil && p.computed() {
		other = p.better(nil)
	}
	if other != nil && (full || other.PredictedS < out.PredictedS) {
		return other, nil
	}
	return out, err
}

// clearlySooner is by which part a plan that is computed has to end sooner to take the place of one by quotas, which
// spreads runs more evenly.
const clearlySooner = 1.005

// better is a plan by linear programming, if that is clearly sooner than the one there is, or cheaper where costs come
// first, or the only one there is.
func (p *planner) better(than *Plan) *Plan {
	fluid, quotas := math.Inf(1), []float64(nil)
	if than != nil {
		fluid = than.PredictedS - than.FillS
		if quotas = make([]float64, len(p.Snapshot.Nodes)); p.timed && fluid <= clearlySooner*than.BoundS {
			return nil
		}
		for _, row := range than.Nodes {
			quotas[row.Node] = float64(row.Bytes - row.Held)
		}
	}
	if !p.timed {
		quotas = nil
	}
	blocks, ok := p.compute(quotas)
	if !ok {
		return nil
	}
	out := p.write(blocks)
	sooner := out.PredictedS - out.FillS
	switch {
	case p.Deadline > 0 && sooner > p.Deadline*(1+1e-6): // by whole runs: those of a little less time may be in time
		if p.tcap *= 0.9; p.tcap < p.t0 {
			return nil
		}
		return p.better(than)
	case p.timed && sooner*clearlySooner >= fluid, !p.timed && than != nil && out.Price() >= than.Price():
		return nil
	}
	return out
}

// within plans for the first of some times in which everything finds a place.
func (p *planner) within(caps []float64) (out *Plan, err error) {
	for _, p.tcap = range caps {
		if p.Deadline > 0 {
			p.tcap = min(p.tcap, p.Deadline)
		}
		if err = p.assign(); err != nil {
			continue
		}
		out, err = p.finish()
		if err != nil || p.Deadline == 0 || out.PredictedS-out.FillS <= p.Deadline*(1+1e-6) {
			return out, err
		}
		err = core.WithHint(core.Fail(core.CodeRedundant, "nothing can be placed within %.4g s: the plan takes %.4g s, the least possible time is %.4g s",
			p.Deadline, out.PredictedS, out.BoundS), "allow more time with --deadline, or ask for fewer copies")
	}
	if p.Deadline > 0 && p.t0 > p.Deadline {
		return nil, core.WithHint(core.Fail(core.CodeRedundant,
			"nothing can be placed within %.4g s: the least possible time is %.4g s", p.Deadline, p.t0),
			"allow more time with --deadline, or ask for fewer copies")
	}
	return nil, err
}

// blend sweeps the time that a plan may take, and weighs the plans.
func (p *planner) blend() (best *Plan, err error) {
	var plans []*Plan
	leastTime, leastCost := math.Inf(1), math.Inf(1)
	for _, longer := range []float64{Slack, 1.25, 1.5, 2, 3, 4, 8, 16, math.Inf(1)} {
		out, failed := p.within([]float64{longer * p.t0})
		if failed != nil {
			err = failed
			continue
		}
		plans = append(plans, out)
		leastTime, leastCost = min(leastTime, out.PredictedS), min(leastCost, out.Price())
	}
	score := func(out *Plan) float64 {
		return p.Blend*relative(out.PredictedS, leastTime) + (1-p.Blend)*relative(out.Price(), leastCost)
	}
	for _, out := range plans {
		if best == nil || score(out) < score(best) {
			best = out
		}
	}
	if best == nil {
		return nil, err
	}
	return best, nil
}

// relative is how many times the least something is.
func relative(v, least float64) float64 {
	if v == least {
		return 1
	}
	return v / least
}

// Price is what the plan's new copies cost by the strategy.
func (p *Plan) Price() (sum float64) {
	for _, row := range p.Nodes {
		sum += row.Cost * float64(row.Bytes-row.Held)
	}
	return sum
}
