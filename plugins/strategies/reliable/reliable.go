// SPDX-License-Identifier: Apache-2.0

// Package reliable is the strategy that stores on nodes that seldom fail.
//
// place_cost is −log(1 − afr), afr being the part of nodes like this one that fail in a year: costs add up as the
// chances to survive multiply. Nodes that are up less than min_uptime of the time are not allowed, since a copy that
// cannot be reached does not help. Nodes that state neither count as always up and never failing.
//
// Copies are made more until a run is lost with a chance of at most max_loss in a year in which nobody makes lost
// copies anew, whichever of the allowed nodes keep it: those that fail most are taken to be the ones.
package reliable

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins/serve"
)

// worst keeps the cost of a node that is sure to fail finite.
const worst = 1 - 1e-9

// New is the strategy.
func New() core.Strategy { return &strategy{MinUptime: 0.9, MaxLoss: 0.001} }

type strategy struct {
	MinUptime float64 `json:"min_uptime" about:"part of the time that a node must be up"`
	MaxLoss   float64 `json:"max_loss" about:"chance with which a run may be lost in a year without repair"`
}

func (w *strategy) Configure(_ context.Context, config []byte) error {
	if err := json.Unmarshal(config, w); err != nil {
		return err
	}
	if w.MinUptime < 0 || w.MinUptime > 1 || w.MaxLoss <= 0 || w.MaxLoss > 1 {
		return errors.New("min_uptime is from 0 to 1, max_loss above 0 and at most 1")
	}
	return nil
}

func (w *strategy) Describe(context.Context) (core.StrategyInfo, error) {
	return core.StrategyInfo{Name: "reliable", Version: "1.2.0",
		Summary: "nodes that are up and seldom fail, and copies enough",
		Needs:   []string{"annual_failure", "uptime"}, Deterministic: true,
		Settings: serve.Settings(w)}, nil
}

func (w *strategy) Score(_ context.Context, batch core.Batch) (core.Scores, error) {
	s := core.Scores{Objective: "cost"} // a fast node that fails is no good
	var failures []float64              // of the allowed nodes
	for i := range batch.Nodes.Len() {
		failure, uptime := min(max(0, batch.Nodes.AnnualFailure[i]), worst), batch.Nodes.Uptime[i]
		s.Allow = append(s.Allow, uptime >= w.MinUptime)
		if uptime >= w.MinUptime {
			failures = append(failures, failure)
		}
		s.PlaceCost = append(s.PlaceCost, -math.Log1p(-failure))
		s.Explain = append(s.Explain, fmt.Sprintf("up %.4g %% of the time, %.3g %% fail in a year", 100*uptime,
			100*failure))
	}
	s.Redundancy = w.redundancy(failures, batch.Replicas)
	return s, nil
}

// redundancy is how many copies keep a run safe on nodes that fail so often, where those that were asked for do not.
// Where all nodes together do not, it is one more than there are: there is no such plan, and the planner says so.
func (w *strategy) redundancy(failures []float64, asked int) core.Redundancy {
	slices.Sort(failures)
	slices.Reverse(failures)
	loss, before, copies := 1.0, 1.0, 0
	for ; copies < len(failures) && (loss > w.MaxLoss || copies < asked); copies++ {
		if loss *= failures[copies]; copies+1 == asked {
			before = loss
		}
	}
	switch {
	case loss > w.MaxLoss && copies > 0:
		return core.Redundancy{Replicas: copies + 1, Why: fmt.Sprintf("a copy on each of the %d nodes that it allows would still be lost with a chance of %.2g %% a year, wanted is %.2g %%",
			copies, 100*loss, 100*w.MaxLoss)}
	case copies <= asked:
		return core.Redundancy{}
	}
	return core.Redundancy{Replicas: copies, Why: fmt.Sprintf("without repair, a run on any %d of the nodes that it allows is lost with a chance of up to %.2g %% a year, on any %d of %.2g %%; wanted is %.2g %%",
		asked, 100*before, copies, 100*loss, 100*w.MaxLoss)}
}
