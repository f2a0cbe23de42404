package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/license"
	"github.com/urfave/cli/v2"
)

func licenseCommand() *cli.Command {
	return group("license", "show and verify licences", licenseShow(), licenseVerify())
}

// shownLicense is a licence's payload and who signed it.
type shownLicense struct {
	core.License
	Signer    core.ID `json:"signer"`
	Signature []byte  `json:"signature"`
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
			return c.result(l, func(t *table) { drawLicense(t, l) })
		},
	})
}

func licenseVerify() *cli.Command {
	return command(spec{
		name: "verify", args: "FILE|-", least: 1, most: 1,
		usage: "check a licence's form, signature, delegation and dates",
		about: "Ends with code 12 and the broken rule where something is wrong. With --node it is also checked that the node is " +
			"named among the targets or spares.",
		examples: "bkp license verify license.json\nbkp license verify license.json --node NODEID",
		flags:    []cli.Flag{textFlag("node", "", "check that node `ID` is to keep the runs")},
		do: func(_ context.Context, c *call) error {
			l, err := c.readLicense()
			if err != nil {
				return err
			}
			at := l.Targets[0]
			if c.String("node") != "" {
				if at, err = core.ParseID(c.String("node")); err != nil {
					return usageError("--node: %w", err)
				}
			}
			if err := license.Check(l.License, l.Signer, license.Claim{
				Peer: l.TaskSource.Node, Node: at, Role: license.RoleTarget, Root: l.Root, Now: time.Now(),
				OpenDelegation: key.DelegationFields,
			}); err != nil {
				return fmt.Errorf("licence %s: %w", l.ID, err)
			}
			return c.result(l, func(t *table) { t.line("licence %s is good until %s", l.ID, day(l.Expires)) })
		},
	})
}

func (c *call) readLicense() (shownLicense, error) {
	envelope, err := c.readArgument(int64(license.MaxEnvelope))
	if err != nil {
		return shownLicense{}, err
	}
	l, _, signer, err := license.Open(envelope)
	if err != nil {
		return shownLicense{}, fmt.Errorf("licence %s: %w", c.Args().First(), err)
	}
	return shownLicense{l, signer, signatureOf(envelope)}, nil
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

func drawLicense(t *table, l shownLicense) {
	t.line("licence    %s", l.ID)
	t.line("task       %s, segment %d", l.Task, l.Segment)
	t.line("owner      %s", l.TaskSource.Owner)
	t.line("source     %s", l.TaskSource.Node)
	t.line("signed by  %s", l.Signer)
	for _, who := range []struct {
		role string
		ids  []core.ID
	}{{"targets", l.Targets}, {"spares", l.Spares}, {"carriers", l.Carriers}} {
		if len(who.ids) > 0 {
			t.line("%-9s  %s", who.role, idList(who.ids))
		}
	}
	t.line("allows     %s of at most %s and %s at each target", l.Op, l.MaxBytes, counted(l.MaxRuns, "run"))
	t.line("valid      %s to %s, to be kept until %s", day(l.NotBefore), day(l.Expires), day(l.RetainUntil))
}

func idList(ids []core.ID) string {
	words := make([]string, len(ids))
	for i, id := range ids {
		words[i] = id.String()
	}
	return strings.Join(words, ", ")
}

// day is a date and time of a signed word, in UTC.
func day(unix int64) string { return time.Unix(unix, 0).UTC().Format("2006-01-02 15:04:05Z") }
