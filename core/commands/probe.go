// SPDX-License-Identifier: Apache-2.0

package commands

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
)

// Probe measures links on purpose, one after another: up to core.MaxProbe bytes or flow.ProbeTime each.
func (n *Node) Probe(ctx context.Context, args control.ProbeArgs,
	status func(control.Status)) (r control.ProbeResult, err error) {
	n.Asker().Await(ctx)
	one, err := n.peerNamed(args.Peer)
	if err != nil {
		return r, err
	}
	for _, p := range n.See() {
		if p.ID == one.ID || one.ID.IsZero() && (p.Connected || p.Declared > 0) {
			r.Probes = append(r.Probes, control.ProbeRow{ID: p.ID, Address: p.Address,
				Declared: cmp.Or(p.Capacity, p.Declared)})
		}
	}
	if len(r.Probes) == 0 {
		return r, core.WithHint(core.Fail(core.CodeFailed, "no peer is known%s", because(n.Asker().Unreached())),
			"bkp peers shows what is wrong with them")
	}
	block := make([]byte, core.MiB)
	if _, err := rand.Read(block); err != nil {
		return r, fmt.Errorf("draw bytes to send: %w", err)
	}
	for i := range r.Probes {
		row := &r.Probes[i]
		status(control.Status{Phase: "probe", Text: row.Address, Done: core.Size(i), Total: core.Size(len(r.Probes))})
		lease, found, err := n.Node.Probe(ctx, row.ID, block)
		if row.Lease, row.Bytes, row.Seconds = lease, found.Bytes, found.Seconds; err != nil {
			row.Problem = err.Error()
		}
		row.Carried, row.AtLeast = found.Carried, found.AtLeast
		if ctx.Err() != nil {
			return r, context.Cause(ctx)
		}
	}
	return r, nil
}
