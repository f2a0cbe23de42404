// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"math"
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan/fluid"
	"github.com/bkp-tool/bkp/core/plan/wrap"
)

// planner is one question on its way to a plan. Slices indexed by node have an entry for each node of the snapshot.
type planner struct {
	Request
	net               *fluid.Network
	sizes             []core.Size // bytes of each class
	largest, smallest core.Size   // of all runs
	timed             bool
	t0                float64 // the bound on the nodes that the strategy allows
	tcap              float64 // seconds in which a node may receive, infinite where only space limits
	usable            []int   // candidates that may get new copies

	allowed   []bool
	linked    []bool      // the source can send to it, or relays can
	arrive    []float64   // the rate at which anything from the source can reach it
	cost      []float64   // per byte
	order     []float64   // the costs that decide: all alike where they were put aside
	costless  bool        // they were, for the sake of time
	weight    []float64   // how shares are weighed where costs do not decide
	first     []float64   // the strategy's first-holder weight
	explain   []string    // the strategy's words
	quotaLeft []core.Size // what the strategy lets it keep

	held   [][]int        // per class: the holders that keep a copy for this task, cheapest first
	walks  []*wrap.Circle // per class
	arcs   [][]wrap.Arc   // per class: new copies
	space  []core.Size    // free, less what this plan puts there
	quota  []core.Size    // quotaLeft, less the same
	time   []core.Size    // what it can receive within tcap, less the same
	shares []map[int]why  // per class: what held a node's share down

	quotas []map[int]float64 // per class and node, where they are computed
	paths  map[int][]*path   // for shards: how they come to a node, where that is computed

	most []map[int]core.Size // per class and node, where room is so tight that all classes had to be looked at together
}

func newPlanner(req Request) (*planner, error) {
	net, err := fluid.NewNetwork(req.Snapshot)
	if err != nil {
		return nil, err
	}
	n := len(req.Snapshot.Nodes)
	if req.Replicas < 1 {
		return nil, core.Fail(core.CodeUsage, "replicas: at least 1 is needed, not %d", req.Replicas)
	}
	switch req.Objective {
	case "", ObjectiveTime, ObjectiveCost, ObjectiveBlend:
	default:
		return nil, core.Fail(core.CodeUsage, "objective %q is not known (use %s, %s or %s)", req.Objective,
			ObjectiveTime, ObjectiveCost, ObjectiveBlend)
	}
	p := &planner{Request: req, net: net, allowed: make([]bool, n), linked: make([]bool, n),
		arrive: slices.Clone(net.In), cost: make([]float64, n),
		weight: make([]float64, n), first: make([]float64, n), explain: make([]string, n),
		quotaLeft: make([]core.Size, n)}
	p.timed = cmp.Or(req.Objective, req.Scores.Objective, ObjectiveTime) == ObjectiveTime
	p.smallest = math.MaxInt64
	for c, class := range req.Classes {
		p.sizes = append(p.sizes, 0)
		for _, size := range class.Runs {
			p.largest, p.smallest = max(p.largest, size), min(p.smallest, size)
			if size < 0 {
				return nil, core.Fail(core.CodeFailed, "plan: class %d has a run of %d bytes", c, size)
			}
			p.sizes[c] += size
		}
		for _, h := range class.Holders {
			if h < 0 || h >= n {
				return nil, core.Fail(core.CodeFailed, "plan: class %d has holder %d of %d nodes", c, h, n)
			}
		}
	}
	p.smallest = min(p.smallest, p.largest)
	if req.Relays {
		p.reach()
	}
	batch, index := BatchOf(req.Snapshot, req.Classes, req.Replicas)
	if err := CheckScores(batch, req.Scores); err != nil {
		return nil, err
	}
	for row, i := range index {
		p.score(row, i)
	}
	p.order = p.cost
	p.weigh()
	p.holders()
	return p, nil
}

// score takes over what the strategy said about one candidate.
func (p *planner) score(row, i int) {
	s := p.Scores
	p.allowed[i] = len(s.Allow) == 0 || s.Allow[row]
	if _, direct := p.net.Link(p.Snapshot.Source, i); direct || p.Relays && p.arrive[i] > 0 {
		p.linked[i] = true
	}
	p.quotaLeft[i] = math.MaxInt64
	if len(s.PlaceCost) > 0 {
		p.cost[i] = s.PlaceCost[row]
	}
	if len(s.FirstHolderWeight) > 0 {
		p.first[i] = s.FirstHolderWeight[row]
	}
	if len(s.QuotaCap) > 0 {
		p.quotaLeft[i] = s.QuotaCap[row]
	}
	if len(s.TargetWeight) > 0 {
		p.weight[i] = s.TargetWeight[row]
	}
	if len(s.Explain) > 0 {
		p.explain[i] = s.Explain[row]
	}
	if p.allowed[i] && p.linked[i] {
		p.usable = append(p.usable, i)
	}
}

// weigh sets the weights of a strategy that gave none: what a node can pass on as fast as it receives it. Unlimited
// nodes count like the fastest limited one.
func (p *planner) weigh() {
	if len(p.Scores.TargetWeight) > 0 {
		return
	}
	fastest := 0.0
	for _, i := range p.usable {
		p.weight[i] = p.arrive[i]
		if p.Replicas > 1 && p.K == 0 {
			p.weight[i] = min(p.weight[i], p.net.Out[i])
		}
		if !math.IsInf(p.weight[i], 1) {
			fastest = max(fastest, p.weight[i])
		}
	}
	for _, i := range p.usable {
		if p.weight[i] = min(p.weight[i], fastest); fastest == 0 {
			p.weight[i] = 1
		}
	}
}

// holders chooses, for each class, who keeps a copy because it has one already: they cost nothing.
func (p *planner) holders() {
	for c, class := range p.Classes {
		var keep []int
		for _, h := range class.Holders {
			if p.allowed[h] && h != p.Snapshot.Source && !slices.Contains(keep, h) {
				keep = append(keep, h)
			}
		}
		slices.SortStableFunc(keep, func(a, b int) int {
			return cmp.Or(cmp.Compare(p.cost[a], p.cost[b]),
				cmp.Compare(a, b))
		})
		keep = slices.DeleteFunc(keep, func(h int) bool {
			if p.quotaLeft[h] < p.sizes[c] {
				return true
			}
			p.quotaLeft[h] -= p.sizes[c]
			return false
		})
		for _, h := range keep[min(p.copiesIn(c), len(keep)):] {
			p.quotaLeft[h] += p.sizes[c]
		}
		p.held = append(p.held, keep[:min(p.copiesIn(c), len(keep))])
	}
}

// copiesIn is how many copies of each run of a class there are to be, and lacking how many nobody has yet.
func (p *planner) copiesIn(c int) int { return cmp.Or(p.Classes[c].Copies, p.Replicas) }
func (p *planner) lacking(c int) int  { return p.copiesIn(c) - len(p.held[c]) }

// needed is how many of those restore a run.
func (p *planner) needed(c int) int { return p.copiesIn(c) - p.Replicas + max(1, p.K) }

// demand is what the bound is asked about: the new copies, on some of the nodes, each with a limit beside its space.
func (p *planner) demand(nodes []int, limit []core.Size) *demand {
	d := &demand{nodes: nodes, resend: float64(p.Replicas - 1), zone: math.Inf(1)}
	if p.K > 0 {
		d.resend = 0 // nobody sends on a shard
	}
	d.room = make([]core.Size, len(nodes))
	d.extra = make([]float64, len(nodes))
	row := map[int]int{}
	for r, i := range nodes {
		row[i] = r
	}
	for c := range p.Classes {
		lacking := p.lacking(c)
		if lacking == 0 {
			continue
		}
		d.copies += float64(lacking) * float64(p.sizes[c])
		if len(p.held[c]) == 0 {
			d.first += float64(p.sizes[c])
		}
		for r, i := range nodes {
			if !slices.Contains(p.held[c], i) {
				d.room[r] += p.sizes[c]
			}
		}
		d.spread = max(d.spread, float64(lacking))
		d.moved = d.moved || len(p.held[c]) > 0
		for _, h := range p.held[c] {
			if r, ok := row[h]; ok {
				d.extra[r] += float64(lacking) * float64(p.sizes[c])
			}
		}
	}
	if p.Scores.Spread.Level != "" && d.copies > 0 {
		d.zone = d.copies / d.spread * float64(p.Scores.Spread.Max)
		if d.moved {
			d.zone = d.copies // holders of some runs only: the bound does not count zones then
		}
	}
	for r, i := range nodes {
		d.room[r] = min(d.room[r], p.Snapshot.Nodes[i].Free)
		if !p.linked[i] {
			d.room[r] = 0
		}
		if limit != nil {
			d.room[r] = min(d.room[r], limit[i])
		}
	}
	return d
}
