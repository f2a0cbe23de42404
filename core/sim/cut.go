// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"slices"

	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/core/task"
)

// Cut takes a directed link from the network at a moment, without a word.
type Cut struct {
	From, To int     // nodes
	At       float64 // seconds
}

// Cut is the cut of the link from one node to another, or of all links from one zone to another; none where there is
// none.
func (t Topology) Cut(from, to string, at float64) (cuts []Cut) {
	is := func(i int, name string) bool {
		if node := t.Node(name); node >= 0 {
			return i == node
		}
		return t.Network.Nodes[i].Zone == name && name != ""
	}
	linked := map[[2]int]bool{}
	for _, l := range t.Network.Links {
		linked[[2]int{l.From, l.To}] = true
	}
	for a := range t.Network.Nodes {
		for b := range t.Network.Nodes {
			if a != b && is(a, from) && is(b, to) && (len(linked) == 0 || linked[[2]int{a, b}]) {
				cuts = append(cuts, Cut{a, b, at})
			}
		}
	}
	return cuts
}

// sever ends a link. What is on its way is lost; both ends hear nothing until they notice.
func (w *world) sever(from, to *node) {
	w.severed++
	if !slices.Contains(from.out, to.index) {
		return
	}
	l := w.link(from, to)
	if l.cut {
		return
	}
	l.cut = true
	w.unnoticed++
	w.after(detection, func() { w.missLink(l) })
}

// missLink ends what was going on over a link that is gone, and plans anew for whom nothing can reach any more.
func (w *world) missLink(l *link) {
	w.unnoticed--
	l.gone = true
	l.from.out = slices.DeleteFunc(l.from.out, func(i int) bool { return i == l.to.index })
	l.to.in = slices.DeleteFunc(l.to.in, func(i int) bool { return i == l.from.index })
	if l.asker != nil {
		for _, f := range []*task.Flow{l.asker, l.grantor} {
			w.step(l, f, task.Event{Kind: task.Lost})
		}
	}
	w.relay()
	if w.unnoticed == 0 { // else somebody will notice more, and plan anew for all of it
		w.replan(false)
	}
	for _, n := range w.nodes {
		w.try(n)
	}
}

// dead reports that no message passes between the ends of a link.
func (l *link) dead() bool { return l.cut || l.from.lost || l.to.lost }

// beyondReach reports whether nothing leads to a node any more from who has the runs.
func (w *world) beyondReach(i int) bool { return w.severed > 0 && w.relays.Hops(i) < 0 }

// disturbed is the moment of the first loss or cut.
func (w *world) disturbed() (at float64, ok bool) {
	var times []float64
	for _, l := range w.Lose {
		times = append(times, l.At)
	}
	for _, c := range w.Config.Cut {
		times = append(times, c.At)
	}
	if len(times) == 0 || w.losses+w.severed == 0 {
		return 0, false
	}
	return slices.Min(times), true
}

// restore is how long it takes to bring back to the source, or to a machine in its place, what other nodes keep in the
// end.
func (w *world) restore() float64 {
	goal := w.topology.Goal
	if goal.Mode == plan.Fetch {
		return 0
	}
	source, shards := w.topology.Network.Source, max(1, len(w.sizes)/w.Runs)
	g := plan.Goal{Mode: plan.Fetch, Sink: source, K: max(1, goal.K)}
	at := map[string]int{}
	for run, size := range cut(goal.Size, w.Runs) {
		var holders []int
		key := make([]byte, (len(w.nodes)+7)/8)
		for i, n := range w.nodes {
			for shard := range shards {
				if unit := shard*w.Runs + run; i != source && !n.lost && n.has(unit) && n.peer.Wants(w.units, unit) &&
					key[i/8]&(1<<(i%8)) == 0 {
					holders = append(holders, i)
					key[i/8] |= 1 << (i % 8)
				}
			}
		}
		if len(holders) < g.K {
			continue // lost
		}
		k, ok := at[string(key)]
		if !ok {
			k = len(g.Parts)
			at[string(key)] = k
			g.Parts = append(g.Parts, plan.Part{Holders: holders})
		}
		g.Parts[k].Size += size
		g.Size += size
	}
	if g.Size == 0 {
		return 0
	}
	s := w.later(w.topology.Network, w.now.Seconds())
	bound, err := plan.LeastTime(s, g)
	fill, _ := plan.Fill(s.Over(bound.Seconds), g, slices.Max(w.sizes))
	if err != nil || bound.Seconds > 1e15 {
		return 0
	}
	return bound.Seconds + fill
}

// cost is what the plan's copies cost, by the strategy.
func (w *world) cost() (sum float64) {
	if w.plan == nil {
		return 0
	}
	price := map[int]float64{}
	for _, row := range w.plan.Nodes {
		price[row.Node] = row.Cost
	}
	for _, n := range w.nodes {
		sum += price[n.index] * float64(n.got)
	}
	return sum
}
