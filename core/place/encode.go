// SPDX-License-Identifier: Apache-2.0

package place

import (
	"context"
	"fmt"
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/place/stripes"
)

// erase has new runs of content made into stripes: what is in none is to bear as many losses.
func (p *placement) erase(code core.Erasure) {
	if p.Args.Erasure = code; !code.IsZero() {
		p.Args.Replicas = code.M + 1
	}
}

// leaveOld has nodes keep nothing of stripes, or of a version that is handed over, that do not know them.
func (p *placement) leaveOld() {
	known := p.Peers.Known(p.Survey.IDs())
	if p.term == 1 && p.takes && p.Handed == nil && slices.ContainsFunc(p.Survey.Nodes[1:],
		func(n core.NodeState) bool { return !known[n.ID].Keeps }) {
		p.term = 0 // taken over from a machine that had no term, as nodes do it that know none
	}
	if p.Args.Erasure.IsZero() && p.term == 0 {
		return
	}
	for i := range p.Survey.Nodes[1:] {
		node := &p.Survey.Nodes[i+1]
		what := "stripes"
		switch peer := known[node.ID]; {
		case p.term > 0 && !peer.Keeps:
			what = "versions that are handed over"
		case p.Args.Erasure.IsZero() || peer.Stripes:
			continue
		}
		p.out[node.ID], node.Free = true, 0
		why := "it runs a version of bkp that does not know them"
		if known[node.ID].Far {
			why = "it is reached through others only"
		}
		p.tell(Status{Phase: "plan", Warning: true,
			Text: fmt.Sprintf("%s (%s) keeps nothing of %s: %s", node.Address, node.ID.Short(), what, why)})
	}
}

// encode makes stripes of new content, where they are asked for, and puts their parity into staging, claimed until the
// placement ends. Of a dry run its size is all that is known.
func (p *placement) encode(ctx context.Context, prefix string) error {
	if p.Args.Erasure.IsZero() {
		return nil
	}
	p.Content.Stripe(prefix, p.Args.Erasure)
	if p.Args.DryRun {
		return nil
	}
	p.tell(Status{Phase: "encode"})
	return stripes.Encode(ctx, p.Content.Stripes, p.Content.Fresh, p.from, func(c core.Chunk, data []byte) error {
		return p.claim(ctx, c, data)
	})
}

// claim puts a chunk into staging, claimed until the placement ends.
func (p *placement) claim(ctx context.Context, c core.Chunk, data []byte) error {
	p.recalled = append(p.recalled, c)
	return p.keep(ctx, c, core.Hash{}, data)
}
