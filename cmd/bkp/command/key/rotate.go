// SPDX-License-Identifier: Apache-2.0

package key

import (
	"context"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/core"
	"github.com/urfave/cli/v2"
)

type keyRotated struct {
	Node      core.ID `json:"node"`
	Rotations int     `json:"rotations"` // how many keys this node has had before
}

func rotateCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "rotate", Usage: "give this node a new key under its old ID",
		About: "For a node whose key others may have seen: its disk was copied, or its machine was someone else's for a " +
			"while. The old key signs the new one and is gone; ID, holdings, peer lists and delegations stay as they are, " +
			"and what the old key signed stays good. Each node that meets this one afterwards refuses the old key from " +
			"then on; one that has not met it yet does not know, so let it run and connect. What an owner let this node " +
			"do the old key may claim elsewhere until then: revoke it where it was stolen. The node must not run. Nodes " +
			"of releases without this command cannot talk to one that was rotated.",
		Examples: "bkp key rotate\nbkp key rotate --data /var/lib/bkp",
		Flags:    command.IdentityFlags(),
		Do:       doRotate,
	})
}

func doRotate(_ context.Context, c *command.Call) error {
	lock, err := c.Dir.LockNode() // who runs has the key in memory
	if err != nil {
		return err
	}
	defer lock.Close()
	if c.Dir.HasIdentity() {
		o, err := c.Owner()
		if err != nil {
			return err
		}
		if o.Node() != nil {
			return core.WithHint(core.Fail(core.CodeRefused, "this node's key is part of an identity that may only write, "+
				"or only read"), "have its owner export another one, import it into another --data directory, and revoke "+
				"this node: bkp key revoke %s", o.Node().ID())
		}
	}
	signer, err := c.Dir.RotateNodeKey()
	if err != nil {
		return err
	}
	r := keyRotated{Node: signer.ID(), Rotations: signer.Public().Rotations()}
	return c.Result(r, func(t *render.Table) {
		t.Line("node %s has key %d now, the one before is gone. Start it: bkp node start", r.Node.Grouped(), r.Rotations+1)
	})
}
