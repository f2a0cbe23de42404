// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"math"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan"
)

// sending is a unit that by the plan one node gives another.
type sending struct{ from, to, unit int }

// relay says who sends what over which link, and who passes on what it does not keep: in a broadcast whoever is no
// target; else a node as far as the plan has it carry, and beyond that for those whom nobody with the run can reach.
func (w *world) relay() {
	g := w.topology.Goal
	sendings := w.sendings()
	for _, n := range w.nodes {
		n.carry = 0
		if g.Mode == plan.Broadcast && n.peer.Need() == 0 && n.got == 0 {
			n.carry = math.MaxFloat64 // whatever helps
		}
	}
	for _, s := range sendings {
		if n := w.nodes[s.to]; !n.peer.Wants(w.units, s.unit) {
			n.carry += float64(w.sizes[s.unit])
		}
	}
	w.route(sendings)
	w.relays.Lay(func(i int) float64 {
		n := w.nodes[i]
		idle := !w.mesh && (g.Mode != plan.Broadcast || n.peer.Need() == 0 && n.got == 0)
		if g.Mode == plan.Fetch && i == g.Sink || i == w.source || n.carry <= 1 && !idle {
			return -1
		}
		return n.carry
	})
}

// route has nodes send what the plan has them send; as they see fit where it says nothing.
func (w *world) route(sendings []sending) {
	w.relays.Routed = len(sendings) > 0
	w.spread.Forget()
	for _, n := range w.nodes {
		for _, l := range n.links {
			if l != nil {
				l.planned = false
			}
		}
	}
	for _, t := range w.trunks {
		t.planned = 0
	}
	w.routed = w.steady()
	if w.plan != nil {
		w.spread.Takes(w.now, w.plan.FlowS())
	}
	for _, s := range sendings {
		l := w.link(w.nodes[s.from], w.nodes[s.to])
		if l.planned = true; l.trunk != nil {
			l.trunk.planned += float64(w.sizes[s.unit])
		}
		if w.routed {
			w.spread.Follow(w.units, s.unit, s.from, s.to)
		} else {
			w.nodes[s.from].part.Plan(s.to, float64(w.sizes[s.unit]))
		}
	}
}

// steady reports whether every run should go the way that the plan has it go; else nodes keep to how much goes over
// each link, which is all that holds where rates change.
func (w *world) steady() bool { return plan.Steady(len(w.sizes), w.believed) }

// stray lets runs go whichever way they can, when nothing moves though something is missing; false where they may
// already.
func (w *world) stray() bool {
	if !w.routed {
		return false
	}
	w.spread.Forget()
	w.routed = false
	return true
}

// sendings is what the plan has nodes send: as it was made, or, where copies are not where it has them or rates are not
// as it took them, how what is left comes soonest to who is to have it. Where everybody is linked to everybody and gets
// everything, senders need no plan.
func (w *world) sendings() (out []sending) {
	g := w.topology.Goal
	switch {
	case g.Mode == plan.Broadcast && w.mesh && len(w.topology.Network.Links)+len(w.trunks) == 0 &&
		len(g.Targets) == len(w.nodes)-1:
		return nil
	case w.plan != nil && w.plan.Guide(len(w.sizes), w.believed) == core.GuideNone:
		return nil // first copies are given by what nodes can pass on
	case w.plan != nil && !w.dealt && !w.measured:
		for _, s := range w.plan.Spans()[0] {
			for run := s.Start; run < s.End() && s.From != s.Node; run++ {
				out = append(out, sending{s.From, s.Node, w.unit(plan.Copy{Run: run, Shard: s.Shard})})
			}
		}
		return out
	}
	lots, units := w.lots()
	legs, _ := plan.Reroute(w.linked(w.view(), noticed), lots, plan.Room{})
	for _, leg := range legs {
		for _, run := range leg.Runs {
			for _, l := range leg.Links {
				out = append(out, sending{l[0], l[1], units[leg.Lot][run]})
			}
		}
	}
	return out
}

// lots is what is neither there nor on its way: units that the same nodes have and the same others lack.
func (w *world) lots() (lots []plan.Lot, units [][]int) {
	at := map[string]int{}
	for unit, size := range w.sizes {
		key, lot := make([]byte, len(w.nodes)), plan.Lot{}
		for i, n := range w.nodes {
			switch {
			case n.noticed:
			case n.has(unit) || n.peer.Expects(w.units, unit):
				key[i], lot.From = 1, append(lot.From, i)
			case n.peer.Wants(w.units, unit):
				key[i], lot.May = 2, append(lot.May, i)
			}
		}
		if lot.Copies = len(lot.May); len(lot.From) == 0 || lot.Copies == 0 {
			continue
		}
		k, known := at[string(key)]
		if !known {
			k = len(lots)
			at[string(key)] = k
			lots, units = append(lots, lot), append(units, nil)
		}
		lots[k].Runs, units[k] = append(lots[k].Runs, size), append(units[k], unit)
	}
	return lots, units
}

// linked is a network without nodes that are gone, with every link that is left by itself where they differ.
func (w *world) linked(s core.Snapshot, gone func(*node) bool) core.Snapshot {
	s.Source = max(0, s.Source)
	if w.mesh && len(s.Links)+len(w.trunks)+w.losses == 0 {
		return s
	}
	known := map[[2]int]core.LinkState{}
	for _, l := range s.Links {
		known[[2]int{l.From, l.To}] = l
	}
	s.Links = nil
	for _, n := range w.nodes {
		for _, to := range n.out {
			if l := known[[2]int{n.index, to}]; !gone(n) && !gone(w.nodes[to]) {
				l.From, l.To = n.index, to
				s.Links = append(s.Links, l)
			}
		}
	}
	return s
}
