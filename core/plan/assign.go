// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan/fluid"
	"github.com/bkp-tool/bkp/core/plan/wrap"
)

// assign gives every run its nodes, class by class. Where a class finds too little room because those before it took
// what only it could use, all are looked at once, and each node keeps to its part in that.
func (p *planner) assign() error {
	p.most = nil
	err := p.assignEach()
	if err == nil || len(p.Classes) < 2 {
		return err
	}
	most, full := p.feasible()
	if full != nil {
		return p.plainer(err, full)
	}
	p.most = most
	if p.assignEach() == nil {
		return nil
	}
	return err
}

// plainer is the error to show of two: where a class has fewer nodes to choose from than it lacks copies, no space is
// at fault, and the one that counts nodes says so.
func (p *planner) plainer(counts, full error) error {
	for c := range p.Classes {
		choice := 0
		for _, i := range p.usable {
			if !slices.Contains(p.held[c], i) {
				choice++
			}
		}
		if p.sizes[c] > 0 && choice < p.lacking(c) {
			return counts
		}
	}
	return full
}

// assignEach takes the classes in turn: first those that fewest nodes may take.
func (p *planner) assignEach() error {
	n := len(p.Snapshot.Nodes)
	p.space, p.quota, p.time = make([]core.Size, n), slices.Clone(p.quotaLeft), make([]core.Size, n)
	for i, node := range p.Snapshot.Nodes {
		p.space[i], p.time[i] = node.Free, bytesIn(p.arrive[i], p.tcap)
	}
	p.walks, p.arcs = make([]*wrap.Circle, len(p.Classes)), make([][]wrap.Arc, len(p.Classes))
	p.shares = make([]map[int]why, len(p.Classes))
	order := make([]int, len(p.Classes))
	for c := range order {
		order[c] = c
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(len(p.held[b]), len(p.held[a])) })
	for _, c := range order {
		if err := p.assignClass(c); err != nil {
			return err
		}
	}
	return nil
}

func (p *planner) assignClass(c int) error {
	lacking := p.lacking(c)
	p.shares[c] = map[int]why{}
	if lacking == 0 || len(p.Classes[c].Runs) == 0 {
		return nil
	}
	ring := wrap.New(p.Classes[c].Runs, lacking)
	p.walks[c] = ring
	zoneMax, zoneCap := p.zoneLimits(c)
	var seats []wrap.Seat
	for _, i := range p.usable {
		if slices.Contains(p.held[c], i) {
			continue
		}
		cap, why := p.cap(c, i)
		p.shares[c][i] = why
		seats = append(seats, wrap.Seat{Node: i, Zone: p.zoneOf(i), Order: p.place(i), Cap: cap, Cost: p.order[i],
			Weight: p.weight[i]})
	}
	if p.quotas != nil {
		for k := range seats {
			seats[k].Quota = p.quotas[c][seats[k].Node]
		}
	} else if short := wrap.SetQuotas(seats, float64(ring.Bytes())*float64(lacking), zoneCap); short > 0 || len(seats) < lacking {
		return p.shortage(c, seats, zoneMax)
	}
	arcs, ok := ring.Assign(seats, zoneMax, zoneCap)
	if !ok {
		return p.unfit(c, seats)
	}
	p.arcs[c] = arcs
	for _, a := range arcs {
		took := ring.Between(a.Start, a.End)
		p.space[a.Node] -= took
		p.quota[a.Node] -= took
		p.time[a.Node] -= took
	}
	return nil
}

// zoneLimits says how many copies of a class's runs each zone may still take, in copies and in bytes. Both are nil
// where the strategy does not spread.
func (p *planner) zoneLimits(c int) (copies map[string]int, bytes map[string]float64) {
	if p.Scores.Spread.Level == "" {
		return nil, nil
	}
	copies, bytes = map[string]int{}, map[string]float64{}
	for _, i := range p.usable {
		copies[p.net.ZoneOf(i)] = p.Scores.Spread.Max
	}
	for _, h := range p.held[c] {
		copies[p.net.ZoneOf(h)]--
	}
	for z := range copies {
		copies[z] = max(0, copies[z])
		bytes[z] = float64(copies[z]) * float64(p.sizes[c])
	}
	return copies, bytes
}

// why is what keeps a node from taking more of a class.
type why int

const (
	byClass why = iota // it takes all of it
	bySpace
	byQuota
	byTime
)

// cap is how many bytes of a class a node may take now, in whole runs where all are alike.
func (p *planner) cap(c, i int) (core.Size, why) {
	limit, reason := p.sizes[c], byClass
	for _, l := range []struct {
		size core.Size
		why  why
	}{{p.space[i], bySpace}, {p.quota[i], byQuota}, {p.time[i], byTime}} {
		if l.size < limit {
			limit, reason = max(0, l.size), l.why
		}
	}
	if p.most != nil && p.most[c][i] < limit {
		limit, reason = p.most[c][i], bySpace
	}
	runs := p.Classes[c].Runs
	if size := runs[0]; reason != byClass && size > 0 && p.sizes[c] == size*core.Size(len(runs)) &&
		slices.Max(runs) == size {
		limit -= limit % size
	}
	return limit, reason
}

// zoneOf is a node's domain where the strategy spreads copies; else zones only keep neighbours together.
func (p *planner) zoneOf(i int) string {
	if p.Scores.Spread.Level != "" {
		return p.net.ZoneOf(i)
	}
	return p.Snapshot.Nodes[i].Zone
}

// place is where a node sits at the circle: a mix of the file's seed and the node's ID, so that files differ.
func (p *planner) place(i int) uint64 {
	h := p.Seed
	id := p.Snapshot.Nodes[i].ID
	for k := 0; k < len(id); k += 8 {
		h = mix(h ^ binary.LittleEndian.Uint64(id[k:]))
	}
	return h
}

// mix is the finaliser of SplitMix64 (Steele, Lea, Flood 2014).
func mix(z uint64) uint64 {
	z += 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// bytesIn is what a payload rate carries in some seconds, as a size.
func bytesIn(rate, seconds float64) core.Size {
	if b := fluid.Within(rate, seconds); b < math.MaxInt64/2 && !math.IsNaN(b) {
		return core.Size(b)
	}
	return math.MaxInt64
}
