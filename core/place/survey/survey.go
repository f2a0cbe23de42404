// SPDX-License-Identifier: Apache-2.0

// Package survey is what nodes and the links between them can give, as they report it. It is pure.
package survey

import (
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/wire"
)

// Survey is the network as a placement sees it: this node first.
type Survey struct {
	core.Snapshot
	Far   bool            // some nodes are reached through others only
	Index map[core.ID]int // of nodes in the snapshot
}

// New knows of this node only.
func New(self core.NodeState) *Survey {
	return &Survey{Snapshot: core.Snapshot{Nodes: []core.NodeState{self}}, Index: map[core.ID]int{self.ID: 0}}
}

// Address is where a node was reached when it was surveyed; empty where it was not.
func (s *Survey) Address(id core.ID) string {
	if at, ok := s.Index[id]; ok {
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
func (s *Survey) Add(id core.ID, end End, r wire.StateReport) {
	to := len(s.Nodes)
	s.Index[id] = to
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
			if to, ok := s.Index[l.ID]; ok && to != 0 {
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

// End is one side of a link.
type End struct {
	Address  string
	Direct   bool      // a session leads there; else others pass on what is said
	Capacity core.Rate // of the link
	Delay    float64   // seconds
	Report   wire.LinkReport
}

// Linked reports whether a link leads to a node from any of others.
func (s *Survey) Linked(from []int, to int) bool {
	return slices.ContainsFunc(s.Links, func(l core.LinkState) bool {
		return l.To == to && slices.Contains(from, l.From)
	})
}

// Strangers is the nodes among ids that the survey does not have.
func (s *Survey) Strangers(ids []core.ID) []core.ID {
	return slices.DeleteFunc(slices.Clone(ids), func(id core.ID) bool { _, known := s.Index[id]; return known })
}
