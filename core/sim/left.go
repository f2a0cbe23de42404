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
	lots, _, room := w.movable(&r, lost)
	b := plan.LeastLeft(w.linked(w.later(w.topology.Network, w.now.Seconds()), lost), lots, room, false)
	b.Seconds += w.now.Seconds()
	w.left = b
}

// undecided is what can still be decided while some nodes are gone: every copy, fixed where it is there or on its way, who may
// take over, and how fast: as it was seen to receive, or no faster than anybody was.
func (w *world) undecided(gone func(*node) bool, even bool, left []core.Size) plan.Repair {
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

// copies is a run's: those that are fixed, by who keeps them, and how many may move.
type copies struct {
	fixed []int
	move  int
}

// movable is what nodes may be given: runs that the same nodes have, and of which equally many copies may move.
func (w *world) movable(r *plan.Repair, gone func(*node) bool) (lots []plan.Lot, runs [][]int, room plan.Room) {
	room = plan.Room{Free: r.Room, Due: make([]core.Size, len(w.nodes))}
	all := make([]copies, w.Runs)
	for _, c := range r.Copies {
		if of := &all[c.Run]; c.Fixed {
			of.fixed = append(of.fixed, c.Node)
		} else if of.move++; c.Node >= 0 {
			room.Due[c.Node] += w.sizes[c.Run]
		}
	}
	known := map[string]int{}
	for run, of := range all {
		if of.move == 0 {
			continue
		}
		lot, key := w.lot(run, of, r, gone)
		k, there := known[key]
		if !there {
			k = len(lots)
			known[key], lots, runs = k, append(lots, lot), append(runs, nil)
		}
		lots[k].Runs, runs[k] = append(lots[k].Runs, w.sizes[run]), append(runs[k], run)
	}
	return lots, runs, room
}

// lot is who has a run and who may be given it; runs of the same key are alike.
func (w *world) lot(run int, of copies, r *plan.Repair, gone func(*node) bool) (lot plan.Lot, key string) {
	lot.Copies = of.move
	if r.PerZone > 0 {
		lot.Zones = map[string]int{}
	}
	states := []byte{byte(of.move)}
	for i, n := range w.nodes {
		state, fixed := byte(0), slices.Contains(of.fixed, i)
		switch {
		case !gone(n) && (n.has(run) || n.peer.Expects(w.units, run)):
			state, lot.From = 1, append(lot.From, i)
		case r.May[i]:
			lot.May = append(lot.May, i)
		}
		if fixed {
			state += 2
		}
		states = append(states, state)
		if z := r.Zone[i]; lot.Zones != nil && z != "" {
			if _, known := lot.Zones[z]; !known {
				lot.Zones[z] = r.PerZone
			}
			if fixed {
				lot.Zones[z] = max(0, lot.Zones[z]-1)
			}
		}
	}
	return lot, string(states)
}
