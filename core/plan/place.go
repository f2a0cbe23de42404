package plan

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"

	"github.com/bkp-tool/bkp/core"
)

// Place decides who keeps what. Replicas are never lowered in silence: where the nodes or their space do not suffice, the
// error is of core.CodeRedundant and says what is missing. A bad answer of the strategy is of core.CodePlugin.
func Place(req Request) (*Plan, error) {
	if req.Snapshot.Changes() {
		return placeAhead(req)
	}
	p, err := newPlanner(req)
	if err != nil {
		return nil, err
	}
	p.t0, _ = p.net.bound(p.demand(p.usable, p.quotaLeft))
	caps := []float64{math.Inf(1)}
	if p.timed {
		// Whole runs and zones may need more time than the bound knows of: then a little more is allowed, and a little more.
		caps = []float64{Slack * p.t0, 1.25 * p.t0, 1.5 * p.t0, 2 * p.t0, 4 * p.t0, 16 * p.t0, math.Inf(1)}
	}
	if req.Objective == ObjectiveBlend {
		return p.blend()
	}
	out, err := p.within(caps)
	if err != nil || !p.timed || len(req.Scores.PlaceCost) == 0 || out.PredictedS-out.FillS <= Slack*p.t0 {
		return out, err
	}
	// The cheapest nodes are too slow together, though none is alone: then costs do not count.
	p.cost, p.costless = make([]float64, len(p.cost)), true
	if fast, err := p.within(caps); err == nil && fast.PredictedS < out.PredictedS {
		return fast, nil
	}
	return out, nil
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
		return nil, core.WithHint(core.Fail(core.CodeRedundant, "nothing can be placed within %.4g s: the least possible time is %.4g s", p.Deadline, p.t0),
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
		leastTime, leastCost = min(leastTime, out.PredictedS), min(leastCost, out.cost())
	}
	score := func(out *Plan) float64 {
		return p.Blend*relative(out.PredictedS, leastTime) + (1-p.Blend)*relative(out.cost(), leastCost)
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

// cost is what the plan's new copies cost by the strategy.
func (p *Plan) cost() (sum float64) {
	for _, row := range p.Nodes {
		sum += row.Cost * float64(row.Bytes-row.Held)
	}
	return sum
}

// planner is one question on its way to a plan. Slices indexed by node have an entry for each node of the snapshot.
type planner struct {
	Request
	net               *network
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
	costless  bool        // costs were put aside, for the sake of time
	weight    []float64   // how shares are weighed where costs do not decide
	first     []float64   // the strategy's first-holder weight
	explain   []string    // the strategy's words
	quotaLeft []core.Size // what the strategy lets it keep

	held   [][]int       // per class: the holders that keep a copy for this task, cheapest first
	walks  []*circle     // per class
	arcs   [][]arc       // per class: new copies
	space  []core.Size   // free, less what this plan puts there
	quota  []core.Size   // quotaLeft, less the same
	time   []core.Size   // what it can receive within tcap, less the same
	shares []map[int]why // per class: what held a node's share down

	most []map[int]core.Size // per class and node, where room is so tight that all classes had to be looked at together
}

func newPlanner(req Request) (*planner, error) {
	net, err := newNetwork(req.Snapshot)
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
		return nil, core.Fail(core.CodeUsage, "objective %q is not known (use %s, %s or %s)", req.Objective, ObjectiveTime, ObjectiveCost, ObjectiveBlend)
	}
	p := &planner{Request: req, net: net, allowed: make([]bool, n), linked: make([]bool, n), arrive: slices.Clone(net.in), cost: make([]float64, n),
		weight: make([]float64, n), first: make([]float64, n), explain: make([]string, n), quotaLeft: make([]core.Size, n)}
	p.timed = req.Objective == ObjectiveTime || req.Objective == "" && len(req.Scores.PlaceCost) == 0 && len(req.Scores.TargetWeight) == 0
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
	p.weigh()
	p.holders()
	return p, nil
}

// score takes over what the strategy said about one candidate.
func (p *planner) score(row, i int) {
	s := p.Scores
	p.allowed[i] = len(s.Allow) == 0 || s.Allow[row]
	if _, direct := p.net.link(p.Snapshot.Source, i); direct || p.Relays && p.arrive[i] > 0 {
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

// weigh sets the weights of a strategy that gave none: what a node can pass on as fast as it receives it. Unlimited nodes
// count like the fastest limited one.
func (p *planner) weigh() {
	if len(p.Scores.TargetWeight) > 0 {
		return
	}
	if p.weighShards() {
		return
	}
	fastest := 0.0
	for _, i := range p.usable {
		p.weight[i] = p.arrive[i]
		if p.Replicas > 1 && p.K == 0 {
			p.weight[i] = min(p.weight[i], p.net.out[i])
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

// weighShards weighs nodes by what a fluid flow of least time keeps on them: shards are a flow of one commodity, so where
// links differ that says exactly who can have how much.
func (p *planner) weighShards() bool {
	if p.K == 0 || p.net.links == nil && len(p.net.trunks) == 0 {
		return false
	}
	g := p.goal()
	f, b, err := FlowOf(p.Snapshot, g)
	if err != nil || math.IsInf(b.Seconds, 1) {
		return false
	}
	copy(p.weight, f.Kept)
	return true
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
		slices.SortStableFunc(keep, func(a, b int) int { return cmp.Or(cmp.Compare(p.cost[a], p.cost[b]), cmp.Compare(a, b)) })
		keep = slices.DeleteFunc(keep, func(h int) bool {
			if p.quotaLeft[h] < p.sizes[c] {
				return true
			}
			p.quotaLeft[h] -= p.sizes[c]
			return false
		})
		for _, h := range keep[min(p.Replicas, len(keep)):] {
			p.quotaLeft[h] += p.sizes[c]
		}
		p.held = append(p.held, keep[:min(p.Replicas, len(keep))])
	}
}

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
		lacking := p.Replicas - len(p.held[c])
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

// assign gives every run its nodes, class by class. Where a class finds too little room because those before it took what
// only it could use, all are looked at once, and each node keeps to its part in that.
func (p *planner) assign() error {
	p.most = nil
	err := p.assignEach()
	if err == nil || len(p.Classes) < 2 {
		return err
	}
	most, full := p.feasible()
	if full != nil {
		return p.plainer(err, full)
	}
	p.most = most
	if p.assignEach() == nil {
		return nil
	}
	return err
}

// plainer is the error to show of two: where a class has fewer nodes to choose from than it lacks copies, no space is at
// fault, and the one that counts nodes says so.
func (p *planner) plainer(counts, full error) error {
	for c := range p.Classes {
		choice := 0
		for _, i := range p.usable {
			if !slices.Contains(p.held[c], i) {
				choice++
			}
		}
		if p.sizes[c] > 0 && choice < p.Replicas-len(p.held[c]) {
			return counts
		}
	}
	return full
}

// assignEach takes the classes in turn: first those that fewest nodes may take.
func (p *planner) assignEach() error {
	n := len(p.Snapshot.Nodes)
	p.space, p.quota, p.time = make([]core.Size, n), slices.Clone(p.quotaLeft), make([]core.Size, n)
	for i, node := range p.Snapshot.Nodes {
		p.space[i], p.time[i] = node.Free, bytesIn(p.arrive[i], p.tcap)
	}
	p.walks, p.arcs = make([]*circle, len(p.Classes)), make([][]arc, len(p.Classes))
	p.shares = make([]map[int]why, len(p.Classes))
	order := make([]int, len(p.Classes))
	for c := range order {
		order[c] = c
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(len(p.held[b]), len(p.held[a])) })
	for _, c := range order {
		if err := p.assignClass(c); err != nil {
			return err
		}
	}
	return nil
}

func (p *planner) assignClass(c int) error {
	lacking := p.Replicas - len(p.held[c])
	p.shares[c] = map[int]why{}
	if lacking == 0 || len(p.Classes[c].Runs) == 0 {
		return nil
	}
	ring := newCircle(p.Classes[c].Runs, lacking)
	p.walks[c] = ring
	zoneMax, zoneCap := p.zoneLimits(c)
	var shares []share
	for _, i := range p.usable {
		if slices.Contains(p.held[c], i) {
			continue
		}
		cap, why := p.cap(c, i)
		p.shares[c][i] = why
		shares = append(shares, share{node: i, zone: p.zoneOf(i), cap: float64(cap), cost: p.cost[i], weight: p.weight[i]})
	}
	if short := setQuotas(shares, float64(ring.bytes())*float64(lacking), zoneCap); short > 0 || len(shares) < lacking {
		return p.shortage(c, shares, zoneMax)
	}
	arcs, ok := p.seatAll(ring, shares, zoneMax, zoneCap)
	if !ok {
		return p.unfit(c, shares)
	}
	p.arcs[c] = arcs
	for _, a := range arcs {
		took := ring.at(a.end) - ring.at(a.start)
		p.space[a.node] -= took
		p.quota[a.node] -= took
		p.time[a.node] -= took
	}
	return nil
}

// zoneLimits says how many copies of a class's runs each zone may still take, in copies and in bytes. Both are nil where the
// strategy does not spread.
func (p *planner) zoneLimits(c int) (copies map[string]int, bytes map[string]float64) {
	if p.Scores.Spread.Level == "" {
		return nil, nil
	}
	copies, bytes = map[string]int{}, map[string]float64{}
	for _, i := range p.usable {
		copies[p.net.zone(i)] = p.Scores.Spread.Max
	}
	for _, h := range p.held[c] {
		copies[p.net.zone(h)]--
	}
	for z := range copies {
		copies[z] = max(0, copies[z])
		bytes[z] = float64(copies[z]) * float64(p.sizes[c])
	}
	return copies, bytes
}

// seatAll walks the circle; where the runs left over find no place, it walks again with caps of whole runs, which wastes
// more space but leaves nothing over if it can be done at all.
func (p *planner) seatAll(ring *circle, shares []share, zoneMax map[string]int, zoneCap map[string]float64) ([]arc, bool) {
	seats := make([]seat, len(shares))
	for k, s := range shares {
		seats[k] = seat{node: s.node, zone: s.zone, cap: core.Size(s.cap), cost: s.cost, quota: s.quota}
	}
	slices.SortFunc(seats, func(a, b seat) int {
		return cmp.Or(cmp.Compare(a.zone, b.zone), cmp.Compare(p.place(a.node), p.place(b.node)), cmp.Compare(a.node, b.node))
	})
	arcs, stop := ring.walk(seats, zoneMax)
	if arcs, ok := ring.patch(arcs, stop, seats, zoneMax); ok {
		return arcs, true
	}
	largest := core.Size(1)
	for i := range ring.n() {
		largest = max(largest, ring.size(i))
	}
	quotas := map[int]float64{}
	whole := slices.Clone(shares)
	for k := range whole {
		if core.Size(whole[k].cap) < ring.bytes() {
			whole[k].cap = float64(core.Size(whole[k].cap) / largest * largest)
		}
	}
	if setQuotas(whole, float64(ring.at(ring.end())), zoneCap) > 0 {
		return nil, false
	}
	for _, s := range whole {
		quotas[s.node] = s.quota
	}
	for k := range seats {
		seats[k].quota = quotas[seats[k].node]
	}
	arcs, stop = ring.walk(seats, zoneMax)
	return ring.patch(arcs, stop, seats, zoneMax)
}

// why is what keeps a node from taking more of a class.
type why int

const (
	byClass why = iota // it takes all of it
	bySpace
	byQuota
	byTime
)

// cap is how many bytes of a class a node may take now, in whole runs where all are alike.
func (p *planner) cap(c, i int) (core.Size, why) {
	limit, reason := p.sizes[c], byClass
	for _, l := range []struct {
		size core.Size
		why  why
	}{{p.space[i], bySpace}, {p.quota[i], byQuota}, {p.time[i], byTime}} {
		if l.size < limit {
			limit, reason = max(0, l.size), l.why
		}
	}
	if p.most != nil && p.most[c][i] < limit {
		limit, reason = p.most[c][i], bySpace
	}
	runs := p.Classes[c].Runs
	if size := runs[0]; reason != byClass && size > 0 && p.sizes[c] == size*core.Size(len(runs)) && slices.Max(runs) == size {
		limit -= limit % size
	}
	return limit, reason
}

// zoneOf is a node's domain where the strategy spreads copies; else zones only keep neighbours together.
func (p *planner) zoneOf(i int) string {
	if p.Scores.Spread.Level != "" {
		return p.net.zone(i)
	}
	return p.Snapshot.Nodes[i].Zone
}

// place is where a node sits at the circle: a mix of the file's seed and the node's ID, so that files differ.
func (p *planner) place(i int) uint64 {
	h := p.Seed
	id := p.Snapshot.Nodes[i].ID
	for k := 0; k < len(id); k += 8 {
		h = mix(h ^ binary.LittleEndian.Uint64(id[k:]))
	}
	return h
}

// mix is the finaliser of SplitMix64 (Steele, Lea, Flood 2014).
func mix(z uint64) uint64 {
	z += 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// bytesIn is what a payload rate carries in some seconds, as a size.
func bytesIn(rate, seconds float64) core.Size {
	if b := carried(rate, seconds); b < math.MaxInt64/2 && !math.IsNaN(b) {
		return core.Size(b)
	}
	return math.MaxInt64
}
