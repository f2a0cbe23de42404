// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/license"
	"github.com/urfave/cli/v2"
)

func licenseCommand() *cli.Command {
	return group("license", "show and verify licences", licenseShow(), licenseVerify())
}

func licenseShow() *cli.Command {
	return command(spec{
		name: "show", args: "FILE|-", least: 1, most: 1,
		usage:    "print what a licence says, once its signature is checked",
		about:    "FILE is a DSSE envelope, such as bkp ledger log --json prints.",
		examples: "bkp license show license.json\nbkp license show - --json < license.json",
		do: func(_ context.Context, c *call) error {
			l, err := c.readLicense()
			if err != nil {
				return err
			}
			return c.Result(l, func(t *render.Table) { render.License(t, l) })
		},
	})
}

func licenseVerify() *cli.Command {
	return command(spec{
		name: "verify", args: "FILE|-", least: 1, most: 1,
		usage: "check a licence's form, signature, delegation and dates",
		about: "Ends with code 12 and the broken rule where something is wrong. With --node it is also checked " +
			"that the node is named among the targets or spares.",
		examples: "bkp license verify license.json\nbkp license verify license.json --node NODEID",
		flags:    []cli.Flag{line.Text("node", "", "check that node `ID` is to keep the runs")},
		do: func(_ context.Context, c *call) error {
			l, err := c.readLicense()
			if err != nil {
				return err
			}
			at := l.Targets[0]
			if c.String("node") != "" {
				if at, err = core.ParseID(c.String("node")); err != nil {
					return line.UsageError("--node: %w", err)
				}
			}
			if err := license.Check(l.License, l.Signer, license.Claim{
				Peer: l.TaskSource.Node, Node: at, Role: license.RoleTarget, Root: l.Root, Now: time.Now(),
				OpenDelegation: key.DelegationFields,
			}); err != nil {
				return fmt.Errorf("licence %s: %w", l.ID, err)
			}
			return c.Done(l, func(t *render.Table) {
				t.Line("licence %s is good until %s", l.ID, render.Day(l.Expires))
			})
		},
	})
}

func (c *call) readLicense() (render.SignedLicense, error) {
	envelope, err := c.readArgument(int64(license.MaxEnvelope))
	if err != nil {
		return render.SignedLicense{}, err
	}
	l, _, signer, err := license.Open(envelope)
	if err != nil {
		return render.SignedLicense{}, fmt.Errorf("licence %s: %w", c.Args().First(), err)
	}
	return render.SignedLicense{License: l, Signer: signer, Signature: signatureOf(envelope)}, nil
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
