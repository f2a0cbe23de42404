// SPDX-License-Identifier: Apache-2.0

package place

import (
	"context"
	"fmt"
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/shard"
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
	code := p.Args.Erasure
	if code.IsZero() {
		return nil
	}
	p.Content.Stripe(prefix, code)
	if p.Args.DryRun {
		return nil
	}
	p.tell(Status{Phase: "encode"})
	coders := map[int]*shard.Coder{}
	for _, s := range p.Content.Stripes {
		if coders[len(s.Data)] == nil {
			coder, err := shard.New(core.Erasure{K: len(s.Data), M: code.M})
			if err != nil {
				return err
			}
			coders[len(s.Data)] = coder
		}
		if err := p.encodeStripe(ctx, s, coders[len(s.Data)]); err != nil {
			return fmt.Errorf("parity: %w", err)
		}
	}
	return nil
}

// encodeStripe reads a stripe's data chunk by chunk: its parity and one chunk are in memory.
func (p *placement) encodeStripe(ctx context.Context, s core.Stripe, coder *shard.Coder) error {
	parity := coder.Parity(int(p.Content.Fresh[s.Parity[0]].Size))
	var data []byte
	for i, run := range s.Data {
		at := 0
		for _, c := range p.Content.Fresh[run].Chunks {
			var err error
			if data, err = p.from.Get(ctx, c.Hash, data[:0]); err != nil {
				return fmt.Errorf("chunk %s: %w", c.Hash, err)
			}
			if err := parity.Add(i, at, data); err != nil {
				return err
			}
			at += len(data)
		}
	}
	for i, bytes := range parity.Shards() {
		run := &p.Content.Fresh[s.Parity[i]]
		run.Chunks[0].Hash = chunk.Hash(bytes)
		run.Hash = chunk.RunHash(run.Chunks)
		p.recalled = append(p.recalled, run.Chunks[0])
		if err := p.keep(ctx, run.Chunks[0], core.Hash{}, bytes); err != nil {
			return err
		}
	}
	return nil
}
