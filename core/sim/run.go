// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan"
)

// Config is how a simulation is done.
type Config struct {
	Runs  int     // that the file is cut into
	Seed  uint64  // of everything that is left to chance
	Error float64 // the planner's estimates of rates are wrong by up to this part: 0.3 for ±30 %
	Lose  []Loss
	Cut   []Cut
	Began func(from, to, unit int) // is told of every sending as it begins; a shard of a run is a unit of its own

	Info      core.StrategyInfo
	Score     func(core.Batch) (core.Scores, error) // the strategy; nil for none
	Objective string                                // as the strategy asks where empty
	Blend     float64
	Deadline  float64
}

// Loss takes a node from the network at a moment, without a word.
type Loss struct {
	Node int
	At   float64 // seconds
}

const (
	// detection is how long others take to notice that a node is gone: three pings of 5 s.
	detection = 15 * time.Second
	// patience is how long measurements are gathered before the planner hears of them.
	patience = 10 * time.Second
	// tick is how often a node looks around without any cause; in long jobs it is so many times at most, or until slow.
	tick, slow, ticks = time.Second, 30 * time.Second, 2000
)

// Run simulates a job until everything is delivered that can be.
func Run(t Topology, c Config) (Result, error) {
	w, bound, err := prepare(t, c)
	if err != nil {
		return Result{}, err
	}
	return w.run(bound)
}

// prepare plans, and puts everything in place.
func prepare(t Topology, c Config) (*world, plan.Bound, error) {
	if c.Runs < 1 {
		return nil, plan.Bound{}, core.Fail(core.CodeUsage, "a file of %d runs cannot be simulated", c.Runs)
	}
	for _, l := range c.Lose {
		if l.Node < 0 || l.Node >= len(t.Network.Nodes) {
			return nil, plan.Bound{}, core.Fail(core.CodeUsage, "there is no node %d to lose", l.Node)
		}
	}
	for _, c := range c.Cut {
		if n := len(t.Network.Nodes); c.From < 0 || c.From >= n || c.To < 0 || c.To >= n || c.From == c.To {
			return nil, plan.Bound{}, core.Fail(core.CodeUsage, "there is no link from node %d to node %d to cut",
				c.From, c.To)
		}
	}
	bound, err := plan.LeastTime(t.Network, t.Goal)
	if err != nil {
		return nil, bound, err
	}
	w := newWorld(t, c)
	if err := w.begin(bound.Seconds); err != nil {
		return nil, bound, err
	}
	if w.plan != nil && w.plan.Raised != "" {
		w.topology.Goal.Replicas = w.plan.Replicas
		if bound, err = plan.LeastTime(t.Network, w.topology.Goal); err != nil {
			return nil, bound, err
		}
		w.weigh(bound.Seconds)
	}
	return w, bound, w.predict(bound.Seconds)
}

// predict is what the planner expects: of its plan, or of the bound, where everybody's share is given.
func (w *world) predict(bound float64) error {
	if w.plan != nil {
		w.predicted = w.plan.PredictedS
		return nil
	}
	fill, err := plan.Fill(w.believed.Over(bound), w.topology.Goal, slices.Max(w.sizes))
	w.predicted = bound + fill
	return err
}

// run lets it happen.
func (w *world) run(bound plan.Bound) (Result, error) {
	for _, l := range w.Lose {
		w.after(time.Duration(l.At*float64(time.Second)), func() { w.lose(w.nodes[l.Node]) })
	}
	for _, c := range w.Config.Cut {
		w.after(time.Duration(c.At*float64(time.Second)), func() { w.sever(w.nodes[c.From], w.nodes[c.To]) })
	}
	w.after(w.pause(), w.tick)
	for _, n := range w.nodes {
		w.try(n)
	}
	for !w.over() && w.queue.step() {
	}
	return w.result(bound)
}

// over reports that nothing is left to do, or nothing can be done any more.
func (w *world) over() bool {
	return w.spread.Missing() == 0 && w.unnoticed == 0 && w.flows == 0 || w.stuck
}

// begin says what each node has and wants, and what the planner thinks of it.
func (w *world) begin(seconds float64) error {
	w.estimates()
	var err error
	switch w.topology.Goal.Mode {
	case plan.Broadcast:
		err = w.beginBroadcast()
	case plan.Fetch:
		err = w.beginFetch()
	default:
		err = w.beginPlaced()
	}
	w.relay()
	w.weigh(seconds)
	return err
}

// estimates is the network as the planner believes it to be.
func (w *world) estimates() {
	random := rand.New(rand.NewPCG(w.Seed, 0x65_72_72))
	wrong := func(rate *core.Rate, ahead *core.Forecast) {
		factor := 1 + w.Error*(2*random.Float64()-1)
		scaled := func(r core.Rate) core.Rate {
			if r > 0 {
				return max(1, core.Rate(float64(r)*factor))
			}
			return r
		}
		*rate, *ahead = scaled(*rate), slices.Clone(*ahead)
		for i := range *ahead {
			(*ahead)[i].Rate = scaled((*ahead)[i].Rate)
		}
	}
	w.believed = w.topology.Network
	w.believed.Nodes = slices.Clone(w.believed.Nodes)
	for i := range w.believed.Nodes {
		n := &w.believed.Nodes[i]
		wrong(&n.Up, &n.UpAhead)
		wrong(&n.Down, &n.DownAhead)
	}
	w.believed.Links = slices.Clone(w.believed.Links)
	for i := range w.believed.Links {
		wrong(&w.believed.Links[i].Rate, &w.believed.Links[i].Ahead)
	}
	w.believed.Trunks = slices.Clone(w.believed.Trunks)
	for i := range w.believed.Trunks {
		wrong(&w.believed.Trunks[i].Rate, &w.believed.Trunks[i].Ahead)
	}
}

// tick looks after what no event announces.
func (w *world) tick() {
	if w.now >= patience && w.Error > 0 && !w.measured {
		w.believed, w.measured = w.topology.Network, true
		w.replan(true)
	}
	if w.late() {
		w.replan(true)
	}
	before := w.flows
	for _, n := range w.nodes {
		w.try(n)
	}
	if before == 0 && w.flows == 0 && w.unnoticed == 0 && w.losses == len(w.Lose) && w.severed == len(w.Config.Cut) &&
		w.waiting == 0 {
		w.stuck = w.now >= w.due && !w.stray() && !w.relays.Loosen()
		w.due = min(w.due, w.now)
	}
	w.after(w.pause(), w.tick)
}

// pause is the time from one tick to the next.
func (w *world) pause() time.Duration {
	return max(tick, time.Duration(min(w.predicted/ticks, slow.Seconds())*float64(time.Second)))
}
