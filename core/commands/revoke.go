// SPDX-License-Identifier: Apache-2.0

package commands

import (
	"context"
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
)

// Revoke takes back whatever this node's owner let others do in its name, or single licences.
func (n *Node) Revoke(ctx context.Context, args control.RevokeArgs, _ func(control.Status)) (r control.RevokeResult,
	err error) {
	o, err := n.Identity("revoke")
	switch {
	case err != nil:
		return r, err
	case n.Revoked == nil || len(args.Nodes) == 0 && len(args.Licenses) == 0:
		return r, core.Fail(core.CodeUsage, "no node is named that anything was let do, and no licence")
	case slices.Contains(args.Nodes, n.ID()):
		return r, core.WithHint(core.Fail(core.CodeUsage, "that is this machine itself: it has the owner's identity"),
			"revoke from another machine of the owner")
	}
	n.Asker().Await(ctx) // of whom one may know a newer list
	if r.Told, err = n.Node.Revoke(o, args.Revoked); err != nil {
		return r, err
	}
	list := n.Revoked.Of(o.ID())
	r.Sequence, r.Revoked = list.Sequence, list.Revoked
	if r.Told == nil {
		r.Told = []core.ID{}
	}
	return r, nil
}
