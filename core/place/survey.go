// SPDX-License-Identifier: Apache-2.0

package place

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/wire"
)

// MaxFar is how many nodes beyond the connected ones a survey asks.
const MaxFar = 64

// Survey is the network as a placement sees it: this node first.
type Survey struct {
	core.Snapshot
	Far   bool            // some nodes are reached through others only
	index map[core.ID]int // of nodes in the snapshot
}

// NewSurvey knows of this node only.
func NewSurvey(self core.NodeState) *Survey {
	return &Survey{Snapshot: core.Snapshot{Nodes: []core.NodeState{self}}, index: map[core.ID]int{self.ID: 0}}
}

// Address is where a node was reached when it was surveyed; empty where it was not.
func (s *Survey) Address(id core.ID) string {
	if at, ok := s.index[id]; ok {
		return s.Nodes[at].Address
	}
	return ""
}

// IDs is the nodes of the snapshot.
func (s *Survey) IDs() (ids []core.ID) {
	for _, node := range s.Nodes {
		ids = append(ids, node.ID)
	}
	return ids
}

// Add takes in a node by its report, and the links between it and this one where they meet.
func (s *Survey) Add(id core.ID, end LinkEnd, r wire.StateReport) {
	to := len(s.Nodes)
	s.index[id] = to
	s.Nodes = append(s.Nodes, core.NodeState{
		ID: id, Address: end.Address, Labels: r.Labels, Zone: r.Labels["zone"], Free: r.Remaining, Total: r.Capacity,
		Up: r.Up, Down: r.Down, UpAhead: r.UpAhead, DownAhead: r.DownAhead, Delay: end.Delay, Load: r.Load,
	})
	if !end.Direct {
		return // no link of this node's leads there
	}
	there := r.LinkTo(s.Nodes[0].ID)
	s.Links = append(s.Links, linkState(0, to, end.Capacity, end.Report, there),
		linkState(to, 0, end.Capacity, there, end.Report))
}

// Between takes in the links between nodes that reported.
func (s *Survey) Between(reports map[core.ID]wire.StateReport) {
	for from, node := range s.Nodes[1:] {
		for _, l := range reports[node.ID].Links {
			if to, ok := s.index[l.ID]; ok && to != 0 {
				s.Links = append(s.Links, linkState(from+1, to, l.Capacity, l, reports[l.ID].LinkTo(node.ID)))
			}
		}
	}
}

// linkState is a link of a snapshot, whose ends reported it; measured by who sends over it.
func linkState(from, to int, capacity core.Rate, sender, receiver wire.LinkReport) core.LinkState {
	l := core.LinkState{From: from, To: to}
	l.Rate, l.Ahead = core.Credible(capacity, linkAhead(sender, receiver), sender.Measured)
	return l
}

// linkAhead is what a link will carry by what its two ends reported; nil where neither has a calendar.
func linkAhead(a, b wire.LinkReport) core.Forecast {
	switch {
	case a.Ahead == nil && b.Ahead == nil:
		return nil
	case a.Ahead == nil:
		return b.Ahead.Narrower(core.Steady(b.Theirs))
	case b.Ahead == nil:
		return a.Ahead.Narrower(core.Steady(a.Theirs))
	}
	return a.Ahead.Narrower(b.Ahead)
}

// Look asks every connected peer for its state. Where these are fewer than the copies that are wanted it asks their
// peers too, and so on: copies reach those through the ones between.
func (c *Coordinator) Look(ctx context.Context, replicas int, tell func(Status)) (*Survey, error) {
	owner, err := c.Owner("survey")
	if err != nil {
		return nil, err
	}
	s := NewSurvey(c.Network.Self())
	peers := c.Peers.Connected()
	if len(peers) == 0 {
		return nil, core.WithHint(core.Fail(core.CodeRedundant, "no peer is connected%s", because(c.Peers.Unreached())),
			"bkp peers shows which are known and what is wrong with them")
	}
	reports := map[core.ID]wire.StateReport{}
	asked := map[core.ID]bool{c.Node: true}
	for len(peers) > 0 && ctx.Err() == nil && c.Life.Err() == nil {
		for _, id := range peers {
			asked[id] = true
		}
		c.hear(ctx, s, owner.ID(), peers, reports, tell)
		if len(reports) >= min(replicas, MaxFar) {
			break
		}
		peers = c.Network.Beyond(reports, asked)
		s.Far = s.Far || len(peers) > 0
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	s.Between(reports)
	s.Trunks = c.Trunks
	return s, nil
}

// because adds what is wrong to an error.
func because(problems []string) string {
	if len(problems) == 0 {
		return ""
	}
	return " (" + strings.Join(problems, "; ") + ")"
}

// hear asks nodes for their state and adds those that answer.
func (c *Coordinator) hear(ctx context.Context, s *Survey, owner core.ID, peers []core.ID,
	reports map[core.ID]wire.StateReport, tell func(Status)) {
	answers := make([]wire.StateReport, len(peers))
	failed := make([]error, len(peers))
	each(len(peers), func(i int) {
		answers[i], failed[i] = c.ask(ctx, peers[i], owner)
	})
	ends := c.Network.Ends(peers)
	for i, id := range peers {
		end, there := ends[id]
		if failed[i] != nil || !there {
			continue
		}
		reports[id] = answers[i]
		for _, why := range answers[i].Degraded {
			tell(Status{Phase: "ask", Warning: true,
				Text: fmt.Sprintf("peer %s (%s) is degraded: %s", id.Short(), end.Address, why)})
		}
		s.Add(id, end, answers[i])
	}
}

// ask asks a node for its state.
func (c *Coordinator) ask(ctx context.Context, peer, owner core.ID) (wire.StateReport, error) {
	return wire.Ask[wire.StateReport](ctx, c.Peers, peer, func(id uint64) wire.Message {
		return wire.StateQuery{Query: id, Owner: owner}
	})
}

// each runs f for 0 to count-1 at once and waits.
func each(count int, f func(i int)) {
	var all sync.WaitGroup
	for i := range count {
		all.Go(func() { f(i) })
	}
	all.Wait()
}

// strangers is the nodes among ids that the survey does not have.
func (s *Survey) strangers(ids []core.ID) []core.ID {
	return slices.DeleteFunc(slices.Clone(ids), func(id core.ID) bool { _, known := s.index[id]; return known })
}
