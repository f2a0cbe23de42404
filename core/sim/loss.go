// SPDX-License-Identifier: Apache-2.0

package sim

import (
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
	w.bound()
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

// replan gives copies that nobody keeps any more to others; if even, it also moves what is not on its way yet from
// nodes that will be late to others, by how fast they were seen to receive, where much is gained. The coordinator is
// the source: without it nothing is planned anew.
func (w *world) replan(even bool) {
	if w.plan != nil && w.source >= 0 {
		w.deal(even)
	} else if !even && w.topology.Goal.Mode == plan.Fetch {
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
	r := w.undecided(noticed, even, left)
	before, after, ok := w.reroute(&r, even)
	if !ok {
		before, after = w.replanned(&r, left)
	}
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

// replanned moves copies one by one, and says when the last would be there before and after, by how fast nodes receive.
func (w *world) replanned(r *plan.Repair, left []core.Size) (before, after float64) {
	before = plan.Last(left, r.Arrive)
	r.Replan()
	clear(left)
	for _, c := range r.Copies {
		if c.Node >= 0 && !w.nodes[c.Node].has(w.unit(c)) {
			left[c.Node] += w.sizes[w.unit(c)]
		}
	}
	return before, plan.Last(left, r.Arrive)
}

// reroute computes for all copies that may move who is to keep them; false where that cannot be done. The times are
// those of leaving all where it is, if that is asked, and of the answer.
func (w *world) reroute(r *plan.Repair, even bool) (before, after float64, ok bool) {
	if w.topology.Goal.Mode != plan.Replicas {
		return 0, 0, false // a shard differs from every other
	}
	network := w.linked(w.view(), noticed)
	if even {
		as, _ := w.lots()
		_, before = plan.Reroute(network, as, plan.Room{})
	}
	after, ok = r.Reroute(network, w.known(noticed))
	return before, after, ok
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
