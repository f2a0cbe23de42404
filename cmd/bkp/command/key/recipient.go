// SPDX-License-Identifier: Apache-2.0

package key

import (
	"context"
	"slices"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/urfave/cli/v2"
)

func recipientCommand() *cli.Command {
	return command.Group("recipient", "say who besides the owner can open what is placed from now on",
		recipientAddCommand(), recipientListCommand(), recipientRemoveCommand())
}

type recipients struct {
	Recipients []string `json:"recipients"`
}

func recipientAddCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "add", Args: "AGE1…", Least: 1, Most: key.MaxRecipients,
		Usage: "let a public key of age open what is placed from now on",
		About: "bkp key export --read-only does it by itself, on the machine where it is given; every other machine of the owner " +
			"that backs up, also one that may only write, has to be told of the key. A key alone finds nothing: peers ask " +
			"for the right to read as well, which that file has. A placement that goes on, or is made anew, is sealed anew; " +
			"what peers keep already stays as it is.",
		Examples: "bkp key recipient add age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p\nbkp key show",
		Flags:    command.IdentityFlags(),
		Do: func(_ context.Context, c *command.Call) error {
			if _, err := c.Owner(); err != nil {
				return err
			}
			for _, text := range c.Args().Slice() {
				r, err := key.ParseRecipient(text)
				if err != nil {
					return line.UsageError("%w", err)
				}
				if err := addRecipient(c, r); err != nil {
					return err
				}
			}
			return saysWho(c)
		},
	})
}

// addRecipient adds one that may be there already.
func addRecipient(c *command.Call, r string) error {
	list, err := c.Dir.Recipients()
	if err != nil || slices.Contains(list, r) {
		return err
	}
	return c.Dir.PutRecipients(append(list, r))
}

func recipientListCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "list", Usage: "list who besides the owner can open what is placed from now on",
		Examples: "bkp key recipient list\nbkp key recipient list --json",
		Do:       func(_ context.Context, c *command.Call) error { return saysWho(c) },
	})
}

func recipientRemoveCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "remove", Args: "AGE1…", Least: 1, Most: key.MaxRecipients,
		Usage: "have nothing more sealed to a public key of age",
		About: "What was sealed to it before it can still open, wherever it finds it: bkp key revoke NODE has peers give it " +
			"nothing more.",
		Examples: "bkp key recipient remove age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p",
		Do: func(_ context.Context, c *command.Call) error {
			list, err := c.Dir.Recipients()
			if err != nil {
				return err
			}
			for _, r := range c.Args().Slice() {
				at := slices.Index(list, r)
				if at < 0 {
					return core.WithHint(core.Fail(core.CodeNoName, "%s is no recipient here", core.Printable(r)),
						"bkp key recipient list")
				}
				list = slices.Delete(list, at, at+1)
			}
			if err := c.Dir.PutRecipients(list); err != nil {
				return err
			}
			return c.Done(recipients{list}, func(t *render.Table) {
				t.Line("from now on nothing is sealed to %s; what was it can still open: bkp key revoke NODE has peers give it "+
					"nothing more", render.Counted(c.NArg(), "recipient"))
			})
		},
	})
}

func saysWho(c *command.Call) error {
	list, err := c.Dir.Recipients()
	if err != nil {
		return err
	}
	return c.Result(recipients{append([]string{}, list...)}, func(t *render.Table) {
		for _, r := range list {
			t.Line("%s", r)
		}
	})
}
