// SPDX-License-Identifier: Apache-2.0

package render

import (
	"strings"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/emicklei/dot"
)

// Network is the network as this node sees it, for Graphviz. Links of peers that are not connected are dashed.
func Network(r control.PeersResult) string {
	g := dot.NewGraph(dot.Directed)
	g.Attr("rankdir", "LR")
	nodes := map[core.ID]dot.Node{}
	draw := func(id core.ID, address, words string) dot.Node {
		n, known := nodes[id]
		if !known || id.IsZero() {
			name := id.String()
			if id.IsZero() {
				name = address
			}
			n = g.Node(name).Box().Attr("label", strings.Trim(address+"\n"+words, "\n"))
			nodes[id] = n
		}
		return n
	}
	edge := func(from, to dot.Node, declared, measured, leased core.Rate) dot.Edge {
		words := Cell(declared)
		if measured > 0 {
			words += "\nmeasured " + Cell(measured)
		}
		if leased > 0 {
			words += "\nleased " + Cell(leased)
		}
		return g.Edge(from, to, words)
	}
	self := draw(r.Node, "this node", r.Node.Short()).Attr("style", "bold")
	for _, p := range r.Peers {
		if !p.Connected {
			edge(self, draw(p.ID, p.Address, ""), p.Declared, p.Measured, 0).Attr("style", "dashed")
			continue
		}
		n := draw(p.ID, p.Address, strings.TrimSpace(p.ID.Short()+" "+labelText(p.Labels)))
		edge(self, n, p.Declared, p.Measured, p.LeasedOut)
		edge(n, self, p.Declared, p.MeasuredIn, p.LeasedIn)
	}
	for _, l := range r.Links {
		edge(draw(l.From, "", l.From.Short()), draw(l.To, l.Address, l.To.Short()), l.Declared, l.Measured, l.Leased)
	}
	return g.String()
}

func idOrDash(p control.PeerRow) any {
	if p.ID.IsZero() {
		return "-"
	}
	return p.ID
}

func orNever(p control.PeerRow) any {
	if p.LastSeen.IsZero() {
		return "never"
	}
	return p.LastSeen
}

// Peers shows what is known of each peer, and what is wrong with it.
func Peers(t *Table, peers []control.PeerRow) {
	t.Header("id", "address", "labels", "declared", "measured out", "measured in", "leased out", "leased in",
		"remaining", "runs", "delay", "last seen")
	t.Spare("leased in", "leased out", "measured in", "labels", "last seen", "runs", "delay", "measured out")
	connected := 0
	for _, p := range peers {
		if !p.Connected {
			t.Row(idOrDash(p), p.Address, p.Labels, p.Declared, p.Measured, "-", "-", "-", "-", "-", "-", orNever(p))
			continue
		}
		connected++
		t.Row(p.ID, p.Address, p.Labels, p.Declared, p.Measured, p.MeasuredIn, p.LeasedOut, p.LeasedIn, p.Remaining,
			p.Files, Seconds(p.DelayMS/1000), p.LastSeen)
	}
	for _, p := range peers {
		if p.Problem != "" {
			t.Line("%s: %s", p.Address, p.Problem)
		}
		for _, why := range p.Degraded {
			t.Line("%s is degraded: %s", p.Address, why)
		}
	}
	t.Line("%d of %s connected", connected, Counted(len(peers), "peer"))
}

// Probes shows what links carried that were measured on purpose.
func Probes(t *Table, probes []control.ProbeRow) {
	t.Header("id", "address", "declared", "leased", "sent", "took", "carried")
	t.Spare("leased", "took", "sent")
	for _, p := range probes {
		if p.Problem != "" {
			t.Row(p.ID, p.Address, p.Declared, p.Lease, "-", "-", "-")
			continue
		}
		carried := p.Carried.String()
		if p.AtLeast {
			carried = "at least " + carried
		}
		t.Row(p.ID, p.Address, p.Declared, p.Lease, p.Bytes, Seconds(p.Seconds), carried)
	}
	for _, p := range probes {
		if p.Problem != "" {
			t.Line("%s: %s", p.Address, p.Problem)
		}
	}
}
