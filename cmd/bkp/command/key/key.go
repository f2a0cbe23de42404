// SPDX-License-Identifier: Apache-2.0

// Package key is bkp key: the identity, and what others may do in its name.
package key

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/datadir/heard"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/cmd/bkp/session"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/urfave/cli/v2"
)

// Command is bkp key.
func Command() *cli.Command {
	return command.Group("key", "show, export and import the identity, and take back what others may do with it",
		showCommand(), exportCommand(), importCommand(), delegateCommand(), revokeCommand(), rotateCommand(), recipientCommand())
}

type keyInfo struct {
	Owner     core.ID  `json:"owner"`
	WriteOnly bool     `json:"write_only,omitempty"`
	ReadOnly  bool     `json:"read_only,omitempty"`
	Node      core.ID  `json:"node"`
	Recipient string   `json:"recipient"` // age public key of the refs
	Exported  bool     `json:"exported"`
	Peers     []string `json:"peers,omitempty"` // where a new machine may ask

	Recipients []string `json:"recipients,omitempty"` // who opens what is sealed from now on as well

	Revoked  []core.ID        `json:"revoked,omitempty"`          // nodes that may do nothing for the owner any more
	Licenses []core.LicenseID `json:"revoked_licenses,omitempty"` // under which nothing new is kept
}

func showCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "show", Usage: "print the IDs of the owner and of this node; the identity is made at first use",
		Examples: "bkp key show\nbkp key show --json",
		Flags:    command.IdentityFlags(),
		Do: func(_ context.Context, c *command.Call) error {
			o, err := c.Owner()
			if err != nil {
				return err
			}
			signer, err := c.Dir.NodeKey()
			if err != nil {
				return err
			}
			lists, err := heard.OpenRevoked(c.Dir, c.Dir)
			if err != nil {
				return err
			}
			revoked := lists.Of(o.ID()).Revoked
			others, err := c.Dir.Recipients()
			if err != nil {
				return err
			}
			info := keyInfo{o.ID(), o.MayRead() != nil, o.MayWrite() != nil, signer.ID(), o.Recipient(), c.Dir.IsExported(),
				o.Peers, others, revoked.Nodes, revoked.Licenses}
			return c.Result(info, func(t *render.Table) {
				t.Line("owner  %s", info.Owner.Grouped())
				t.Line("node   %s", info.Node.Grouped())
				if info.WriteOnly {
					t.Line("The identity may only write: what this machine has placed it can neither read nor remove.")
				}
				if info.ReadOnly {
					t.Line("The identity may only read: this machine can neither back up nor remove.")
				}
				for _, r := range info.Recipients {
					t.Line("recipient %s", r)
				}
				for _, id := range info.Revoked {
					t.Line("revoked node %s", id)
				}
				for _, id := range info.Licenses {
					t.Line("revoked licence %s", id)
				}
				if !info.Exported {
					t.Line("The identity was not exported yet. Without it nothing can be fetched: bkp key export " +
						"-o FILE")
				}
			})
		},
	})
}

func exportCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "export", Usage: "write the identity to a file; keep it in a safe place",
		About: "The identity opens every backup. It is written as it is kept, or under a passphrase where one is " +
			"given; the peers that this machine has met go with it, so that a new machine knows whom to ask. A " +
			"file made by -o can be read by its owner only. With --write-only it is an identity for one more " +
			"machine that is to back up and no more: what it has placed it can neither read nor remove. With " +
			"--read-only it is one that lists and fetches and no more, as for a safe elsewhere: it reads what is " +
			"placed from now on. The node that is named can be revoked; neither file is a copy of the identity.",
		Examples: "bkp key export -o identity.bkp\nbkp key export -o identity.bkp --passphrase-file pass.txt\nbkp " +
			"key export | ssh safe 'cat > identity.bkp'\nbkp key export --write-only --expires 1y -o laptop.bkp\nbkp key export --read-only -o recovery.bkp",
		Flags: append(command.IdentityFlags(), line.Text("peers", "", "let a new machine ask the peers of `LIST`"),
			line.Text("output", "-", "write `FILE`, or standard output for -", "o"), line.Bool("force",
				"replace FILE"),
			line.Bool("write-only", "make an identity that backs up, and can neither read backups nor remove them"),
			line.Bool("read-only", "make an identity that lists and fetches, and can neither back up nor remove"),
			line.Text("expires", "10y", "with --write-only or --read-only: let it do so for `SPAN`, as 90d or 1y")),
		Do: doExport,
	})
}

func doExport(_ context.Context, c *command.Call) error {
	if c.Given("expires") && !c.Bool("write-only") && !c.Bool("read-only") {
		return line.UsageError("--expires is for --write-only and --read-only: an identity does not expire")
	}
	if c.Bool("write-only") && c.Bool("read-only") {
		return line.UsageError("--write-only and --read-only exclude one another")
	}
	span, err := c.Span("expires")
	if err != nil {
		return err
	}
	write, err := c.SecretOutput(c.String("output"))
	if err != nil {
		return err
	}
	o, err := c.Owner()
	if err == nil {
		err = cmp.Or(o.MayRead(), o.MayWrite())
	}
	if err != nil {
		return err
	}
	listed, err := core.ParsePeers(c.String("peers"))
	if err != nil {
		return err
	}
	if err := c.Dir.RememberPeers(o, listed); err != nil {
		return err
	}
	moved, what := keyMoved{Owner: o.ID()}, "the identity "+o.ID().String()
	if c.Bool("write-only") {
		if o, err = o.Writer(time.Now().Add(span), rand.Reader); err != nil {
			return err
		}
		moved.Node = o.Node().ID()
		what = fmt.Sprintf("an identity that may only write; take it back: bkp key revoke %s", moved.Node)
	}
	if c.Bool("read-only") {
		if o, err = o.ReaderFor(time.Now().Add(span), rand.Reader); err != nil {
			return err
		}
		if err := addRecipient(c, o.Recipient()); err != nil {
			return err
		}
		moved.Node, moved.Recipient = o.Node().ID(), o.Recipient()
		what = fmt.Sprintf("an identity that may only read what is placed from now on; take it back: bkp key recipient "+
			"remove %s, and bkp key revoke %s", moved.Recipient, moved.Node)
	}
	text, err := o.Marshal(c.Phrase)
	if err != nil {
		return err
	}
	if c.JSON && c.String("output") == "-" {
		moved.Identity, c.DataOut = string(text), false // one line, that of the summary
	} else if err := write(text); err != nil {
		return fmt.Errorf("write the identity: %w", err)
	}
	if !c.Dir.IsForeign() && moved.Node.IsZero() {
		if err := c.Dir.MarkExported(); err != nil { // it is exported all the same
			c.Status(control.Status{Warning: true, Text: err.Error()})
		}
	}
	return c.Done(moved, func(t *render.Table) { t.Line("exported %s", what) })
}

func revokeCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "revoke", Args: "NODE…", Least: 1, Most: 64,
		Usage: "take back whatever nodes may do in the owner's name, as of a machine that was stolen",
		About: "Every node that hears of it refuses what those nodes write, read or release from then on, whatever " +
			"delegations they show; what is kept stays. The peers that are reached are told at once, and tell " +
			"others. A machine that has the identity itself can only be locked out with it: keep what counts " +
			"under --lock.",
		Examples: "bkp key revoke k4qh5d2mzrdx7gldx2mfwqvtfnhqirzqxyz2ox5ltrhd3xs4m2ya\nbkp key show",
		Flags:    command.NodeFlags(),
		Do: func(ctx context.Context, c *command.Call) error {
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
	Node     core.ID `json:"node,omitzero"`      // whose identity may only write, or only read
	Identity string  `json:"identity,omitempty"` // as export -o - --json gives it

	Recipient string `json:"recipient,omitempty"` // of one that may only read
}

func importCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "import", Args: "FILE|-", Least: 1, Most: 1,
		Usage:    "take over an exported identity",
		About:    "An identity that is here already is only replaced with --force; it is kept beside the new one.",
		Examples: "bkp key import identity.bkp --data /srv/bkp",
		Flags:    append(command.IdentityFlags(), line.Bool("force", "replace another identity")),
		Do: func(_ context.Context, c *command.Call) error {
			text, err := c.ReadAtMost(c.Args().First(), 1<<20)
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
			aside, err := makeWayFor(c, o)
			if err != nil {
				return err
			}
			if err := takeNode(c, o); err != nil {
				return err
			}
			if aside != "" && c.Dir.Has("recipients") { // they are the other's
				if err := c.Dir.PutRecipients(nil); err != nil {
					return err
				}
			}
			if err := c.Dir.ReplaceIdentity(text, aside); err != nil {
				return err
			}
			if err := c.Dir.MarkExported(); err != nil {
				return err
			}
			return c.Done(keyMoved{Owner: o.ID()}, func(t *render.Table) {
				t.Line("imported the identity %s", o.ID())
				if len(o.Peers) > 0 && o.Node() == nil {
					t.Line("bkp ls --remote lists what the peers keep; bkp place NAME has this machine see to it from now on, where " +
						"the other is gone")
				}
			})
		},
	})
}

// takeNode gives the data directory the node's key that an identity came with which may only write, or only read.
func takeNode(c *command.Call, o *key.Owner) error {
	if o.Node() == nil {
		return nil
	}
	err := c.Dir.PutNodeKey(o.Node())
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	here, err := c.Dir.NodeKey()
	if err == nil && here.ID() != o.Node().ID() {
		err = core.WithHint(core.Fail(core.CodeRefused, "the node of %s has another key, and this identity is for one node",
			string(c.Dir)), "take another --data directory, and import it there first")
	}
	return err
}

// makeWayFor says as what another identity that is here is to be kept beside the one to come, which takes --force;
// empty where there is none.
func makeWayFor(c *command.Call, o *key.Owner) (aside string, err error) {
	if err := c.Dir.Make(); err != nil {
		return "", err
	}
	path := c.Dir.Path("identity")
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
	case err == nil && old.ID() == o.ID() && (o.Node() == nil || old.Node() != nil &&
		(old.MayRead() == nil) == (o.MayRead() == nil)): // it can do as much
		return "", nil
	case !c.Bool("force"):
		return "", core.WithHint(core.Fail(core.CodeRefused, "another identity is here already: %s", path),
			"take another --data directory, or replace it with --force")
	case err == nil:
		return old.ID().Short(), nil
	}
	return "old", nil
}
