// SPDX-License-Identifier: Apache-2.0

package license

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/datadir/heard"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/license"
	"github.com/urfave/cli/v2"
)

// signedPermit is a permit, and its envelope.
type signedPermit struct {
	core.Permit
	envelope []byte
}

func issueCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "issue", Args: "OWNERID", Least: 1, Most: 1,
		Usage: "let another owner store at nodes that serve this one",
		About: "It signs a permit: a licence for all that OWNERID stores, up to --space at each node. Nodes that list the owner " +
			"of this identity by --issuer or [issuers] honour it, without anything being changed there; what is stored under " +
			"it counts against this owner's quota too. OWNERID, as bkp key show prints it there, takes the file by " +
			"bkp license import. The licences of the single segments are signed by bkp place itself. Take it back with " +
			"bkp license revoke and the ID that is printed.",
		Examples: `bkp license issue gquvpnq3h5kf5g4g5qbvescsnvvb2bbn33y5gg7eikq3ldop5h2q --space 100GiB -o friend.permit
			bkp license issue gquvpnq3h5kf5g4g5qbvescsnvvb2bbn33y5gg7eikq3ldop5h2q --space 1TiB --expires 90d --keep-at-most 1y
			bkp license import friend.permit`,
		Flags: append([]cli.Flag{
			line.Text("space", "", "let it have `SIZE` at each node"),
			line.List("node", "at the node `ID` alone (repeatable); without, wherever this owner is served"),
			line.Text("expires", "1y", "let new things be stored for `SPAN`, as 90d or 1y"),
			line.Text("keep-at-most", "", "have nothing kept longer than `SPAN` from when it came"),
			line.Text("output", "-", "write `FILE`, or standard output for -", "o"),
			line.Bool("force", "replace FILE"),
		}, command.IdentityFlags()...),
		Do: doIssue,
	})
}

func doIssue(_ context.Context, c *command.Call) error {
	p, err := permitArgs(c)
	if err != nil {
		return err
	}
	write, err := c.SecretOutput(c.String("output"))
	if err != nil {
		return err
	}
	o, err := c.Owner()
	if err == nil {
		err = cmp.Or(o.MayRead(), o.MayWrite()) // what may do one of them alone is no issuer
	}
	if err != nil {
		return err
	}
	if _, err := rand.Read(p.ID[:]); err != nil {
		return err
	}
	envelope, err := license.SignPermit(p, o.Signer())
	if err != nil {
		return line.UsageError("%w", err)
	}
	if p, err = license.OpenPermit(envelope); err != nil {
		return err
	}
	r := issued{Permit: p}
	if c.JSON && c.String("output") == "-" {
		r.Envelope, c.DataOut = string(envelope), false
	} else if err := write(append(envelope, '\n')); err != nil {
		return fmt.Errorf("write the permit: %w", err)
	}
	return c.Done(r, func(t *render.Table) {
		t.Line("%s may store %s until %s; take it back: bkp license revoke %s", p.Owner.Short(), p.MaxBytes,
			render.Day(p.Expires), p.ID)
	})
}

type issued struct {
	core.Permit
	Envelope string `json:"permit,omitempty"` // as issue -o - --json gives it
}

// permitArgs is what the command line says of a permit.
func permitArgs(c *command.Call) (p core.Permit, err error) {
	if p.Owner, err = core.ParseID(c.Args().First()); err != nil {
		return p, line.UsageError("%w", err)
	}
	if !c.Given("space") {
		return p, line.UsageError("say how much it may store: --space 100GiB")
	}
	if p.MaxBytes, err = c.Size("space"); err != nil {
		return p, err
	}
	for _, text := range c.List("node") {
		id, err := core.ParseID(text)
		if err != nil {
			return p, line.UsageError("--node: %w", err)
		}
		p.Nodes = append(p.Nodes, id)
	}
	span, err := c.Span("expires")
	if err != nil {
		return p, err
	}
	now := time.Now()
	p.NotBefore, p.Expires = now.Unix(), now.Add(span).Unix()
	if c.Given("keep-at-most") {
		span, err := c.Span("keep-at-most")
		if err != nil {
			return p, err
		}
		p.KeepAtMost = int64(span / time.Second)
	}
	return p, nil
}

func importCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "import", Args: "FILE|-", Least: 1, Most: 1,
		Usage: "take a permit that another owner issued for this one",
		About: "From then on bkp place shows it to the nodes that it is for, and says whose quota counts. Such a node takes " +
			"this machine in even where it has no token of the cluster.",
		Examples: "bkp license import friend.permit\nbkp license show friend.permit",
		Flags:    command.IdentityFlags(),
		Do: func(_ context.Context, c *command.Call) error {
			_, p, err := read(c)
			switch {
			case err != nil:
				return err
			case p == nil:
				return line.UsageError("%s is a licence of one segment, which its owner's own placement shows", c.Args().First())
			}
			o, err := c.Owner()
			if err != nil {
				return err
			}
			if o.ID() != p.Owner {
				return core.Fail(core.CodeRefused, "permit %s is for the owner %s, and this is %s", p.ID, p.Owner, o.ID())
			}
			if err := verifyStands(c, p.Permit, core.ID{}); err != nil {
				return err
			}
			if err := c.Dir.KeepPermit(p.Permit, p.envelope); err != nil {
				return err
			}
			return c.Done(p.Permit, func(t *render.Table) {
				t.Line("may store %s until %s where %s is served", p.MaxBytes, render.Day(p.Expires), p.Issuer)
			})
		},
	})
}

func verifyPermit(c *command.Call, p core.Permit, at core.ID) error {
	if err := verifyStands(c, p, at); err != nil {
		return err
	}
	return c.Done(p, func(t *render.Table) { t.Line("permit %s is good until %s", p.ID, render.Day(p.Expires)) })
}

// verifyStands is an error where a permit is not for a node, or not of today, or revoked.
func verifyStands(c *command.Call, p core.Permit, at core.ID) error {
	if at.IsZero() && len(p.Nodes) > 0 {
		at = p.Nodes[0]
	}
	if !license.PermitStands(p, at, time.Now()) {
		return core.Fail(core.CodeRefused, "permit %s is for %s, from %s to %s", p.ID, render.PermitNodes(p),
			render.Day(p.NotBefore), render.Day(p.Expires))
	}
	return revoked(c, p.Issuer, p.ID)
}

// revoked is an error where who signed a licence or permit is known here to have revoked it.
func revoked(c *command.Call, by core.ID, id core.LicenseID) error {
	lists, err := heard.OpenRevoked(c.Dir, c.Dir)
	if err == nil && lists.Of(by).NamesLicense(id) {
		err = core.Fail(core.CodeRefused, "licence %s: its owner has revoked it", id)
	}
	return err
}
