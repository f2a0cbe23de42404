// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/core/task"
)

// lose takes a node away. What was on its way to or from it stays so until the others notice.
func (w *world) lose(n *node) {
	w.losses++
	if n.lost {
		return
	}
	n.lost = true
	w.unnoticed++
	w.after(detection, func() { w.notice(n) })
}

// notice ends every flow with a lost node, and has the coordinator plan anew for what it was to keep.
func (w *world) notice(n *node) {
	n.noticed = true
	w.unnoticed--
	for _, other := range w.nodes {
		for _, l := range []*link{n.links[other.index], other.links[n.index]} {
			if l == nil || l.asker == nil {
				continue
			}
			if l.gone {
				continue
			}
			for _, f := range []*task.Flow{l.asker, l.grantor} {
				w.step(l, f, task.Event{Kind: task.Lost})
			}
		}
	}
	n.peer.Gone()
	if n.index == w.source {
		w.source = -1
	}
	w.replan(false)
	for _, other := range w.nodes {
		w.try(other)
	}
}

// replan gives copies that nobody keeps any more to others; if even, it also moves what is not on its way yet from nodes
// that will be late to others, by how fast they were seen to receive, where much is gained. The coordinator is the
// source: without it nothing is planned anew.
func (w *world) replan(even bool) {
	if w.plan != nil && w.source >= 0 {
		w.deal(even)
	} else if w.topology.Goal.Mode == plan.Fetch {
		w.standIn()
	}
	w.guide()
}

// guide has nodes go by what the planner believes now.
func (w *world) guide() {
	if w.topology.Goal.Mode == plan.Fetch {
		w.share()
	}
	w.relay()
	w.relays.Shed()
}

// late reports whether a placement whose estimates were wrong is about to end late, as its coordinator tells it.
func (w *world) late() bool {
	return w.Error > 0 && w.plan != nil && w.source >= 0 && w.spread.Missing() > 0 && w.following.Note(w.now, w.lacked())
}

// lacked is what each node has to receive.
func (w *world) lacked() (left []core.Size) {
	for _, n := range w.nodes {
		left = append(left, n.peer.Need())
	}
	return left
}

// deal says anew who is to keep what is not on its way yet.
func (w *world) deal(even bool) {
	left := w.lacked()
	r := w.question(even, left)
	before := plan.Last(left, r.Arrive)
	for _, c := range w.owed {
		size := w.sizes[w.unit(c)]
		if unit := w.unit(c); c.Node >= 0 && (w.nodes[c.Node].noticed || w.beyondReach(c.Node) &&
			!w.nodes[c.Node].has(unit)) {
			c.Node = -1
		} else if c.Node >= 0 {
			n := w.nodes[c.Node]
			if c.Fixed = n.has(unit) || n.peer.Expects(w.units, unit); c.Fixed {
				r.Room[c.Node] -= size
			}
			if c.Fixed && !n.has(unit) {
				r.Busy[c.Node] += size
			}
		}
		r.Copies = append(r.Copies, c)
	}
	r.Replan()
	clear(left)
	for _, c := range r.Copies {
		if c.Node >= 0 && !w.nodes[c.Node].has(w.unit(c)) {
			left[c.Node] += w.sizes[w.unit(c)]
		}
	}
	after := plan.Last(left, r.Arrive)
	if even && !plan.Worth(before, after) {
		w.following.Again(w.now, before)
		return
	}
	w.following.Again(w.now, after)
	for k, c := range r.Copies {
		old := w.owed[k].Node
		if old == c.Node || c.Node < 0 {
			continue
		}
		if !w.nodes[old].noticed {
			w.nodes[old].peer.Unwant(w.units, w.unit(c))
		}
		w.nodes[c.Node].peer.Want(w.units, w.unit(c))
		c.Fixed, w.dealt = false, w.dealt || !even
		w.owed[k] = c
	}
}

// question is who may take over, and how fast: as it was seen to receive, or no faster than anybody was.
func (w *world) question(even bool, left []core.Size) plan.Repair {
	r := plan.Repair{Sizes: w.sizes[:w.Runs], PerZone: w.perZone, Even: even, Busy: make([]core.Size, len(w.nodes)),
		Arrive: make([]core.Rate, len(w.nodes))}
	network := w.view().Over(max(60, w.predicted-w.now.Seconds()))
	if even {
		r.Arrive = w.following.Rates(w.now, left)
	}
	fastest := slices.Max(r.Arrive)
	for i, n := range w.nodes {
		s := network.Nodes[i]
		if r.Arrive[i] == 0 {
			r.Arrive[i] = plan.Least(s.Down, fastest)
		}
		beyond := even && left[i] == 0 && w.trunkTo(w.nodes[w.source], n) != nil
		r.Room = append(r.Room, s.Free)
		r.May = append(r.May, !n.noticed && i != w.topology.Network.Source && w.relays.Hops(i) >= 0 &&
			w.allowed(i) && !beyond)
		r.Zone = append(r.Zone, s.Zone)
	}
	return r
}

// allowed reports whether the strategy lets a node keep anything.
func (w *world) allowed(i int) bool {
	if w.plan == nil {
		return true
	}
	for _, x := range w.plan.Refused {
		if x.Node == i && x.Barred {
			return false
		}
	}
	return true
}

// where lists the nodes that have a unit.
func (w *world) where(unit int) (nodes []int) {
	for i, n := range w.nodes {
		if !n.lost && n.has(unit) {
			nodes = append(nodes, i)
		}
	}
	return nodes
}
