// SPDX-License-Identifier: Apache-2.0

package fluid

import (
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
// Every figure that goes into it is a lower bound of its own, and the largest is the answer; see cut.go for cuts,
// copies.go for copies, pack.go for trees and ahead.go for calendars.
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
	switch g.Mode {
	case Broadcast:
		return net.leastBroadcast(g), nil
	case Replicas:
		return net.leastReplicas(g), nil
	case Shards:
		return net.leastShards(g), nil
	default:
		return net.leastFetch(g), nil
	}
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

// leastBroadcast is the bound by cuts, raised by that of trees where links or trunks limit: there, nodes share their
// uplinks among links in ways that single cuts do not see.
func (n *Network) leastBroadcast(g Goal) Bound {
	b := n.cutBroadcast(g)
	if len(n.Nodes) <= MaxPacked && (n.links != nil || len(n.trunks) > 0) && b.Seconds > 0 &&
		!math.IsInf(b.Seconds, 1) {
		if p := n.pack(g, float64(g.Size)/b.Seconds); p.binding != "" {
			b.raise(float64(g.Size)/p.Most, p.binding)
		}
	}
	return b
}

// MaxPacked is up to how many nodes trees are packed for a bound.
const MaxPacked = 100

// cutBroadcast: each target alone must be able to receive the file, by min-cuts (Edmonds 1973: on a graph where all are
// targets, the smallest of them is also enough as long as links alone limit); and every copy must be sent by somebody
// (Kumar, Ross 2006). A node that is no target has to receive what it passes on, which somebody else must send; so it
// adds only what is left of its uplink after that.
func (n *Network) cutBroadcast(g Goal) (b Bound) {
	size := float64(g.Size)
	for _, t := range g.Targets {
		if t == n.Source {
			continue
		}
		p := n.pipes()
		p.arc(p.node[t], p.sink, size, 0, pipe{})
		b.raise(p.least(size))
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
	Kept   []float64   // Shards: by node
	Passed []float64   // by node: what goes through it and is neither kept there nor comes from it
	Shares [][]float64 // Fetch: by part and node, what the node gives of the part
	Links  []Carried   // what goes over each link, where links differ
}

// Carried is what a fluid plan sends over one link.
type Carried struct {
	From, To int
	Bytes    float64
}

// FlowOf is a fluid way to carry out a job of shards or a fetch within the least time, and that time.
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
	var p *pipes
	var demand float64
	switch g.Mode {
	case Shards:
		p, demand = net.shardPipes(g)
	case Fetch:
		p, demand = net.fetchPipes(g)
	default:
		return f, b, fmt.Errorf("goal: a %s is no flow of one commodity", g.Mode)
	}
	b.raise(p.least(demand))
	f.Kept, f.Passed = make([]float64, len(s.Nodes)), make([]float64, len(s.Nodes))
	f.Shares = make([][]float64, len(g.Parts))
	for c := range g.Parts {
		f.Shares[c] = make([]float64, len(s.Nodes))
	}
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
	return f, b, nil
}
