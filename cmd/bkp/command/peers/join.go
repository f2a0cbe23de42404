// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/invite"
	"github.com/bkp-tool/bkp/core/link"
	"github.com/bkp-tool/bkp/core/wire"
	"github.com/urfave/cli/v2"
)

// Join is bkp join.
func Join() *cli.Command {
	return command.New(command.Spec{
		Name: "join", Args: "CODE|-", Least: 1, Most: 1,
		Usage: "become a member of a cluster, by the code that bkp invite printed there",
		About: "Before anything is said, the key of the node at the code's address is held against the code; its secret " +
			"is never sent. The cluster's token is kept in the data directory, and the peers and labels in " +
			"config.toml, so that bkp node start meets them. With - the code is read from standard input: what " +
			"stands on a command line other users of this machine can see.",
		Examples: `bkp join 192.168.1.4:8001/mfrggzdf…
			bkp join - --data /srv/bkp`,
		Flags: []cli.Flag{line.Bool("force", "leave another cluster that this machine is a member of")},
		Do:    doJoin,
	})
}

type membership struct {
	Node   core.ID  `json:"node"`  // whose invite it was
	Peers  []string `json:"peers"` // the members that it named, itself first
	Labels []string `json:"labels,omitempty"`
	Config string   `json:"config"` // the file that names them
}

func doJoin(ctx context.Context, c *command.Call) error {
	text := []byte(c.Args().First())
	if string(text) == "-" {
		var err error
		if text, err = c.ReadAtMost("-", 4<<10); err != nil {
			return err
		}
	}
	code, err := invite.ParseCode(string(text))
	if err != nil {
		return err
	}
	if err := c.Dir.Make(); err != nil {
		return err
	}
	lock, err := c.Dir.LockNode() // a node that runs would not hear of it
	if err != nil {
		return err
	}
	defer lock.Close()
	node, got, err := askToJoin(ctx, c, code)
	if err != nil {
		return fmt.Errorf("join: %w", err)
	}
	if err := keepToken(c, got.Token); err != nil {
		return err
	}
	r := membership{Node: node, Peers: cluster(node, code.Address, got), Config: c.Settings.Path}
	for name, value := range got.Labels {
		r.Labels = append(r.Labels, name+"="+value)
	}
	slices.Sort(r.Labels)
	left, err := writeSettings(c, r)
	if err != nil {
		return err
	}
	return c.Result(r, func(t *render.Table) {
		t.Line("joined the cluster of node %s: %s", node.Short(), render.Counted(len(r.Peers), "peer"))
		if got.Quota > 0 {
			t.Line("there you may keep %s", got.Quota)
		}
		for _, l := range left {
			t.Line("%s stays as it is in %s; the cluster says: %s", l.key, c.Settings.Path, l.value)
		}
		t.Line("%s", "now: bkp node start"+ifOther(c))
	})
}

// askToJoin redeems an invite, in the name of this data directory's node.
func askToJoin(ctx context.Context, c *command.Call, code invite.Code) (core.ID, wire.Joined, error) {
	signer, err := c.Dir.NodeKey()
	if err != nil {
		return core.ID{}, wire.Joined{}, err
	}
	var epoch [1]byte
	rand.Read(epoch[:]) // never fails
	hub := link.New(link.Config{Signer: signer, Epoch: core.Epoch(epoch[0]) + 1}, nil)
	defer hub.Close(ctx)
	return hub.Join(ctx, code)
}

// keepToken keeps the cluster's token, in place of that of another cluster only where it is told to.
func keepToken(c *command.Call, token []byte) error {
	before, err := os.ReadFile(c.Dir.Path("token"))
	if err == nil && !bytes.Equal(bytes.TrimSpace(before), token) && !c.Bool("force") {
		return core.WithHint(core.Fail(core.CodeRefused, "this machine is a member of another cluster: %s",
			c.Dir.Path("token")), "take another --data directory, or leave that cluster with --force")
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cluster token: %w", err)
	}
	return c.Dir.KeepToken(token)
}

// invitedLink is what a new machine gives its links, as long as nobody says otherwise; plans go by what is measured.
const invitedLink = "-1Gbit"

// cluster is the peer list of a new member: who invited it, and whom that one named.
func cluster(node core.ID, address string, got wire.Joined) []string {
	peers := []string{"wss://" + node.String() + "@" + address + invitedLink}
	for _, entry := range got.Peers {
		p, err := core.ParsePeer(entry)
		if err == nil && p.Scheme == "wss" && !p.ID.IsZero() && p.Rate == 0 && p.Address() != address {
			peers = append(peers, p.String()+invitedLink)
		}
	}
	return peers
}

// unchanged is a setting that stands in config.toml already, and what it would have become.
type unchanged struct{ key, value string }

// writeSettings writes peers and labels in front of what config.toml says, but for what stands there already.
func writeSettings(c *command.Call, r membership) (left []unchanged, err error) {
	lines := []string{"# by bkp join, " + time.Now().UTC().Format(time.DateOnly)}
	for _, s := range []struct {
		key    string
		values []string
	}{{"peers", r.Peers}, {"label", r.Labels}} {
		var quoted []string
		for _, v := range s.values {
			quoted = append(quoted, line.Quote(v))
		}
		switch {
		case len(s.values) == 0:
		case c.Settings.Has(s.key):
			if was := c.Settings.Value(s.key); was != strings.Join(s.values, ",") {
				left = append(left, unchanged{s.key, strings.Join(s.values, ",")})
			}
		default:
			lines = append(lines, s.key+" = [\n  "+strings.Join(quoted, ",\n  ")+",\n]")
		}
	}
	if len(lines) == 1 {
		return left, nil
	}
	return left, c.Dir.WriteSettings(c.Settings.Path, strings.Join(lines, "\n")+"\n")
}

// ifOther is the flag that names this data directory, where it is not the one that commands use by themselves.
func ifOther(c *command.Call) string {
	if c.Given("data") {
		return " --data " + c.String("data")
	}
	return ""
}
