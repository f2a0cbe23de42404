// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/cmd/bkp/session"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/urfave/cli/v2"
)

func keyCommand() *cli.Command {
	return group("key", "show, export and import the identity, and take back what others may do with it", keyShow(),
		keyExport(), keyImport(), keyRevoke())
}

type keyInfo struct {
	Owner     core.ID  `json:"owner"`
	Node      core.ID  `json:"node"`
	Recipient string   `json:"recipient"` // age public key of the refs
	Exported  bool     `json:"exported"`
	Peers     []string `json:"peers,omitempty"` // where a new machine may ask

	Revoked []core.ID `json:"revoked,omitempty"` // nodes that may do nothing for the owner any more
}

func keyShow() *cli.Command {
	return command(spec{
		name: "show", usage: "print the IDs of the owner and of this node; the identity is made at first use",
		examples: "bkp key show\nbkp key show --json",
		flags:    identityFlags(),
		do: func(_ context.Context, c *call) error {
			o, err := c.Owner()
			if err != nil {
				return err
			}
			signer, err := c.dir.NodeKey()
			if err != nil {
				return err
			}
			lists, err := c.dir.OpenRevoked(c.dir)
			if err != nil {
				return err
			}
			info := keyInfo{o.ID(), signer.ID(), o.Recipient(), c.dir.IsExported(), o.Peers, lists.Of(o.ID()).Nodes}
			return c.Result(info, func(t *render.Table) {
				t.Line("owner  %s", info.Owner.Grouped())
				t.Line("node   %s", info.Node.Grouped())
				for _, id := range info.Revoked {
					t.Line("revoked node %s", id)
				}
				if !info.Exported {
					t.Line("The identity was not exported yet. Without it nothing can be fetched: bkp key export " +
						"-o FILE")
				}
			})
		},
	})
}

func keyExport() *cli.Command {
	return command(spec{
		name: "export", usage: "write the identity to a file; keep it in a safe place",
		about: "The identity opens every backup. It is written as it is kept, or under a passphrase where one is " +
			"given; the peers that this machine has met go with it, so that a new machine knows whom to ask. A " +
			"file made by -o can be read by its owner only.",
		examples: "bkp key export -o identity.bkp\nbkp key export -o identity.bkp --passphrase-file pass.txt\nbkp " +
			"key export | ssh safe 'cat > identity.bkp'",
		flags: append(identityFlags(), line.Text("peers", "", "let a new machine ask the peers of `LIST`"),
			line.Text("output", "-", "write `FILE`, or standard output for -", "o"), line.Bool("force",
				"replace FILE")),
		do: func(_ context.Context, c *call) error {
			write, err := c.exportTo(c.String("output"))
			if err != nil {
				return err
			}
			o, err := c.Owner()
			if err != nil {
				return err
			}
			listed, err := core.ParsePeers(c.String("peers"))
			if err != nil {
				return err
			}
			if err := c.dir.RememberPeers(o, listed); err != nil {
				return err
			}
			text, err := o.Marshal(c.Phrase)
			if err != nil {
				return err
			}
			moved := keyMoved{Owner: o.ID()}
			if c.JSON && c.String("output") == "-" {
				moved.Identity, c.DataOut = string(text), false // one line, that of the summary
			} else if err := write(text); err != nil {
				return fmt.Errorf("write the identity: %w", err)
			}
			if !c.dir.IsForeign() {
				if err := c.dir.MarkExported(); err != nil { // it is exported all the same
					c.Status(control.Status{Warning: true, Text: err.Error()})
				}
			}
			return c.Done(moved, func(t *render.Table) { t.Line("exported the identity %s", o.ID()) })
		},
	})
}

func keyRevoke() *cli.Command {
	return command(spec{
		name: "revoke", args: "NODE…", least: 1, most: 64,
		usage: "take back whatever nodes may do in the owner's name, as of a machine that was stolen",
		about: "Every node that hears of it refuses what those nodes write, read or release from then on, whatever " +
			"delegations they show; what is kept stays. The peers that are reached are told at once, and tell others. A " +
			"machine that has the identity itself can only be locked out with it: keep what counts under --lock.",
		examples: "bkp key revoke k4qh5d2mzrdx7gldx2mfwqvtfnhqirzqxyz2ox5ltrhd3xs4m2ya\nbkp key show",
		flags:    append(networkFlags(), identityFlags()...),
		do: func(ctx context.Context, c *call) error {
			if _, err := c.Owner(); err != nil {
				return err
			}
			var args control.RevokeArgs
			for _, text := range c.Args().Slice() {
				id, err := core.ParseID(text)
				if err != nil {
					return line.UsageError("%w", err)
				}
				args.Nodes = append(args.Nodes, id)
			}
			r, err := session.Ask[control.RevokeResult](ctx, c.Opener, control.CommandRevoke, args)
			if err != nil {
				return err
			}
			return c.Done(r, func(t *render.Table) {
				t.Line("revoked %s; %s told, others hear of it from them", render.Counted(len(args.Nodes), "node"),
					render.Counted(len(r.Told), "peer"))
			})
		},
	})
}

type keyMoved struct {
	Owner    core.ID `json:"owner"`
	Identity string  `json:"identity,omitempty"` // as export -o - --json gives it
}

func keyImport() *cli.Command {
	return command(spec{
		name: "import", args: "FILE|-", least: 1, most: 1,
		usage:    "take over an exported identity",
		about:    "An identity that is here already is only replaced with --force; it is kept beside the new one.",
		examples: "bkp key import identity.bkp --data /srv/bkp",
		flags:    append(identityFlags(), line.Bool("force", "replace another identity")),
		do: func(_ context.Context, c *call) error {
			text, err := c.readArgument(1 << 20)
			if err != nil {
				return err
			}
			phrase, err := c.Passphrase()
			if err != nil {
				return err
			}
			o, err := c.OpenIdentity(text, phrase, "identity "+c.Args().First())
			if err != nil {
				return err
			}
			aside, err := c.makeWayFor(o.ID())
			if err != nil {
				return err
			}
			if err := c.dir.ReplaceIdentity(text, aside); err != nil {
				return err
			}
			if err := c.dir.MarkExported(); err != nil {
				return err
			}
			return c.Done(keyMoved{Owner: o.ID()}, func(t *render.Table) { t.Line("imported the identity %s", o.ID()) })
		},
	})
}

// makeWayFor says as what another identity that is here is to be kept beside the one to come, which takes --force;
// empty where there is none.
func (c *call) makeWayFor(id core.ID) (aside string, err error) {
	if err := c.dir.Make(); err != nil {
		return "", err
	}
	path := c.dir.Path("identity")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the identity that is here: %w", err)
	}
	phrase, err := c.Passphrase()
	if err != nil {
		return "", err
	}
	old, err := c.OpenIdentity(text, phrase, path)
	switch {
	case err == nil && old.ID() == id:
		return "", nil
	case !c.Bool("force"):
		return "", core.WithHint(core.Fail(core.CodeRefused, "another identity is here already: %s", path),
			"take another --data directory, or replace it with --force")
	case err == nil:
		return old.ID().Short(), nil
	}
	return "old", nil
}

// readArgument reads the file named by the first argument, or standard input for "-", up to limit bytes.
func (c *call) readArgument(limit int64) ([]byte, error) {
	return c.readFile(c.Args().First(), limit)
}

// readFile reads a file, or standard input for "-", up to limit bytes.
func (c *call) readFile(name string, limit int64) ([]byte, error) {
	in := c.Stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, line.UsageError("%w", err)
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(text)) > limit {
		return nil, line.UsageError("%s: more than %d bytes", name, limit)
	}
	return text, nil
}
