// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"fmt"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/commands"
	"github.com/bkp-tool/bkp/core/control"
)

// reload reads config.toml anew and has the running node meet the peers that stand there now, and give what is said
// there of its sides and links. What the command line or the environment set stays; where the file does not hold,
// everything does.
func (op *Opener) reload(ctx context.Context, n *commands.Node) {
	if err := n.Again(ctx); err != nil {
		op.console.Say("warning: the settings are as they were: %v", err)
		return
	}
	op.console.Say("read the settings anew")
}

// tryReload is called by one at a time.
func (op *Opener) tryReload(ctx context.Context, n *commands.Node) error {
	fresh, err := op.flags.Again()
	if err != nil {
		return err
	}
	if list, changes := fresh.Changed("peers"); changes {
		peers, err := core.ParsePeers(list)
		if err != nil {
			return err
		}
		for _, p := range peers {
			if p.Scheme == "ws" && !op.flags.Bool("insecure-plaintext") {
				return fmt.Errorf("peer %s: ws:// is not encrypted", p.Address())
			}
		}
		if err := core.RefuseSelf(peers, n.ID(), n.Listen); err != nil {
			return err
		}
		n.Meet(peers)
	}
	for flag, args := range map[string]func(string) control.LimitArgs{
		"uplink":   func(rate string) control.LimitArgs { return control.LimitArgs{Uplink: rate} },
		"downlink": func(rate string) control.LimitArgs { return control.LimitArgs{Downlink: rate} },
	} {
		before, _ := op.flags.Changed(flag)
		if rate, changes := fresh.Changed(flag); changes && rate != before {
			if rate == "" {
				rate = "unlimited"
			}
			if _, err := n.Limit(ctx, args(rate), nil); err != nil {
				return fmt.Errorf("%s: %w", flag, err)
			}
		}
	}
	for peer, rate := range fresh.Settings.Links {
		_, err := n.Limit(ctx, control.LimitArgs{Peer: peer, Link: rate.String()}, nil)
		if err != nil && core.CodeOf(err) != core.CodeNoName { // one that is not connected gets it when it comes
			return fmt.Errorf("link to %s: %w", peer, err)
		}
	}
	op.flags.Settings = fresh.Settings
	if op.reloaded != nil {
		op.reloaded()
	}
	return nil
}
