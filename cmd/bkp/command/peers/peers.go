// SPDX-License-Identifier: Apache-2.0

// Package peers is bkp peers, and how machines become peers: bkp invite and bkp join.
package peers

import (
	"context"
	"io"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/datadir/heard"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/cmd/bkp/session"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/urfave/cli/v2"
)

// Command is bkp peers.
func Command() *cli.Command {
	return command.New(command.Spec{
		Name: "peers", Usage: "list the peers: bandwidth, space, files, delay", Args: "[PEER | add ADDRESS | remove PEER]", Most: 2,
		About: "Bandwidths are declared (the smaller of what both sides give the link, in each direction), " +
			"measured by transfers, and leased now. Out is to the peer, in is from it. A plan counts on what was " +
			"measured where that is less than what was declared. --probe measures on purpose: it sends each peer, " +
			"or PEER alone, at most 64 MiB or for 2 s, within what is free of the link. add and remove change the " +
			"list in config.toml, and a running node follows at once. remove --forget has this data directory " +
			"forget the key of a node, by its ID or address: it is a stranger then, and has to prove itself as at " +
			"first, and its ledger is held against nothing that it was.",
		Examples: `bkp peers
			bkp peers --json --peers wss://a.example:8001-20MiB --token-file token
			bkp peers --probe backup.example:8001
			bkp peers add wss://backup.example:8001-20MiB
			bkp peers remove backup.example:8001
			bkp peers remove --forget backup.example:8001
			bkp peers --dot | dot -Tsvg > network.svg`,
		Flags: command.NodeFlags(
			line.Bool("probe", "measure the links with a short burst"),
			line.Bool("forget", "with remove: forget the key of the peer"),
			line.Bool("dot", "draw the network in the language of Graphviz"),
		),
		Reads: true,
		Do: func(ctx context.Context, c *command.Call) error {
			switch {
			case c.Bool("forget"):
				return forgetPeer(c)
			case c.NArg() == 2 && c.Args().First() == "add":
				return addPeer(ctx, c)
			case c.NArg() == 2 && c.Args().First() == "remove":
				return removePeer(ctx, c)
			case c.NArg() == 2:
				return line.UsageError("want: bkp peers add ADDRESS, or bkp peers remove PEER")
			case c.Bool("probe") && c.Bool("dot"):
				return line.UsageError("--probe and --dot do not go together")
			case c.Bool("dot") && c.JSON:
				return line.UsageError("--dot and --json do not go together: bkp peers --json lists what --dot draws")
			case c.Bool("probe"):
				return probePeers(ctx, c)
			case c.NArg() > 0:
				return line.UsageError("a peer is named with --probe only")
			}
			r, err := session.Ask[control.PeersResult](ctx, c.Opener, control.CommandPeers, control.PeersArgs{WaitS: 3,
				Links: c.Bool("dot")})
			if err != nil {
				return err
			}
			if c.Bool("dot") {
				_, err := io.WriteString(c.Stdout, render.Network(r))
				return err
			}
			return listPeers(c, r)
		},
	})
}

func listPeers(c *command.Call, r control.PeersResult) error {
	sum := peersSummary{Peers: len(r.Peers)}
	for _, p := range r.Peers {
		if p.Connected {
			sum.Connected++
		}
	}
	err := render.List(c.Console, r.Peers, sum, func(t *render.Table) { render.Peers(t, r.Peers) })
	if err == nil && sum.Connected == 0 {
		err = core.WithHint(core.Fail(core.CodeRedundant, "no peer is connected"),
			"is the other node up, and the address right? A node meets peers by: bkp node start --peers LIST")
	}
	return err
}

type forgotten struct {
	Forgotten []core.ID `json:"forgotten"`
}

// forgetPeer takes a node out of those whose keys are known here.
func forgetPeer(c *command.Call) error {
	name := c.Args().Get(1)
	if c.Args().First() != "remove" || !c.Bool("forget") || name == "" {
		return line.UsageError("want: bkp peers remove --forget PEER")
	}
	lock, err := c.Dir.LockNode() // a node that runs has them in memory
	if err != nil {
		return err
	}
	defer lock.Close()
	pins, err := c.Dir.OpenPins(c.Dir)
	if err != nil {
		return err
	}
	var r forgotten
	if r.Forgotten, err = pins.Forget(name); err != nil {
		return err
	}
	if err := heard.ForgetHeads(c.Dir, r.Forgotten); err != nil {
		return err
	}
	if len(r.Forgotten) == 0 {
		return core.WithHint(core.Fail(core.CodeNoName, "no node %s is known here", core.Printable(name)),
			"give its ID or its HOST:PORT, as %s has them", c.Dir.Path("pins.json"))
	}
	return c.Result(r, func(t *render.Table) {
		for _, id := range r.Forgotten {
			t.Line("%s is a stranger here from now on", id)
		}
	})
}

type probeSummary struct {
	Probes   int       `json:"probes"`
	Measured int       `json:"measured"`
	Bytes    core.Size `json:"bytes"`
}

// probePeers measures links, and prints what they carried.
func probePeers(ctx context.Context, c *command.Call) error {
	r, err := session.Ask[control.ProbeResult](ctx, c.Opener, control.CommandProbe,
		control.ProbeArgs{Peer: c.Args().First()})
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
	err = render.List(c.Console, r.Probes, sum, func(t *render.Table) { render.Probes(t, r.Probes) })
	if err == nil && sum.Measured < sum.Probes {
		err = core.Fail(core.CodePartial, "%d of %s could not be measured", sum.Probes-sum.Measured,
			render.Counted(sum.Probes, "link"))
	}
	return err
}

type peersSummary struct {
	Peers     int `json:"peers"`
	Connected int `json:"connected"`
}
