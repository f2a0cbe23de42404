// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/bkp-tool/bkp/core"
)

// Offer is a node as Rebalance weighs it.
type Offer struct {
	Price float64 // of a byte, by the strategy; lower is better
	Free  core.Size
	Total core.Size
	Takes bool // it may be given something new
}

const (
	// dearer is how many times the price of others a holder's has to be before its copies move: less may be what was
	// measured a little otherwise.
	dearer = 1.5
	// fullBelow is the part of its space that is left where a node is nearly full: a twentieth.
	fullBelow = 20
	// LeaveFree is the part of their space that targets are to have left, so that they are not relieved next: a tenth.
	LeaveFree = 10
)

// full reports whether a node has next to no room.
func (o Offer) full() bool { return o.Free < o.Total/fullBelow }

// room is what it can take over.
func (o Offer) room() core.Size {
	if !o.Takes {
		return 0
	}
	return max(0, o.Free-o.Total/LeaveFree)
}

// Relief is a holder that others are to take over from.
type Relief struct {
	Node  core.ID
	Bytes core.Size // that it keeps
	Why   string
}

// Rebalance says which holders of a placement others are to take over from, all that they keep of it: those that cost
// clearly more than who has room, and those that are nearly full. offers is by the nodes of the network; targets says
// which of them may get something. What moves is what Next says then, with who is relieved drained and others than
// targets barred: no copy goes before another counts.
func Rebalance(known []Segment, n Network, offers []Offer) (relieved []Relief, targets []bool) {
	b := &balance{known: known, nodes: n.Nodes, offers: offers, leaves: make([]bool, len(n.Nodes)),
		room: make([]core.Size, len(n.Nodes))}
	var holders []int
	for i, o := range offers {
		b.room[i] = o.room()
		if i > 0 && n.Nodes[i].Away.IsZero() && b.keeps(i) > 0 {
			holders = append(holders, i)
		}
	}
	slices.SortStableFunc(holders, func(i, j int) int { return cmp.Compare(offers[j].Price, offers[i].Price) })
	limit := 0.0 // what targets may cost; 0: anything
	for _, i := range holders {
		if price := offers[i].Price / dearer; price > 0 && b.relieve(i, price) {
			limit = price
			relieved = append(relieved, Relief{n.Nodes[i].ID, b.keeps(i), fmt.Sprintf("it costs %.1f times what others do",
				offers[i].Price/b.cheapest(price))})
		}
	}
	for _, i := range holders {
		if o := offers[i]; !b.leaves[i] && o.full() && b.relieve(i, limit) {
			relieved = append(relieved, Relief{n.Nodes[i].ID, b.keeps(i), fmt.Sprintf("it is nearly full: %s of %s are left",
				o.Free, o.Total)})
		}
	}
	targets = make([]bool, len(n.Nodes))
	for i := range targets {
		targets[i] = b.takes(i, limit)
	}
	return relieved, targets
}

// balance is one call of Rebalance.
type balance struct {
	known  []Segment
	nodes  []Node
	offers []Offer
	leaves []bool
	room   []core.Size // that is left
}

// keeps is what a node keeps of the placement.
func (b *balance) keeps(i int) (bytes core.Size) {
	for _, s := range b.known {
		for run, size := range s.Sizes {
			if s.At[b.nodes[i].ID].Here(run) {
				bytes += size
			}
		}
	}
	return bytes
}

// takes reports whether a node may take over at a price; 0 is any.
func (b *balance) takes(i int, most float64) bool {
	return i > 0 && !b.leaves[i] && b.offers[i].Takes && !b.offers[i].full() && b.nodes[i].Away.IsZero() &&
		b.nodes[i].Barred == "" && !b.nodes[i].Drained && (most == 0 || b.offers[i].Price <= most)
}

// cheapest is the least price of a target.
func (b *balance) cheapest(most float64) float64 {
	least := most
	for i, o := range b.offers {
		if b.takes(i, most) {
			least = min(least, max(o.Price, most/1000))
		}
	}
	return least
}

// relieve has a holder leave, where targets at a price have room for each run that it keeps; the cheapest take first.
func (b *balance) relieve(holder int, most float64) bool {
	b.leaves[holder] = true
	var targets []int
	for i := range b.nodes {
		if b.takes(i, most) {
			targets = append(targets, i)
		}
	}
	slices.SortStableFunc(targets, func(i, j int) int { return cmp.Compare(b.offers[i].Price, b.offers[j].Price) })
	room := slices.Clone(b.room)
	for _, s := range b.known {
		for run, size := range s.Sizes {
			if !s.At[b.nodes[holder].ID].Here(run) {
				continue
			}
			at := slices.IndexFunc(targets, func(i int) bool { return room[i] >= size && !s.At[b.nodes[i].ID].Here(run) })
			if at < 0 {
				b.leaves[holder] = false
				return false
			}
			room[targets[at]] -= size
		}
	}
	b.room = room
	return true
}
