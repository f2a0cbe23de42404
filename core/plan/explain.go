// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan/fluid"
	"github.com/bkp-tool/bkp/core/plan/wrap"
)

// describe writes for each node that keeps something why it keeps this much.
func (p *planner) describe(out *Plan) {
	for k := range out.Nodes {
		row := &out.Nodes[k]
		i := row.Node
		var parts []string
		if row.Held > 0 {
			part := "all of it there already"
			if row.Held < row.Bytes {
				part = row.Held.String() + " of it there already"
			}
			parts = append(parts, part)
		}
		if row.Held < row.Bytes {
			parts = append(parts, p.reason(i))
		}
		if p.explain[i] != "" {
			parts = append(parts, p.explain[i])
		}
		row.Explain = strings.Join(parts, "; ")
	}
}

// reason says what decided a node's share of the new copies.
func (p *planner) reason(i int) string {
	var took, cap core.Size
	var held why
	all := true
	for c, ring := range p.walks {
		if ring == nil {
			continue
		}
		var here core.Size
		for _, a := range p.arcs[c] {
			if a.Node == i {
				here += ring.Between(a.Start, a.End)
			}
		}
		took += here
		if w, ok := p.shares[c][i]; ok && here < p.sizes[c] {
			all, held = false, max(held, w)
		}
	}
	cap = p.Snapshot.Nodes[i].Free
	rank := p.rankOf(i)
	switch {
	case all:
		return fmt.Sprintf("one copy of every run%s", rank)
	case held == bySpace && cap-took < p.largest:
		return fmt.Sprintf("as much as fits into its %s of free space%s", cap, rank)
	case held == byQuota && p.quotaLeft[i]-took < p.largest:
		return fmt.Sprintf("as much as the strategy lets it keep%s", rank)
	case held == byTime && p.time[i] < p.largest:
		return fmt.Sprintf("as much as it can receive within %.3g s%s", p.tcap, rank)
	case len(p.Scores.PlaceCost) > 0 || len(p.Scores.TargetWeight) > 0 && p.weight[i] == 0:
		return fmt.Sprintf("what was left%s", rank)
	case len(p.Scores.TargetWeight) > 0:
		return fmt.Sprintf("its share by the strategy's weight of %.4g", p.weight[i])
	}
	return "its share by bandwidth"
}

// price is what a node costs by the strategy: its cost, or the reciprocal of its weight where it gave weights alone, so
// that in either case the cheaper node is the one that is given more.
func (p *planner) price(i int) float64 {
	if len(p.Scores.PlaceCost) == 0 && len(p.Scores.TargetWeight) > 0 && p.weight[i] > 0 {
		return 1 / p.weight[i]
	}
	return p.cost[i]
}

// rankOf tells where a node stands in the order of cost: " (number 3 of 5 by cost)", or nothing without costs.
func (p *planner) rankOf(i int) string {
	switch {
	case len(p.Scores.PlaceCost) == 0:
		return ""
	case p.costless:
		return " (whatever it costs: the cheapest nodes are too slow together)"
	}
	rank := 1
	for _, other := range p.usable {
		if p.cost[other]*(1+wrap.SameCost) < p.cost[i] {
			rank++
		}
	}
	return fmt.Sprintf(" (number %d of %d by cost)", rank, len(p.usable))
}

// refusal says why a candidate gets nothing.
func (p *planner) refusal(i int) string {
	free, smallest := p.Snapshot.Nodes[i].Free, p.smallest
	switch {
	case !p.allowed[i] && p.explain[i] != "":
		return "the strategy does not allow it: " + p.explain[i]
	case !p.allowed[i]:
		return "the strategy does not allow it"
	case !p.linked[i]:
		return "the source has no link to it"
	case free < smallest:
		return fmt.Sprintf("no room: %s free, the smallest run is %s", free, smallest)
	case p.quotaLeft[i] < smallest:
		return fmt.Sprintf("the strategy lets it keep %s, the smallest run is %s", p.quotaLeft[i], smallest)
	case len(p.Scores.PlaceCost) > 0:
		return fmt.Sprintf("not needed: nodes before it had room for everything%s", p.rankOf(i))
	case len(p.Scores.TargetWeight) > 0:
		return fmt.Sprintf("not needed: its weight of %.4g gives it no run", p.weight[i])
	}
	return "not needed: its share is less than a run"
}

// shortage is the error for a class whose copies find too little room. It names every node that could have more.
func (p *planner) shortage(c int, seats []wrap.Seat, zoneMax map[string]int) error {
	lacking := p.lacking(c)
	size := p.sizes[c]
	if len(seats) < lacking {
		return p.tooFew(p.copiesIn(c), seats, p.held[c])
	}
	var with, without []string
	var room core.Size
	var fits int
	for _, s := range seats {
		room += s.Cap
		if s.Cap >= size {
			fits++
			with = append(with, p.net.NameOf(s.Node))
			continue
		}
		without = append(without, fmt.Sprintf("%s lacks %s", p.net.NameOf(s.Node), size-s.Cap))
	}
	need := size * core.Size(lacking)
	var err error
	allowance, zones := 0, []string{}
	for _, z := range slices.Sorted(maps.Keys(zoneMax)) {
		allowance += zoneMax[z]
		zones = append(zones, fluid.ZoneName(z))
	}
	switch {
	case zoneMax != nil && allowance < lacking:
		err = core.Fail(core.CodeRedundant, "%s with at most %d in a zone need more zones than %s", p.copiesOf(p.copiesIn(c)),
			p.Scores.Spread.Max, fluid.List(zones))
	case zoneMax != nil && room >= need:
		err = core.Fail(core.CodeRedundant, "%s of %s with at most %d in a zone do not fit: %s", p.copiesOf(lacking), size,
			p.Scores.Spread.Max, p.zoneRooms(seats))
	case len(seats) == lacking:
		err = core.Fail(core.CodeRedundant, "%s of %s need %d nodes with room; %s; %s", p.copiesOf(lacking), size, lacking,
			onlyHave(with), fluid.List(without))
	default:
		err = core.Fail(core.CodeRedundant, "%s of %s need %s on different nodes; %d nodes have room for %s of it, %s is missing; %s",
			p.copiesOf(lacking), size, need, len(seats), room, need-room, fluid.List(append(roomFor(with), without...)))
	}
	return core.WithHint(err, "free space, add a node, or ask for %s", p.fewer())
}

// unfit is the error where the bytes would fit but the runs do not.
func (p *planner) unfit(c int, seats []wrap.Seat) error {
	var rooms []string
	for _, s := range seats {
		rooms = append(rooms, fmt.Sprintf("%s has room for %s", p.net.NameOf(s.Node), s.Cap))
	}
	err := core.Fail(core.CodeRedundant, "%s of %s do not fit in whole runs of up to %s; %s",
		p.copiesOf(p.lacking(c)), p.sizes[c], slices.Max(p.Classes[c].Runs), fluid.List(rooms))
	return core.WithHint(err, "free about %s more, or add a node", slices.Max(p.Classes[c].Runs))
}

// tooFew is the error for a network with fewer nodes than copies.
func (p *planner) tooFew(copies int, seats []wrap.Seat, held []int) error {
	var may, not []string
	for _, h := range held {
		may = append(may, p.net.NameOf(h))
	}
	for _, s := range seats {
		may = append(may, p.net.NameOf(s.Node))
	}
	for i := range p.Snapshot.Nodes {
		switch {
		case i == p.Snapshot.Source || slices.Contains(p.usable, i) || slices.Contains(held, i):
		case !p.allowed[i]:
			not = append(not, p.net.NameOf(i)+" is not allowed by the strategy")
		default:
			not = append(not, "the source has no link to "+p.net.NameOf(i))
		}
	}
	sentence := fmt.Sprintf("%s need %d nodes beside the source; there is none", p.copiesOf(copies), copies)
	if len(may) > 0 {
		sentence = fmt.Sprintf("%s need %d nodes beside the source; there %s only %s", p.copiesOf(copies), copies,
			fluid.Plural(len(may), "is", "are"), fluid.List(may))
	}
	if len(not) > 0 {
		sentence += "; " + fluid.List(not)
	}
	return core.WithHint(core.Fail(core.CodeRedundant, "%s", sentence),
		"add a peer, or ask for %s", p.fewer())
}

func (p *planner) zoneRooms(seats []wrap.Seat) string {
	rooms, names := map[string]core.Size{}, []string{}
	for _, s := range seats {
		if _, ok := rooms[s.Zone]; !ok {
			names = append(names, s.Zone)
		}
		rooms[s.Zone] += s.Cap
	}
	for k, z := range names {
		names[k] = fmt.Sprintf("%s has room for %s", fluid.ZoneName(z), rooms[z])
	}
	return fluid.List(names)
}

// copiesOf is so many copies of a run, in words; of shards they are runs of a stripe.
func (p *planner) copiesOf(n int) string {
	if p.K == 0 {
		return copies(n)
	}
	return fmt.Sprintf("%d runs of each stripe", n)
}

func (p *planner) fewer() string {
	if p.K == 0 {
		return "fewer copies with --replicas"
	}
	return "a shorter code with --erasure"
}

func copies(n int) string { return fmt.Sprintf("%d %s", n, fluid.Plural(n, "replica", "replicas")) }

func onlyHave(names []string) string {
	if len(names) == 0 {
		return "none has it"
	}
	return fmt.Sprintf("only %s %s it", strings.Join(names, " and "), fluid.Plural(len(names), "has", "have"))
}

func roomFor(names []string) []string {
	if len(names) == 0 {
		return nil
	}
	return []string{strings.Join(names, ", ") + fluid.Plural(len(names), " has", " have") + " room for all"}
}
