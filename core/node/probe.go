// SPDX-License-Identifier: Apache-2.0

package node

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/flow"
	"github.com/bkp-tool/bkp/core/task"
)

// Probe measures links on purpose, one after another: up to core.MaxProbe bytes or flow.ProbeTime each.
func (n *Node) Probe(ctx context.Context, args control.ProbeArgs,
	status func(control.Status)) (r control.ProbeResult, err error) {
	n.awaitPeers(ctx)
	n.ask(do(func(n *state) {
		var one *peer
		if one, err = n.peerNamed(args.Peer); err != nil {
			return
		}
		for _, p := range n.peers {
			if p == one || one == nil && (p.session != nil || p.declared > 0) {
				r.Probes = append(r.Probes, control.ProbeRow{ID: p.id, Address: p.address,
					Declared: cmp.Or(p.capacity, p.declared)})
			}
		}
	}))
	if err == nil && len(r.Probes) == 0 {
		err = core.WithHint(core.Fail(core.CodeFailed, "no peer is known%s", because(n.unreached())),
			"bkp peers shows what is wrong with them")
	}
	if err != nil {
		return r, err
	}
	slices.SortFunc(r.Probes, func(a, b control.ProbeRow) int {
		return cmp.Or(strings.Compare(a.Address, b.Address), a.ID.Compare(b.ID))
	})
	block := make([]byte, core.MiB)
	if _, err := rand.Read(block); err != nil {
		return r, fmt.Errorf("draw bytes to send: %w", err)
	}
	for i := range r.Probes {
		row := &r.Probes[i]
		status(control.Status{Phase: "probe", Text: row.Address, Done: core.Size(i), Total: core.Size(len(r.Probes))})
		if err := n.probe(ctx, row, block); err != nil {
			row.Problem = err.Error()
		}
		if ctx.Err() != nil {
			return r, context.Cause(ctx)
		}
	}
	return r, nil
}

// probe measures one link.

// probe measures one link.
func (n *Node) probe(ctx context.Context, row *control.ProbeRow, block []byte) (err error) {
	var p *flow.Probe
	n.ask(do(func(n *state) { p, err = n.flows.Probe(row.ID, block) }))
	if err != nil || p == nil {
		return cmp.Or(err, errStopped)
	}
	select {
	case <-p.Done():
	case <-ctx.Done():
	case <-time.After(flow.ProbeTime + task.Hold):
	}
	n.ask(do(func(*state) {
		lease, found, failed := p.End()
		row.Lease, row.Bytes, row.Seconds = lease, found.Bytes, found.Seconds
		row.Carried, row.AtLeast, err = found.Carried, found.AtLeast, failed
	}))
	return err
}
