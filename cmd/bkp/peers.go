package main

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/bkp-tool/bkp/core/node"
	"github.com/urfave/cli/v2"
)

func peersCommand() *cli.Command {
	return command(spec{
		name: "peers", usage: "list the peers: bandwidth, space, files, delay",
		about: "Bandwidths are declared (the smaller of what both sides give the link, in each direction), measured by transfers, and leased now. Out is " +
			"to the peer, in is from it. A plan counts on what was measured where that is less than what was declared.",
		examples: `bkp peers
			bkp peers --json --peers wss://a.example:8001-20MiB --token-file token`,
		flags: append(networkFlags(), identityFlags()...),
		do: func(ctx context.Context, c *call) error {
			r, err := ask[node.PeersResult](ctx, c, node.CommandPeers, node.PeersArgs{WaitS: 3})
			if err != nil {
				return err
			}
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
				}
				t.line("%d of %s connected", sum.Connected, counted(sum.Peers, "peer"))
			})
		},
	})
}

type peersSummary struct {
	Peers     int `json:"peers"`
	Connected int `json:"connected"`
}

func idOrDash(p node.PeerRow) any {
	if p.ID.IsZero() {
		return "-"
	}
	return p.ID
}

func orNever(p node.PeerRow) any {
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
