// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan"
)

func noticed(n *node) bool { return n.noticed }
func lost(n *node) bool    { return n.lost }

// bound notes the least time in which what is missing now can come to whoever is left, as nobody knows it: from this
// moment on, with all that is there and on its way.
func (w *world) bound() {
	if w.plan == nil || w.source < 0 || w.nodes[w.source].lost || w.topology.Goal.Mode != plan.Replicas {
		return
	}
	r := w.undecided(lost, false, w.lacked())
	w.left = r.Least(w.linked(w.later(w.topology.Network, w.now.Seconds()), lost), w.known(lost))
	w.left.Seconds += w.now.Seconds()
}

// known reports who has a run, or is being sent it, while some nodes are gone.
func (w *world) known(gone func(*node) bool) func(run, node int) bool {
	return func(run, node int) bool {
		n := w.nodes[node]
		return !gone(n) && (n.has(run) || n.peer.Expects(w.units, run))
	}
}

// undecided is what can still be decided while some nodes are gone: every copy, fixed where it is there or on its way,
// who may take over, and how fast: as it was seen to receive, or no faster than anybody was.
func (w *world) undecided(gone func(*node) bool, even bool, left []core.Size) plan.Repair {
	r := plan.Repair{Sizes: w.sizes[:w.Runs], PerZone: w.perZone, Even: even, Relays: true, Busy: make([]core.Size, len(w.nodes)),
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
		r.May = append(r.May, !gone(n) && i != w.topology.Network.Source && w.relays.Hops(i) >= 0 &&
			w.allowed(i) && !beyond)
		r.Zone = append(r.Zone, s.Zone)
	}
	for _, c := range w.owed {
		size := w.sizes[w.unit(c)]
		if unit := w.unit(c); c.Node >= 0 && (gone(w.nodes[c.Node]) || w.beyondReach(c.Node) &&
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
	return r
}
