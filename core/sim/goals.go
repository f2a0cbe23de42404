// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan"
)

// cut is the sizes of a file's runs.
func cut(size core.Size, runs int) (sizes []core.Size) {
	for i := range runs {
		sizes = append(sizes, size*core.Size(i+1)/core.Size(runs)-size*core.Size(i)/core.Size(runs))
	}
	return sizes
}

// units is what travels: the runs of a file, or the shards of each, all first shards before all second ones.
func units(g plan.Goal, runs int) []core.Size {
	sizes, of := cut(g.Size, runs), g.K+g.M
	if g.Mode != plan.Shards && (g.Mode != plan.Fetch || g.K <= 1) {
		return sizes
	}
	for i := range sizes {
		sizes[i] = (sizes[i] + core.Size(g.K) - 1) / core.Size(g.K)
	}
	return slices.Repeat(sizes, of)
}

func (w *world) beginBroadcast() error {
	for unit := range w.sizes {
		w.nodes[w.source].peer.Own(w.units, unit)
		w.nodes[w.source].part.Spread(w.units, unit)
	}
	for _, t := range w.topology.Goal.Targets {
		if t == w.source {
			continue
		}
		if s := w.topology.Network.Nodes[t]; s.Free < w.topology.Goal.Size {
			return core.Fail(core.CodeRedundant, "target %s has room for %s of %s", w.nodes[t].name, s.Free,
				w.topology.Goal.Size)
		}
		for unit := range w.sizes {
			w.nodes[t].peer.Want(w.units, unit)
			w.owed = append(w.owed, plan.Copy{Run: unit, Node: t})
		}
	}
	return nil
}

// beginFetch gives each part's runs to all of its holders. Where K of them are needed for a run, each keeps another Kth
// of it: then those are asked of which the fluid plan still has most to ask.
func (w *world) beginFetch() error {
	g := w.topology.Goal
	shares := make([][]float64, len(g.Parts))
	if g.K > 1 {
		f, bound, err := plan.FlowOf(w.believed, g)
		if err != nil {
			return err
		}
		if math.IsInf(bound.Seconds, 1) {
			return core.Fail(core.CodeRedundant, "%d holders of each run are needed: %s", g.K, bound.Binding)
		}
		shares = f.Shares
	}
	w.part = make([]int, len(w.sizes))
	var ends []core.Size
	var sum core.Size
	for _, p := range g.Parts {
		sum += p.Size
		ends = append(ends, sum)
	}
	var at core.Size
	for run, size := range cut(g.Size, w.Runs) {
		part := slices.IndexFunc(ends, func(end core.Size) bool { return at+size/2 < end })
		if part < 0 {
			part = len(ends) - 1 // fractions that do not add up to the whole file
		}
		at += size
		holders := slices.Clone(g.Parts[part].Holders)
		if g.K > 1 {
			slices.SortStableFunc(holders, func(a, b int) int { return cmp.Compare(shares[part][b], shares[part][a]) })
		}
		for k := range max(1, g.K) {
			unit := k*w.Runs + run
			w.part[unit] = part
			w.nodes[g.Sink].peer.Want(w.units, unit)
			w.owed = append(w.owed, plan.Copy{Run: run, Shard: k, Node: g.Sink})
			for _, h := range holders {
				if g.K <= 1 {
					w.nodes[h].peer.Own(w.units, unit)
				}
			}
			if g.K > 1 {
				w.nodes[holders[k]].peer.Own(w.units, unit)
				shares[part][holders[k]] -= float64(w.sizes[unit])
			}
		}
	}
	return nil
}

// standIn lets another holder of a run give its share where one of K is gone: the one that has least to give yet.
func (w *world) standIn() {
	g := w.topology.Goal
	if g.K <= 1 {
		return
	}
	sink := w.nodes[g.Sink]
	load := make([]float64, len(w.nodes)) // seconds
	give := func(h, unit int) { load[h] += float64(w.sizes[unit]) / float64(max(1, w.nodes[h].up)) }
	for _, c := range w.owed {
		if unit := w.unit(c); !sink.has(unit) {
			for _, h := range w.where(unit) {
				give(h, unit)
			}
		}
	}
	for _, c := range w.owed {
		unit, best := w.unit(c), -1
		if sink.has(unit) || len(w.where(unit)) > 0 {
			continue
		}
		for _, h := range g.Parts[w.part[unit]].Holders {
			used := w.nodes[h].noticed
			for k := range g.K {
				used = used || w.nodes[h].peer.Owns(w.units, k*w.Runs+c.Run)
			}
			if !used && (best < 0 || load[h] < load[best]) {
				best = h
			}
		}
		if best >= 0 {
			w.nodes[best].peer.Own(w.units, unit)
			give(best, unit)
		}
	}
}

// beginPlaced has the planner decide who keeps what.
func (w *world) beginPlaced() error {
	p, err := w.place()
	if err != nil {
		return err
	}
	w.plan = p
	slowest := core.Rate(0)
	for _, f := range p.Flows {
		if slowest == 0 || f.Rate > 0 && f.Rate < slowest {
			slowest = f.Rate
		}
	}
	w.following = plan.NewPace(p.PredictedS, slices.Max(w.sizes), slowest)
	runs := w.Runs
	for unit := range w.sizes {
		w.nodes[w.source].peer.Own(w.units, unit)
		w.nodes[w.source].part.Spread(w.units, unit)
	}
	for _, s := range p.Classes[0] {
		for run := s.Start; run < s.End(); run++ {
			c := plan.Copy{Run: run, Shard: s.Shard, Node: s.Node}
			w.owed = append(w.owed, c)
			w.nodes[s.Node].peer.Want(w.units, c.Shard*runs+run)
		}
	}
	return nil
}

func (w *world) place() (*plan.Plan, error) {
	g := w.topology.Goal
	req := plan.Request{Snapshot: w.believed, Info: w.Info, Replicas: g.Replicas, Relays: true, Seed: w.Seed,
		Classes: []plan.Class{{Runs: w.sizes[:w.Runs]}}, Objective: w.Objective, Blend: w.Blend, Deadline: w.Deadline}
	if g.Mode == plan.Shards {
		req.K, req.Replicas = g.K, g.K+g.M
	}
	if w.Score != nil {
		batch, _ := plan.BatchOf(w.believed, req.Classes, req.Replicas)
		batch.Seed, batch.Objective = w.Seed, cmp.Or(req.Objective, plan.ObjectiveTime)
		scores, err := w.Score(batch)
		if err != nil {
			return nil, err
		}
		req.Scores = scores
	}
	if s := &req.Scores.Spread; g.PerZone > 0 && (s.Level == "" || s.Max > g.PerZone) {
		*s = core.Spread{Level: "zone", Max: g.PerZone}
	}
	w.perZone = req.Scores.Spread.Max
	return plan.Place(req)
}

// unit is what a copy is a copy of.
func (w *world) unit(c plan.Copy) int { return c.Shard*w.Runs + c.Run }

// weigh says whom the source should give first copies, or who should give what of a fetch, in some seconds.
func (w *world) weigh(seconds float64) {
	g := w.topology.Goal
	if g.Mode == plan.Fetch {
		w.share()
		return
	}
	if w.source < 0 || g.Mode == plan.Shards {
		return // nobody sends on a shard that it keeps
	}
	copies := g.Replicas
	if g.Mode == plan.Broadcast {
		copies = len(g.Targets)
	}
	network := w.view().Over(seconds)
	ups, quotas := make([]core.Rate, len(w.nodes)), make([]core.Size, len(w.nodes))
	for i, n := range w.nodes {
		ups[i], quotas[i] = network.Nodes[i].Up, n.peer.Need()+n.got
		if quotas[i] == 0 && n.carry > 0 {
			quotas[i] = g.Size
		}
	}
	for i, bytes := range plan.FirstWeights(ups, quotas, copies, plan.Slack*seconds) {
		w.nodes[w.source].part.First(i, bytes)
	}
}

// share asks the planner who gives what of the parts of a fetch that are not on their way yet.
func (w *world) share() {
	g := w.topology.Goal
	g.Parts = w.partsLeft()
	parts := g.Parts
	f, bound, err := plan.FlowOf(w.view(), g)
	if err != nil {
		return // the network is as it was when its bound was found; without shares, rarity decides
	}
	w.due = w.now + time.Duration(min(bound.Seconds, 1e9)*float64(time.Second))
	for i, n := range w.nodes {
		share := make([]float64, len(parts))
		for c := range parts {
			share[c] = f.Shares[c][i]
		}
		n.part.Limit(w.units, w.part, share, w.due)
	}
}

// partsLeft is what of a fetch is not there yet, and who still has it.
func (w *world) partsLeft() []plan.Part {
	g := w.topology.Goal
	parts := make([]plan.Part, len(g.Parts))
	for c, p := range g.Parts {
		for _, h := range p.Holders {
			if !w.nodes[h].noticed {
				parts[c].Holders = append(parts[c].Holders, h)
			}
		}
	}
	for unit, c := range w.part {
		if !w.nodes[g.Sink].has(unit) && len(parts[c].Holders) > 0 {
			parts[c].Size += w.sizes[unit]
		}
	}
	for c := range parts {
		if len(parts[c].Holders) == 0 {
			parts[c] = plan.Part{Holders: []int{g.Sink}}
		}
	}
	return parts
}
