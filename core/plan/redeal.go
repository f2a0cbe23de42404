// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"math"
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan/fluid"
)

// Reroute is Replan by flows: all copies that are not fixed go where they are soonest over a network, from who has the
// run by has or has a copy that is fixed, and stay where they are as far as that is as soon. It also gives that time.
// It is false, and changes nothing, where Reroute of lots has no answer, and for stripes.
func (r *Repair) Reroute(s core.Snapshot, has func(run, node int) bool) (seconds float64, ok bool) {
	if r.Apart != nil {
		return 0, false
	}
	lots, runs, room := r.lots(has)
	legs, seconds := Reroute(s, lots, room)
	if legs == nil && len(lots) > 0 {
		return 0, false
	}
	move := make([][]int, len(r.Sizes)) // by run: its copies that may move
	for k, c := range r.Copies {
		if !c.Fixed {
			move[c.Run] = append(move[c.Run], k)
		}
	}
	for _, leg := range legs {
		for _, run := range leg.Runs {
			r.seat(move[runs[leg.Lot][run]], leg.Keeps)
		}
	}
	return seconds, true
}

// Least is the least time of Reroute; 0 where that is not known.
func (r *Repair) Least(s core.Snapshot, has func(run, node int) bool) (b Bound) {
	lots, _, room := r.lots(has)
	if len(s.Nodes) > fluid.MaxExact || len(lots) > mostLots {
		return b
	}
	least := func(s core.Snapshot) (float64, error) {
		net, err := fluid.NewNetwork(s)
		if err == nil {
			c, _ := copiesOf(len(s.Nodes), lots, room)
			_, b = net.Spread(c, nil)
		}
		return b.Seconds, err
	}
	var err error
	if !s.Changes() {
		_, err = least(s)
	} else {
		changing := fluid.Narrowed(s)
		_, err = fluid.Settle(timeFits, func(t float64) (float64, error) { return least(changing.Over(t)) })
	}
	if err != nil || math.IsInf(b.Seconds, 1) {
		return Bound{}
	}
	return b
}

// seat gives copies of a run to as many nodes; whoever was to have one keeps it.
func (r *Repair) seat(copies, nodes []int) {
	at := func(node int) func(k int) bool { return func(k int) bool { return r.Copies[k].Node == node } }
	others := slices.DeleteFunc(slices.Clone(copies), func(k int) bool { return slices.Contains(nodes, r.Copies[k].Node) })
	for _, node := range nodes {
		if !slices.ContainsFunc(copies, at(node)) {
			r.Copies[others[0]].Node = node
			others = others[1:]
		}
	}
}

// owed is a run's copies: those that are fixed, by who keeps them, and how many may move.
type owed struct {
	fixed []int
	move  int
}

// lots is what may be given to nodes: runs that the same nodes have, and of which equally many copies may move.
func (r *Repair) lots(has func(run, node int) bool) (lots []Lot, runs [][]int, room Room) {
	room = Room{Free: r.Room, Due: make([]core.Size, len(r.May)), Direct: !r.Relays}
	all := make([]owed, len(r.Sizes))
	for _, c := range r.Copies {
		if of := &all[c.Run]; c.Fixed {
			of.fixed = append(of.fixed, c.Node)
		} else if of.move++; c.Node >= 0 {
			room.Due[c.Node] += r.Sizes[c.Run]
		}
	}
	known := map[string]int{}
	for run, of := range all {
		if of.move == 0 {
			continue
		}
		lot, key := r.lot(of, func(node int) bool { return has(run, node) })
		k, there := known[key]
		if !there {
			k = len(lots)
			known[key], lots, runs = k, append(lots, lot), append(runs, nil)
		}
		lots[k].Runs, runs[k] = append(lots[k].Runs, r.Sizes[run]), append(runs[k], run)
	}
	return lots, runs, room
}

// lot is who has a run and who may be given it; runs of the same key are alike.
func (r *Repair) lot(of owed, has func(node int) bool) (lot Lot, key string) {
	lot.Copies = of.move
	if r.PerZone > 0 {
		lot.Zones = map[string]int{}
	}
	states := []byte{byte(of.move)}
	for i := range r.May {
		fixed, state := slices.Contains(of.fixed, i), byte(0)
		switch {
		case fixed:
			state, lot.From = 2, append(lot.From, i)
		case has(i):
			state, lot.From = 1, append(lot.From, i)
		case r.May[i]:
			lot.May = append(lot.May, i)
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
