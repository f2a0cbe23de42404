// SPDX-License-Identifier: Apache-2.0

// Package license is bkp license: licences read and checked, and permits to store.
package license

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/cmd/bkp/session"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/license"
	"github.com/urfave/cli/v2"
)

// Command is bkp license.
func Command() *cli.Command {
	return command.Group("license", "let others store, and show, verify and revoke licences", issueCommand(), importCommand(),
		showCommand(), verifyCommand(), revokeCommand())
}

func showCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "show", Args: "FILE|-", Least: 1, Most: 1,
		Usage:    "print what a licence says, once its signature is checked",
		About:    "FILE is a DSSE envelope, such as bkp ledger log --json or bkp license issue prints.",
		Examples: "bkp license show license.json\nbkp license show - --json < license.json",
		Do: func(_ context.Context, c *command.Call) error {
			l, permit, err := read(c)
			if err != nil {
				return err
			}
			if permit != nil {
				return c.Result(permit.Permit, func(t *render.Table) { render.Permit(t, permit.Permit) })
			}
			return c.Result(l, func(t *render.Table) { render.License(t, l) })
		},
	})
}

func verifyCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "verify", Args: "FILE|-", Least: 1, Most: 1,
		Usage: "check a licence's form, signature, delegation and dates",
		About: "Ends with code 12 and the broken rule where something is wrong. With --node it is also checked " +
			"that the node is named among the targets or spares. A licence that its owner is known here to have " +
			"revoked is none.",
		Examples: "bkp license verify license.json\nbkp license verify license.json --node NODEID",
		Flags:    []cli.Flag{line.Text("node", "", "check that node `ID` is to keep the runs")},
		Do: func(_ context.Context, c *command.Call) error {
			l, permit, err := read(c)
			if err != nil {
				return err
			}
			var at core.ID
			if c.String("node") != "" {
				if at, err = core.ParseID(c.String("node")); err != nil {
					return line.UsageError("--node: %w", err)
				}
			}
			if permit != nil {
				return verifyPermit(c, permit.Permit, at)
			}
			if at.IsZero() {
				at = l.Targets[0]
			}
			if err := license.Check(l.License, l.Signer, license.Claim{
				Peer: l.TaskSource.Node, Node: at, Role: license.RoleTarget, Root: l.Root, Now: time.Now(),
				OpenDelegation: key.DelegationFields,
			}); err != nil {
				return fmt.Errorf("licence %s: %w", l.ID, err)
			}
			if err := revoked(c, l.TaskSource.Owner, l.ID); err != nil {
				return err
			}
			return c.Done(l, func(t *render.Table) {
				t.Line("licence %s is good until %s", l.ID, render.Day(l.Expires))
			})
		},
	})
}

func revokeCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "revoke", Args: "ID…", Least: 1, Most: 64,
		Usage: "have nothing new kept under licences or permits, by their IDs",
		About: "Every node that hears of it refuses what is shown or brought under those licences from then on, whoever signed " +
			"them; what is kept stays, and a placement goes on under licences of its own; under a permit that its issuer revoked nobody " +
			"stores anything new. The peers that are " +
			"reached are told at once, and tell others. bkp ledger log --wide shows the IDs; bkp key revoke takes back " +
			"all that a machine may do.",
		Examples: "bkp license revoke 5d0c3b1f9a7e42688c1d0e5b7f3a9b10\nbkp key show",
		Flags:    command.NodeFlags(),
		Do: func(ctx context.Context, c *command.Call) error {
			if _, err := c.Owner(); err != nil {
				return err
			}
			var args control.RevokeArgs
			for _, text := range c.Args().Slice() {
				var id core.LicenseID
				if err := id.UnmarshalText([]byte(text)); err != nil {
					return line.UsageError("licence %s: %w", text, err)
				}
				args.Licenses = append(args.Licenses, id)
			}
			r, err := session.Ask[control.RevokeResult](ctx, c.Opener, control.CommandRevoke, args)
			if err != nil {
				return err
			}
			return c.Done(r, func(t *render.Table) {
				t.Line("revoked %s; %s told, others hear of it from them", render.Counted(len(args.Licenses), "licence"),
					render.Counted(len(r.Told), "peer"))
			})
		},
	})
}

// read reads a licence, or a permit.
func read(c *command.Call) (l render.SignedLicense, permit *signedPermit, err error) {
	envelope, err := c.ReadAtMost(c.Args().First(), int64(license.MaxEnvelope))
	if err != nil {
		return l, nil, err
	}
	envelope = bytes.TrimSpace(envelope)
	p, err := license.OpenPermit(envelope)
	if r, ok := errors.AsType[*license.Refusal](err); err == nil || ok && r.Rule != license.RuleType {
		if err != nil {
			return l, nil, fmt.Errorf("permit %s: %w", c.Args().First(), err)
		}
		return l, &signedPermit{p, envelope}, nil
	}
	l.License, _, l.Signer, err = license.Open(envelope)
	if err != nil {
		return l, nil, fmt.Errorf("licence %s: %w", c.Args().First(), err)
	}
	l.Signature = signatureOf(envelope)
	return l, nil, nil
}

// signatureOf is the one signature of an envelope that was opened.
func signatureOf(envelope []byte) []byte {
	var e struct {
		Signatures []struct {
			Sig []byte `json:"sig"`
		} `json:"signatures"`
	}
	if json.Unmarshal(envelope, &e) != nil || len(e.Signatures) != 1 {
		return nil
	}
	return e.Signatures[0].Sig
}
