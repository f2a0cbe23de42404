// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/urfave/cli/v2"
)

func shareCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "share", Args: "NAME[@VERSION]", Least: 1, Most: 1,
		Usage: "let somebody fetch one version, and nothing else",
		About: "It writes a file; whoever has it fetches that version by bkp fetch --share FILE, without an identity or " +
			"the cluster's token, until it expires or is taken back. Other versions, lists and names stay closed. " +
			"A version that is placed anew on other nodes has to be shared anew.",
		Examples: `bkp share report.pdf -o report.share
			bkp share disk.img@3 --expires 2d -o disk.share
			bkp fetch --share report.share`,
		Flags: append([]cli.Flag{
			line.Text("expires", "7d", "let it be fetched for `SPAN`, as 2h or 30d"),
			line.Text("peers", "", "have the peers of `LIST` asked"),
			line.Text("output", "-", "write `FILE`, or standard output for -", "o"),
			line.Bool("force", "replace FILE"),
		}, command.IdentityFlags()...),
		Reads: true,
		Do:    doShare,
	})
}

type shared struct {
	Name    string  `json:"name"`
	Version int     `json:"version"`
	Node    core.ID `json:"node"` // that is revoked to take it back
	Expires int64   `json:"expires"`
	Share   string  `json:"share,omitempty"` // as share -o - --json gives it
}

func doShare(_ context.Context, c *command.Call) error {
	name, version, err := line.NameVersion(c.Args().First())
	if err != nil {
		return err
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
	v, err := c.Dir.Refs().Find(o, name, version)
	if err != nil {
		return err
	}
	if len(v.Body.Records) == 0 {
		return core.WithHint(core.Fail(core.CodeRefused, "%s is at no peer yet", render.Versioned(name, v.Ref.Version)),
			"bkp place %s", render.Versioned(name, v.Ref.Version))
	}
	listed, err := core.ParsePeers(c.String("peers"))
	if err != nil {
		return err
	}
	if err := c.Dir.RememberPeers(o, listed); err != nil {
		return err
	}
	until := time.Now().Add(span)
	text, node, err := o.Share(v.Ref, v.Body, until, rand.Reader)
	if err != nil {
		return err
	}
	r := shared{Name: name, Version: v.Ref.Version, Node: node, Expires: until.Unix()}
	if c.JSON && c.String("output") == "-" {
		r.Share, c.DataOut = string(text), false
	} else if err := write(text); err != nil {
		return fmt.Errorf("write the share: %w", err)
	}
	return c.Done(r, func(t *render.Table) {
		t.Line("shared %s until %s; take it back: bkp key revoke %s", render.Versioned(name, v.Ref.Version),
			until.Format("2006-01-02 15:04"), node)
	})
}

// fetchShared fetches what a share is of, by a node of its own.
func fetchShared(ctx context.Context, c *command.Call, args control.FetchArgs, s *key.Share) (r control.FetchResult,
	err error) {
	err = c.Visit(ctx, s, func(n control.Caller) error {
		return n.Call(ctx, control.CommandFetch, args, &r, c.Status)
	})
	if err != nil && core.CodeOf(err) == core.CodeRedundant {
		err = core.WithHint(err, "are the peers of the share up? Others are asked with --peers. A share that was taken back, "+
			"or whose version was placed anew, has to be made anew")
	}
	return r, err
}

// shareFile reads --share; nil without.
func shareFile(c *command.Call) (*key.Share, error) {
	path := c.String("share")
	if path == "" {
		return nil, nil
	}
	text, err := c.ReadAtMost(path, 1<<20)
	if err != nil {
		return nil, err
	}
	s, err := key.ParseShare(text)
	if err != nil {
		return nil, core.WithHint(core.Fail(core.CodeUsage, "--share %s: %w", path, err), "bkp share NAME -o FILE makes one")
	}
	if time.Now().After(s.Expires()) {
		return nil, core.WithHint(core.Fail(core.CodeRefused, "the share of %s expired %s",
			render.Versioned(s.Name, s.Version), s.Expires().Format("2006-01-02 15:04")), "ask its owner for a new one")
	}
	return s, nil
}
