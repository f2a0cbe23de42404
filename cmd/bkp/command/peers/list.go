// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"context"
	"slices"
	"strings"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
)

// peersKept is the peer list of config.toml as it is now.
type peersKept struct {
	Peers  []string `json:"peers"`
	Config string   `json:"config"`
	Node   bool     `json:"node"` // the running node meets them
}

// addPeer puts a peer on the list of config.toml, in the place of an entry for the same address, and has the running
// node meet it.
func addPeer(ctx context.Context, c *command.Call) error {
	p, err := core.ParsePeer(c.Args().Get(1))
	if err != nil {
		return err
	}
	switch {
	case p.Rate == 0 && !c.Settings.Names(p):
		return core.WithHint(line.UsageError("peer %s: its bandwidth is missing", p.Address()),
			"say what this node gives the link: bkp peers add %s-20MiB", p)
	case p.Scheme == "ws" && !c.Bool("insecure-plaintext"):
		return core.WithHint(line.UsageError("peer %s: ws:// is not encrypted", p.Address()),
			"write wss://, or allow it with --insecure-plaintext")
	}
	entry := listed{p, c.Args().Get(1)}
	return changePeers(ctx, c, entry, func(list []listed) ([]listed, error) {
		i := slices.IndexFunc(list, func(o listed) bool { return o.Address() == p.Address() })
		if i < 0 {
			return append(list, entry), nil
		}
		list[i] = entry
		return list, nil
	})
}

// removePeer takes a peer off the list of config.toml, by its address or ID, and has the running node leave it.
func removePeer(ctx context.Context, c *command.Call) error {
	name := c.Args().Get(1)
	named := func(o listed) bool {
		id := o.ID.String()
		return o.Address() == name || !o.ID.IsZero() && (id == name || o.ID.Short() == name)
	}
	if p, err := core.ParsePeer(name); err == nil {
		name = p.Address()
	} else if id, err := core.ParseID(name); err == nil {
		name = id.String()
	}
	return changePeers(ctx, c, listed{}, func(list []listed) ([]listed, error) {
		left := slices.DeleteFunc(slices.Clone(list), named)
		if len(left) == len(list) {
			return nil, core.WithHint(core.Fail(core.CodeNoName, "no peer %s stands in %s", core.Printable(name),
				c.Settings.Path), "give its HOST:PORT, as it stands there")
		}
		return left, nil
	})
}

// listed is a peer as it stands in a list.
type listed struct {
	core.Peer
	text string
}

// changePeers changes the list of config.toml, and tells the running node, also what it gives the link to the peer
// that is new, where one is.
func changePeers(ctx context.Context, c *command.Call, fresh listed, change func([]listed) ([]listed, error)) error {
	var list []listed
	for text := range strings.SplitSeq(c.Settings.Value("peers"), ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		p, err := core.ParsePeer(text)
		if err != nil {
			return err
		}
		list = append(list, listed{p, text})
	}
	list, err := change(list)
	if err != nil {
		return err
	}
	r := peersKept{Peers: []string{}, Config: c.Settings.Path}
	for _, p := range list {
		r.Peers = append(r.Peers, p.text)
	}
	if _, err := core.ParsePeers(strings.Join(r.Peers, ",")); err != nil {
		return err
	}
	if err := c.Dir.Make(); err != nil {
		return err
	}
	err = c.Dir.EditSettings(c.Settings.Path, func(text []byte) ([]byte, error) { return line.WithList(text, "peers", r.Peers) })
	if err != nil {
		return err
	}
	if n, err := c.Running(); err == nil {
		var now control.ReloadResult
		if err := n.Call(ctx, control.CommandReload, control.None{}, &now, c.Status); err != nil {
			return err
		}
		r.Node = slices.EqualFunc(list, now.Peers, func(p listed, met string) bool { return p.String() == met })
		if !r.Node {
			return core.WithHint(core.Fail(core.CodePartial, "the running node was started with another list: %s stands, and is "+
				"not used", c.Settings.Path), "start it without --peers and BKP_PEERS, or change the list there")
		}
		if fresh.Rate > 0 {
			rate := fresh.text[strings.LastIndex(fresh.text, "-")+1:]
			args := control.LimitArgs{Peer: fresh.Address(), Link: rate}
			var limits control.LimitResult
			err := n.Call(ctx, control.CommandLimit, args, &limits, c.Status)
			code := core.CodeOf(err) // one that is not connected yet gets it when it comes
			if err != nil && code != core.CodeRedundant && code != core.CodeNoName {
				return err
			}
		}
	}
	return c.Result(r, func(t *render.Table) {
		for _, p := range r.Peers {
			t.Line("%s", p)
		}
		if r.Node {
			t.Line("the running node meets %s now", render.Counted(len(r.Peers), "peer"))
		} else {
			t.Line("%s to meet, once a node runs", render.Counted(len(r.Peers), "peer"))
		}
	})
}
