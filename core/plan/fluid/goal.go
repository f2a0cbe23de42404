// SPDX-License-Identifier: Apache-2.0

package fluid

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/bkp-tool/bkp/core"
)

// Mode is what kind of job a goal is.
type Mode string

const (
	Broadcast Mode = "broadcast" // every target gets the whole file
	Replicas  Mode = "replicas"  // each run gets so many nodes of the planner's choice
	Shards    Mode = "shards"    // each run becomes K+M shards of 1/K of its size, on different nodes
	Fetch     Mode = "fetch"     // one node gets the file from those who keep its parts
)

// Goal is a job as the bounds see it: bytes, not runs. Nodes are indexes into a snapshot.
type Goal struct {
	Mode     Mode
	Size     core.Size // of the file
	Targets  []int     // Broadcast
	Replicas int       // Replicas
	PerZone  int       // Replicas, Shards: how many copies or shards of a run one zone may keep, 0 for any number
	K, M     int       // Shards; Fetch: K holders keep a Kth of a part each, or all of it where K is 1
	Sink     int       // Fetch
	Parts    []Part    // Fetch
}

// Part is a part of a file that the same nodes keep.
type Part struct {
	Size    core.Size
	Holders []int
}

// Bound is the least time for a job on a network, and what sets it.
type Bound struct {
	Seconds float64 // +Inf where the job is impossible
	Binding string  // "source uplink", "trunk A>B", "downlinks n2, n4", …
}

// raise keeps the larger of two bounds.
func (b *Bound) raise(seconds float64, binding string) {
	if seconds > b.Seconds*(1+1e-9) || b.Binding == "" {
		*b = Bound{seconds, binding}
	}
}

// LeastTime is the least time in which a job can be done on a network, whatever the plan; any node may pass on what it
// does not keep. It counts bandwidth as if data were a fluid, without the time that the first run takes down a chain.
// Up to MaxExact nodes that is computed exactly, see question.go and
// pipes.go, and beyond by cuts that are lower bounds of their own, see copies.go; ahead.go is about calendars.
func LeastTime(s core.Snapshot, g Goal) (Bound, error) {
	if s.Changes() {
		return leastAhead(s, g)
	}
	net, err := NewNetwork(s)
	if err != nil {
		return Bound{}, err
	}
	if err := g.check(net); err != nil {
		return Bound{}, err
	}
	if g.Size == 0 {
		return Bound{0, "nothing (no run has to travel)"}, nil
	}
	return net.least(g), nil
}

// MaxExact is up to how many nodes a goal is a linear program; beyond, bounds are cuts.
const MaxExact = 100

// least is the bound by whatever is exact and quickest: cuts of a flow where that is all there is to it.
func (n *Network) least(g Goal) Bound {
	small := len(n.Nodes) <= MaxExact
	switch {
	case g.Mode == Broadcast && !small:
		return n.cutBroadcast(g)
	case g.Mode == Replicas && !small:
		return n.leastReplicas(g)
	case g.Mode == Shards && !n.tangled():
		return n.leastShards(g)
	case g.Mode == Fetch && !n.tangled():
		return n.leastFetch(g)
	}
	return n.exactly(g)
}

// tangled reports whether links with limits of their own share trunks, which a graph of pipes shows too wide.
func (n *Network) tangled() bool {
	return n.links != nil && len(n.trunks) > 0 && len(n.Nodes) <= MaxExact
}

func (g Goal) check(n *Network) error {
	for _, i := range slices.Concat(g.Targets, []int{g.Sink}) {
		if i < 0 || i >= len(n.Nodes) {
			return fmt.Errorf("goal: there is no node %d among %d", i, len(n.Nodes))
		}
	}
	for _, p := range g.Parts {
		if len(p.Holders) == 0 || p.Size < 0 {
			return fmt.Errorf("goal: a part of %d bytes has %d holders", p.Size, len(p.Holders))
		}
		for _, h := range p.Holders {
			if h < 0 || h >= len(n.Nodes) {
				return fmt.Errorf("goal: there is no node %d among %d", h, len(n.Nodes))
			}
		}
	}
	switch {
	case g.Size < 0:
		return fmt.Errorf("goal: a file of %d bytes", g.Size)
	case g.Mode == Replicas && g.Replicas < 1:
		return core.Fail(core.CodeUsage, "replicas: at least 1 is needed, not %d", g.Replicas)
	case g.Mode == Shards && (g.K < 1 || g.M < 0):
		return core.Fail(core.CodeUsage, "shards: %d+%d is not a code", g.K, g.M)
	case !slices.Contains([]Mode{Broadcast, Replicas, Shards, Fetch}, g.Mode):
		return core.Fail(core.CodeUsage, "redundancy mode %q is not known", g.Mode)
	}
	return nil
}

// cutBroadcast: each target alone must be able to receive the file, by min-cuts (Edmonds 1973: on a graph where all are
// targets, the smallest of them is also enough as long as links alone limit); and every copy must be sent by somebody
// (Kumar, Ross 2006). A node that is no target has to receive what it passes on, which somebody else must send; so it
// adds only what is left of its uplink after that.
func (n *Network) cutBroadcast(g Goal) (b Bound) {
	size := float64(g.Size)
	p := n.pipes()
	for _, t := range g.Targets {
		if t != n.Source {
			p.drain(size, t)
			b.raise(p.least(size))
		}
	}
	copies := float64(len(g.Targets)) * size
	out, unlimited := 0.0, false
	for i := range n.Nodes {
		o := n.Out[i]
		switch {
		case i == n.Source || slices.Contains(g.Targets, i):
		case n.fanout(i) == 0:
			o = 0
		default:
			o = min(o*(1-1/float64(n.fanout(i))), n.In[i]*float64(n.fanout(i)-1))
		}
		unlimited = unlimited || math.IsInf(o, 1)
		out += o
	}
	if !unlimited && out > 0 {
		b.raise(copies/out, "uplinks of all nodes together")
	}
	return b
}

// fanout is how many nodes a node has a link to.
func (n *Network) fanout(i int) (count int) {
	if n.links == nil {
		return len(n.Nodes) - 1
	}
	for to := range n.Nodes {
		if _, ok := n.Link(i, to); ok {
			count++
		}
	}
	return count
}

// leastShards is a flow of one commodity: the source sends K+M different shards of every run.
func (n *Network) leastShards(g Goal) (b Bound) {
	p, demand := n.shardPipes(g)
	b.raise(p.least(demand))
	return b
}

func (n *Network) shardPipes(g Goal) (p *pipes, demand float64) {
	shard := float64(g.Size) / float64(g.K)
	p = n.pipes()
	p.stores(n, shard, g.PerZone)
	return p, shard * float64(g.K+g.M)
}

// leastFetch is the parametric flow from the holders to the sink; no holder can give more than it keeps.
func (n *Network) leastFetch(g Goal) (b Bound) {
	p, demand := n.fetchPipes(g)
	b.raise(p.least(demand))
	return b
}

func (n *Network) fetchPipes(g Goal) (p *pipes, demand float64) {
	p = n.pipes()
	p.source = p.vertex()
	for c, part := range g.Parts {
		if slices.Contains(part.Holders, g.Sink) && g.K <= 1 {
			continue
		}
		at := p.vertex()
		p.arc(p.source, at, float64(part.Size), 0, pipe{kind: ofPart, part: c})
		for _, h := range part.Holders {
			p.arc(at, p.node[h], float64(part.Size)/float64(max(1, g.K)), 0, pipe{kind: ofShare, node: h, part: c})
		}
		demand += float64(part.Size)
	}
	p.arc(p.node[g.Sink], p.sink, forever, 0, pipe{})
	return p, demand
}

// Fluid is what goes where in a flow of least time, in bytes: a guide to who should do how much, not a timetable.
type Fluid struct {
	Kept   []float64   // Replicas, Shards: by node
	Passed []float64   // by node: what goes through it and is neither kept there nor comes from it
	Shares [][]float64 // Fetch: by part and node, what the node gives of the part
	Links  []Carried   // what goes over each link; none beyond MaxExact nodes where nothing limits links
}

// Carried is what a fluid plan sends over one link.
type Carried struct {
	From, To int
	Bytes    float64
}

// FlowOf is a fluid way to carry out a job within the least time, and that time. Beyond MaxExact nodes there is one for
// shards and fetches only.
func FlowOf(s core.Snapshot, g Goal) (f Fluid, b Bound, err error) {
	if s.Changes() {
		if b, err = LeastTime(s, g); err != nil {
			return f, b, err
		}
		over := b.Seconds
		if math.IsInf(over, 1) {
			over = 0
		}
		f, _, err = FlowOf(s.Over(over), g)
		return f, b, err
	}
	net, err := NewNetwork(s)
	if err == nil {
		err = g.check(net)
	}
	if err != nil {
		return f, b, err
	}
	if len(s.Nodes) <= MaxExact {
		f, b = net.flowExactly(g)
		return f, b, nil
	}
	var p *pipes
	var demand float64
	switch g.Mode {
	case Shards:
		p, demand = net.shardPipes(g)
	case Fetch:
		p, demand = net.fetchPipes(g)
	default:
		return f, b, fmt.Errorf("goal: a %s over more than %d nodes is no flow of one commodity", g.Mode, MaxExact)
	}
	b.raise(p.least(demand))
	return p.fluid(g), b, nil
}

func newFluid(n *Network, g Goal) (f Fluid) {
	f.Kept, f.Passed = make([]float64, len(n.Nodes)), make([]float64, len(n.Nodes))
	f.Shares = make([][]float64, len(g.Parts))
	for c := range g.Parts {
		f.Shares[c] = make([]float64, len(n.Nodes))
	}
	return f
}

// fluid reads a flow off the graph.
func (p *pipes) fluid(g Goal) Fluid {
	f := newFluid(p.net, g)
	for k := 0; k < len(p.arcs); k += 2 {
		switch a, flow := p.arcs[k], p.arcs[k+1].left; a.pipe.kind {
		case ofStore:
			f.Kept[a.pipe.node] += flow
			f.Passed[a.pipe.node] -= flow
		case ofShare:
			f.Shares[a.pipe.part][a.pipe.node] += flow
		case ofDown:
			f.Passed[a.pipe.node] += flow
		case ofLink:
			if flow > 1 && p.net.links != nil && !a.pipe.second {
				f.Links = append(f.Links, Carried{a.pipe.node, a.pipe.to, flow})
			}
		case ofNothing, ofUp, ofTrunk, ofZone, ofPart:
		}
	}
	if g.Mode == Fetch {
		f.Passed[g.Sink] = 0
	}
	return f
}

// flowExactly is the flow of least time, and of fewest links within it.
func (n *Network) flowExactly(g Goal) (f Fluid, b Bound) {
	f, q := newFluid(n, g), n.ask(g)
	if b = n.least(g); len(q.demands) == 0 || math.IsInf(b.Seconds, 1) {
		return f, b
	}
	t := q.solve()
	ways := q.routes()
	if q.cheaply(max(t*(1+1e-7), 1e-6)) {
		ways = q.routes()
	}
	sums := map[[2]int]float64{}
	for _, w := range ways {
		if g.Mode == Fetch {
			f.Shares[q.parts[w.Demand]][w.From] += w.Bytes
		}
		for _, i := range w.Keeps {
			if g.Mode == Replicas || g.Mode == Shards {
				f.Kept[i] += w.Bytes
			}
		}
		for _, l := range w.Links {
			if sums[l] += w.Bytes; !slices.Contains(w.Keeps, l[1]) {
				f.Passed[l[1]] += w.Bytes
			}
		}
	}
	for l, bytes := range sums {
		f.Links = append(f.Links, Carried{l[0], l[1], bytes})
	}
	slices.SortFunc(f.Links, func(a, b Carried) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To)) })
	return f, b
}
