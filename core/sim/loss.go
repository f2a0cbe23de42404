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
		for _, l := range []*lane{n.lanes[other.index], other.lanes[n.index]} {
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
	n.has.all(func(unit int) { w.count(n, unit, -1) })
	n.want.all(func(unit int) { w.unwish(n, unit) })
	for unit := range w.sizes {
		n.has.drop(unit)
	}
	for _, z := range w.zones {
		w.recount(z)
	}
	if n.index == w.source {
		w.source = -1
	}
	w.replan(false)
	for _, other := range w.nodes {
		w.try(other)
	}
}

// recount finds what of a zone's wishes is in none of its nodes any more.
func (w *world) recount(z *zone) {
	z.need = 0
	for unit, size := range w.sizes {
		z.there.drop(unit)
		z.wanted.drop(unit)
		for _, m := range z.members {
			if n := w.nodes[m]; !n.noticed {
				if n.has.has(unit) {
					z.there.add(unit)
				}
				if n.want.has(unit) {
					z.wanted.add(unit)
				}
			}
		}
		if z.wanted.has(unit) && !z.there.has(unit) {
			z.need += size
		}
	}
}

// replan gives copies that nobody keeps any more to others; if even, it also moves what is not there yet from slow
// nodes to fast ones, by what was measured. The coordinator is the source: without it nothing is planned anew.
func (w *world) replan(even bool) {
	w.replanned = w.now
	defer func() {
		w.relay()
		for _, r := range w.relays {
			for unit := range w.sizes {
				w.shed(r, unit)
			}
		}
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
		r.May = append(r.May, !n.noticed && i != w.topology.Network.Source && w.hops[i] >= 0 && w.allowed(i))
		r.Zone = append(r.Zone, s.Zone)
	}
	for _, c := range w.owed {
		if unit := w.unit(c); c.Node >= 0 && (w.nodes[c.Node].noticed || w.beyondReach(c.Node) &&
			!w.nodes[c.Node].has.has(unit)) {
			c.Node = -1
		} else if c.Node >= 0 {
			n := w.nodes[c.Node]
			if c.Fixed = n.has.has(unit) || n.coming.has(unit); c.Fixed {
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
			w.unwish(w.nodes[old], w.unit(c))
		}
		w.wish(w.nodes[c.Node], w.unit(c))
		c.Fixed = false
		w.owed[k] = c
	}
	for _, z := range w.zones {
		w.recount(z)
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
		if !n.lost && n.has.has(unit) {
			nodes = append(nodes, i)
		}
	}
	return nodes
}
