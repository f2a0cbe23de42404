// SPDX-License-Identifier: Apache-2.0

package sim

import (
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

// replan gives copies that nobody keeps any more to others; if even, it also moves what is not there yet from slow
// nodes to fast ones, by what was measured. The coordinator is the source: without it nothing is planned anew.
func (w *world) replan(even bool) {
	w.replanned = w.now
	defer func() {
		w.relay()
		w.relays.Shed()
	}()
	switch mode := w.topology.Goal.Mode; {
	case mode == plan.Fetch:
		w.standIn()
		w.share()
		return
	case mode == plan.Broadcast || w.source < 0:
		return
	}
	r := plan.Repair{Sizes: w.sizes[:w.Runs], PerZone: w.perZone, Even: even}
	network := w.view().Over(max(60, w.predicted-w.now.Seconds()))
	for i, n := range w.nodes {
		s := network.Nodes[i]
		r.Room = append(r.Room, s.Free)
		r.Arrive = append(r.Arrive, s.Down)
		r.May = append(r.May, !n.noticed && i != w.topology.Network.Source && w.relays.Hops(i) >= 0 && w.allowed(i))
		r.Zone = append(r.Zone, s.Zone)
	}
	for _, c := range w.owed {
		if unit := w.unit(c); c.Node >= 0 && (w.nodes[c.Node].noticed || w.beyondReach(c.Node) &&
			!w.nodes[c.Node].has(unit)) {
			c.Node = -1
		} else if c.Node >= 0 {
			n := w.nodes[c.Node]
			if c.Fixed = n.has(unit) || n.peer.Expects(w.units, unit); c.Fixed {
				r.Room[c.Node] -= w.sizes[unit]
			}
		}
		r.Copies = append(r.Copies, c)
	}
	r.Replan()
	for k, c := range r.Copies {
		old := w.owed[k].Node
		if old == c.Node || c.Node < 0 {
			continue
		}
		if !w.nodes[old].noticed {
			w.nodes[old].peer.Unwant(w.units, w.unit(c))
		}
		w.nodes[c.Node].peer.Want(w.units, w.unit(c))
		c.Fixed = false
		w.owed[k] = c
	}
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
