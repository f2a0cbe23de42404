// SPDX-License-Identifier: Apache-2.0

package fluid

import (
	"fmt"
	"math"
	"strings"

	"github.com/bkp-tool/bkp/core"
)

// Network is a snapshot in the planner's units: payload bytes per second, +Inf where nothing limits.
type Network struct {
	core.Snapshot
	Up, Down []float64 // the sides of each node
	Out, In  []float64 // what a node can send and receive over its links, at most its sides
	// [from][to], noLink where there is none; nil: every pair is linked, limited by the nodes alone
	links  [][]core.Rate
	trunks map[[2]string]core.Rate
}

const noLink core.Rate = -1

// NewNetwork checks that the snapshot's indexes and rates mean something. A snapshot without any link is a full mesh.
func NewNetwork(s core.Snapshot) (*Network, error) {
	n := len(s.Nodes)
	if s.Source < 0 || s.Source >= n {
		return nil, fmt.Errorf("snapshot: the source is node %d of %d", s.Source, n)
	}
	net := &Network{Snapshot: s, Up: make([]float64, n), Down: make([]float64, n), Out: make([]float64, n),
		In:     make([]float64, n),
		trunks: map[[2]string]core.Rate{}}
	for i, node := range s.Nodes {
		if node.Up < 0 || node.Down < 0 || node.Free < 0 {
			return nil, fmt.Errorf("snapshot: node %s has a negative bandwidth or space", net.NameOf(i))
		}
		net.Up[i], net.Down[i] = Payload(node.Up), Payload(node.Down)
	}
	for _, t := range s.Trunks {
		if t.Rate > 0 {
			net.trunks[[2]string{t.From, t.To}] = t.Rate
		}
	}
	if len(s.Links) == 0 {
		copy(net.Out, net.Up)
		copy(net.In, net.Down)
		return net, nil
	}
	net.links = make([][]core.Rate, n)
	for i := range net.links {
		net.links[i] = make([]core.Rate, n)
		for j := range net.links[i] {
			net.links[i][j] = noLink
		}
	}
	for _, l := range s.Links {
		if l.From < 0 || l.From >= n || l.To < 0 || l.To >= n || l.From == l.To || l.Rate < 0 {
			return nil, fmt.Errorf("snapshot: the link from node %d to node %d of %d at %d makes no sense", l.From,
				l.To, n, l.Rate)
		}
		net.links[l.From][l.To] = l.Rate
	}
	for i := range n {
		for j := range n {
			if r, ok := net.Link(i, j); ok {
				net.Out[i] += r
				net.In[j] += r
			}
		}
	}
	for i := range n {
		net.Out[i], net.In[i] = min(net.Out[i], net.Up[i]), min(net.In[i], net.Down[i])
	}
	return net, nil
}

// link is the payload rate from one node to another, and whether there is a link.
func (n *Network) Link(from, to int) (float64, bool) {
	switch {
	case from == to:
		return 0, false
	case n.links == nil:
		return math.Inf(1), true
	case n.links[from][to] == noLink:
		return 0, false
	}
	return Payload(n.links[from][to]), true
}

// trunk names the trunk that a link crosses, if any.
func (n *Network) Trunk(from, to int) (name [2]string, rate float64, ok bool) {
	name = [2]string{n.Nodes[from].Zone, n.Nodes[to].Zone}
	r, ok := n.trunks[name]
	return name, Payload(r), ok
}

// TrunkBetween is the payload rate of the trunk from one zone to another, if there is one.
func (n *Network) TrunkBetween(from, to string) (float64, bool) {
	r, ok := n.trunks[[2]string{from, to}]
	return Payload(r), ok
}

// Meshed reports whether every pair of nodes is linked, limited by the nodes and trunks alone.
func (n *Network) Meshed() bool { return n.links == nil }

// ZoneOf is the domain that Spread counts copies in. A node without a zone is one of its own.
func (n *Network) ZoneOf(i int) string { return ZoneIn(n.Snapshot, i) }

// ZoneIn is ZoneOf of a snapshot.
func ZoneIn(s core.Snapshot, i int) string {
	if z := s.Nodes[i].Zone; z != "" {
		return z
	}
	return fmt.Sprintf("\x00node %d", i)
}

// NameOf is how a sentence calls a node: by its label "name", its address, or the start of its ID; the source without a
// name is the source.
func (n *Network) NameOf(i int) string {
	node := n.Nodes[i]
	switch {
	case node.Labels["name"] != "":
		return node.Labels["name"]
	case i == n.Source:
		return "source"
	case node.Address != "":
		return node.Address
	}
	return node.ID.Short()
}

// NamesOf joins the names of nodes; of more than five it gives the number.
func (n *Network) NamesOf(nodes []int) string {
	if len(nodes) > 5 {
		return fmt.Sprintf("%d nodes", len(nodes))
	}
	var parts []string
	for _, i := range nodes {
		parts = append(parts, n.NameOf(i))
	}
	return strings.Join(parts, ", ")
}

// Payload turns wire bytes per second into payload, and 0 into no limit.
func Payload(r core.Rate) float64 {
	if r == 0 {
		return math.Inf(1)
	}
	return float64(r) / core.WireOverhead
}

// Within is what a rate carries in some seconds. An unlimited rate carries everything at once, none carries nothing
// ever.
func Within(rate, seconds float64) float64 {
	if rate == 0 || math.IsInf(rate, 1) {
		return rate
	}
	return rate * seconds
}

// ZoneName is how a sentence calls a domain; see network.zone.
func ZoneName(z string) string {
	if strings.HasPrefix(z, "\x00") {
		return "a node without a zone"
	}
	return "zone " + z
}

// Plural is the word for one or many of something.
func Plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// List joins parts with commas; of more than eight it shows the first and says how many follow.
func List(parts []string) string {
	const most = 8
	if len(parts) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(parts[:most], ", "), len(parts)-most)
	}
	return strings.Join(parts, ", ")
}
