package main

import (
	"context"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/emicklei/dot"
	"github.com/urfave/cli/v2"
)

func peersCommand() *cli.Command {
	return command(spec{
		name: "peers", usage: "list the peers: bandwidth, space, files, delay", args: "[PEER]", most: 1,
		about: "Bandwidths are declared (the smaller of what both sides give the link, in each direction), measured by transfers, and leased now. Out is " +
			"to the peer, in is from it. A plan counts on what was measured where that is less than what was declared. --probe measures on purpose: " +
			"it sends each peer, or PEER alone, at most 64 MiB or for 2 s, within what is free of the link.",
		examples: `bkp peers
			bkp peers --json --peers wss://a.example:8001-20MiB --token-file token
			bkp peers --probe backup.example:8001
			bkp peers --dot | dot -Tsvg > network.svg`,
		flags: append(append([]cli.Flag{
			boolFlag("probe", "measure the links with a short burst"),
			boolFlag("dot", "draw the network in the language of Graphviz"),
		}, networkFlags()...), identityFlags()...),
		reads: true,
		do: func(ctx context.Context, c *call) error {
			switch {
			case c.Bool("probe") && c.Bool("dot"):
				return usageError("--probe and --dot do not go together")
			case c.Bool("dot") && c.json:
				return usageError("--dot and --json do not go together: bkp peers --json lists what --dot draws")
			case c.Bool("probe"):
				return probePeers(ctx, c)
			case c.NArg() > 0:
				return usageError("a peer is named with --probe only")
			}
			r, err := ask[control.PeersResult](ctx, c, control.CommandPeers,
				control.PeersArgs{WaitS: 3, Links: c.Bool("dot")})
			if err != nil {
				return err
			}
			if c.Bool("dot") {
				_, err := io.WriteString(c.out, drawNetwork(r))
				return err
			}
			return listPeers(c, r)
		},
	})
}

func listPeers(c *call, r control.PeersResult) error {
	sum := peersSummary{Peers: len(r.Peers)}
	for _, p := range r.Peers {
		if p.Connected {
			sum.Connected++
		}
	}
	return list(c, r.Peers, sum, func(t *table) {
		t.header("id", "address", "labels", "declared", "measured out", "measured in", "leased out", "leased in", "remaining", "files", "delay", "last seen")
		for _, p := range r.Peers {
			if !p.Connected {
				t.row(idOrDash(p), p.Address, p.Labels, p.Declared, p.Measured, "-", "-", "-", "-", "-", "-", orNever(p))
				continue
			}
			t.row(p.ID, p.Address, p.Labels, p.Declared, p.Measured, p.MeasuredIn, p.LeasedOut, p.LeasedIn, p.Remaining, p.Files,
				seconds(p.DelayMS/1000), p.LastSeen)
		}
		for _, p := range r.Peers {
			if p.Problem != "" {
				t.line("%s: %s", p.Address, p.Problem)
			}
			for _, why := range p.Degraded {
				t.line("%s is degraded: %s", p.Address, why)
			}
		}
		t.line("%d of %s connected", sum.Connected, counted(sum.Peers, "peer"))
	})
}

type probeSummary struct {
	Probes   int       `json:"probes"`
	Measured int       `json:"measured"`
	Bytes    core.Size `json:"bytes"`
}

// probePeers measures links, and prints what they carried.
func probePeers(ctx context.Context, c *call) error {
	r, err := ask[control.ProbeResult](ctx, c, control.CommandProbe, control.ProbeArgs{Peer: c.Args().First()})
	if err != nil {
		return err
	}
	sum := probeSummary{Probes: len(r.Probes)}
	for _, p := range r.Probes {
		sum.Bytes += p.Bytes
		if p.Problem == "" {
			sum.Measured++
		}
	}
	err = list(c, r.Probes, sum, func(t *table) {
		t.header("id", "address", "declared", "leased", "sent", "took", "carried")
		for _, p := range r.Probes {
			if p.Problem != "" {
				t.row(p.ID, p.Address, p.Declared, p.Lease, "-", "-", "-")
				continue
			}
			carried := p.Carried.String()
			if p.AtLeast {
				carried = "at least " + carried
			}
			t.row(p.ID, p.Address, p.Declared, p.Lease, p.Bytes, seconds(p.Seconds), carried)
		}
		for _, p := range r.Probes {
			if p.Problem != "" {
				t.line("%s: %s", p.Address, p.Problem)
			}
		}
	})
	if err == nil && sum.Measured < sum.Probes {
		err = core.Fail(core.CodePartial, "%d of %s could not be measured", sum.Probes-sum.Measured, counted(sum.Probes, "link"))
	}
	return err
}

// drawNetwork is the network as this node sees it, for Graphviz. Links of peers that are not connected are dashed.
func drawNetwork(r control.PeersResult) string {
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
		words := cell(declared)
		if measured > 0 {
			words += "\nmeasured " + cell(measured)
		}
		if leased > 0 {
			words += "\nleased " + cell(leased)
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

type peersSummary struct {
	Peers     int `json:"peers"`
	Connected int `json:"connected"`
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

// labelText writes labels as k=v, in order.
func labelText(labels map[string]string) string {
	var words []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		words = append(words, k+"="+labels[k])
	}
	return strings.Join(words, " ")
}
