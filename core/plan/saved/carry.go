// SPDX-License-Identifier: Apache-2.0

package saved

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/core/plan/fluid"
)

// Tolerance is by which part a node, link or trunk that a saved plan counts on may have become slower before the plan
// is refused.
const Tolerance = 0.10

// Now is the network and the job as they are when a saved plan is to be carried out.
type Now struct {
	About
	Snapshot core.Snapshot
	Classes  []plan.Class
}

// Carry is the saved plan over the nodes of the present snapshot, span for span; or an error that says what differs, of
// core.CodeRefused where the plan is for something else or its times no longer hold, of core.CodeRedundant where its
// copies would not find their place. What the plan does not use may differ as it likes: space beyond a node's share,
// bandwidth of links without a flow, further nodes.
func (s Plan) Carry(now Now) (*plan.Plan, error) {
	if now.Snapshot.Changes() {
		now.Snapshot = now.Snapshot.Over(s.PredictedS)
	}
	c := &carrying{Plan: s, now: now}
	c.job()
	if c.differs == nil {
		c.nodes()
	}
	if c.differs == nil {
		return c.plan(), nil
	}
	err := core.Fail(c.code, "the plan no longer fits: %s", fluid.List(c.differs))
	return nil, core.WithHint(err, "plan again: bkp place %s --dry-run --plan-out FILE; bkp plan diff shows what changed", s.Name)
}

// carrying compares a saved plan with what is there.
type carrying struct {
	Plan
	now     Now
	at      []int // by saved node: its index in the present snapshot, −1
	code    core.Code
	differs []string
}

func (c *carrying) differ(code core.Code, format string, args ...any) {
	c.code = max(c.code, code)
	c.differs = append(c.differs, fmt.Sprintf(format, args...))
}

// job compares what is to be placed.
func (c *carrying) job() {
	switch now := c.now; {
	case c.Name != now.Name || c.Version != now.Version:
		c.differ(core.CodeRefused, "it is for %s@%d, not %s@%d", c.Name, c.Version, now.Name, now.Version)
	case c.Root != now.Root:
		c.differ(core.CodeRefused, "%s@%d was split anew since", c.Name, c.Version)
	case c.Runs != now.Runs || !c.sameClasses():
		c.differ(core.CodeRefused, "other runs have to be placed now than when it was made, since peers keep other parts of %s already", c.Name)
	}
}

func (c *carrying) sameClasses() bool {
	if len(c.Classes) != len(c.now.Classes) {
		return false
	}
	for k, class := range c.Classes {
		if class.Runs != len(c.now.Classes[k].Runs) {
			return false
		}
	}
	return true
}

// nodes compares the network, as far as the plan uses it.
func (c *carrying) nodes() {
	index := map[core.ID]int{}
	for i, n := range c.now.Snapshot.Nodes {
		index[n.ID] = i
	}
	used, sends, receives := make([]bool, len(c.Nodes)), make([]bool, len(c.Nodes)), make([]bool, len(c.Nodes))
	used[c.Source] = true
	for _, class := range c.Classes {
		for _, s := range slices.Concat(class.Spans, class.Relays) {
			used[s.Node], used[s.From] = true, true
		}
	}
	for _, f := range c.Flows {
		used[f.From], used[f.To], sends[f.From], receives[f.To] = true, true, true, true
	}
	for i, n := range c.Nodes {
		at, ok := index[n.ID]
		if c.at = append(c.at, at); !ok {
			if c.at[i] = -1; used[i] {
				c.differ(core.CodeRedundant, "node %s is not connected", c.name(i))
			}
			continue
		}
		state := c.now.Snapshot.Nodes[at]
		if sends[i] {
			c.slower("node "+c.name(i)+" can send", n.Up, state.Up)
		}
		if receives[i] {
			c.slower("node "+c.name(i)+" can receive", n.Down, state.Down)
		}
	}
	if c.differs == nil && c.at[c.Source] != c.now.Snapshot.Source {
		c.differ(core.CodeRefused, "it was made on another machine, node %s", c.name(c.Source))
	}
	if c.differs == nil {
		c.room()
		c.links()
	}
}

// room looks whether every node has room for its share, and still keeps what it was said to keep.
func (c *carrying) room() {
	need := make([]core.Size, len(c.Nodes))
	for k, class := range c.Classes {
		before := sums(c.now.Classes[k].Runs)
		for _, s := range class.Spans {
			if s.Node != s.From {
				need[s.Node] += before[s.Start+s.Length] - before[s.Start]
			} else if !slices.Contains(c.now.Classes[k].Holders, c.at[s.Node]) {
				c.differ(core.CodeRefused, "node %s no longer keeps what it kept", c.name(s.Node))
			}
		}
	}
	for i, bytes := range need {
		if bytes == 0 {
			continue
		}
		if free := c.now.Snapshot.Nodes[c.at[i]].Free; free < bytes {
			c.differ(core.CodeRedundant, "node %s has %s free, its share is %s", c.name(i), free, bytes)
		}
	}
}

// links compares those that the plan sends over, and the trunks.
func (c *carrying) links() {
	rates := map[[2]int]core.Rate{}
	for _, l := range c.now.Snapshot.Links {
		rates[[2]int{l.From, l.To}] = l.Rate
	}
	planned := map[[2]int]core.Rate{}
	for _, l := range c.Links {
		planned[[2]int{l.From, l.To}] = l.Rate
	}
	zones := map[[2]string]bool{}
	for _, f := range c.Flows {
		what := fmt.Sprintf("the link from %s to %s carries", c.name(f.From), c.name(f.To))
		rate, there := rates[[2]int{c.at[f.From], c.at[f.To]}]
		if was, ok := planned[[2]int{f.From, f.To}]; !there && len(rates) > 0 {
			c.differ(core.CodeRefused, "there is no link from %s to %s", c.name(f.From), c.name(f.To))
		} else if ok {
			c.slower(what, was, rate)
		}
		zones[[2]string{c.Nodes[f.From].Zone, c.Nodes[f.To].Zone}] = true
	}
	trunks := map[[2]string]core.Rate{}
	for _, t := range c.Trunks {
		trunks[[2]string{t.From, t.To}] = t.Rate
	}
	for _, t := range c.now.Snapshot.Trunks {
		if zones[[2]string{t.From, t.To}] {
			c.slower(fmt.Sprintf("the trunk %s>%s carries", t.From, t.To), trunks[[2]string{t.From, t.To}], t.Rate)
		}
	}
}

// slower notes a rate that lost more than Tolerance. 0 is no limit.
func (c *carrying) slower(what string, was, is core.Rate) {
	switch {
	case is == 0 || was > 0 && float64(is) >= (1-Tolerance)*float64(was):
	case was == 0:
		c.differ(core.CodeRefused, "%s %s, which had no limit", what, is)
	default:
		c.differ(core.CodeRefused, "%s %s, %.0f %% less than the %s it counts on (up to %.0f %% less is taken)", what,
			is,
			100*(1-float64(is)/float64(was)), was, 100*Tolerance)
	}
}

// name is how a sentence calls a node of the plan.
func (c *carrying) name(i int) string {
	if n := c.Nodes[i]; n.Address != "" {
		return n.ID.Short() + " (" + n.Address + ")"
	}
	return c.Nodes[i].ID.Short()
}

// plan is the saved one with the present indexes. Bytes are counted anew: what a file says of them is for people.
func (c *carrying) plan() *plan.Plan {
	p := &plan.Plan{Replicas: c.Replicas, PredictedS: c.PredictedS, FillS: c.FillS, BoundS: c.BoundS, Ratio: c.Ratio,
		Binding: c.Binding,
		Classes: make([][]plan.Span, len(c.Classes))}
	rows, flows := make([]plan.NodeRow, len(c.Nodes)), map[[2]int]core.Size{}
	for k, class := range c.Classes {
		before := sums(c.now.Classes[k].Runs)
		for _, s := range class.Spans {
			bytes := before[s.Start+s.Length] - before[s.Start]
			rows[s.Node].Bytes += bytes
			rows[s.Node].Runs += s.Length
			if s.Node == s.From {
				rows[s.Node].Held += bytes
			} else {
				flows[[2]int{s.From, s.Node}] += bytes
			}
			p.Classes[k] = append(p.Classes[k], plan.Span{Node: c.at[s.Node], From: c.at[s.From], Start: s.Start,
				Length: s.Length, Class: k})
		}
	}
	for k, class := range c.Classes {
		before := sums(c.now.Classes[k].Runs)
		for _, s := range class.Relays {
			flows[[2]int{s.From, s.Node}] += before[s.Start+s.Length] - before[s.Start]
			p.Relays = append(p.Relays, plan.Span{Node: c.at[s.Node], From: c.at[s.From], Start: s.Start, Length: s.Length,
				Class: k})
		}
	}
	for i, row := range rows {
		n := c.Nodes[i]
		switch {
		case row.Runs > 0:
			row.Node, row.Cost, row.Explain, row.First, row.Finish = c.at[i], n.Cost, n.Why, n.First, n.Finish
			p.Nodes = append(p.Nodes, row)
		case i != c.Source && c.at[i] >= 0:
			p.Refused = append(p.Refused, plan.Refusal{Node: c.at[i], Reason: n.Why})
		}
	}
	p.Refused = append(p.Refused, c.joined()...)
	rates := map[[2]int]core.Rate{}
	for _, f := range c.Flows {
		rates[[2]int{f.From, f.To}] = f.Rate
	}
	for pair, bytes := range flows {
		p.Flows = append(p.Flows, plan.Flow{From: c.at[pair[0]], To: c.at[pair[1]], Bytes: bytes, Rate: rates[pair]})
	}
	slices.SortFunc(p.Flows, func(a, b plan.Flow) int {
		return cmp.Or(cmp.Compare(a.From, b.From),
			cmp.Compare(a.To, b.To))
	})
	p.Risk = plan.RiskOf(c.now.Snapshot, p.Classes, p.Replicas, p.Replicas-1, func(int) int { return 1 })
	slices.SortFunc(p.Nodes, func(a, b plan.NodeRow) int { return cmp.Compare(a.Node, b.Node) })
	return p
}

// joined is the nodes that the plan does not know of.
func (c *carrying) joined() (out []plan.Refusal) {
	known := map[int]bool{}
	for _, i := range c.at {
		known[i] = true
	}
	for i := range c.now.Snapshot.Nodes {
		if !known[i] {
			out = append(out, plan.Refusal{Node: i, Reason: "the plan was made without it"})
		}
	}
	return out
}
