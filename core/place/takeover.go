// SPDX-License-Identifier: Apache-2.0

package place

import (
	"context"
	"fmt"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/license"
	"github.com/bkp-tool/bkp/core/version"
)

// takeOver finds out whether another machine of the owner placed the version last, as this one and the peers know it. Who
// places it here has this machine see to it from then on, in a higher term than the other's, and by what the other
// wanted. What would only mend what this machine placed ends: it sees to it no more.
func (p *placement) takeOver(ctx context.Context, same []version.Found) error {
	last, source, term := p.Version, p.Node, -1
	for _, r := range append([]version.Found{last}, same...) {
		if !r.SameContent(last) || r.Ref.Placed < last.Ref.Placed || len(r.Body.Records) == 0 {
			continue
		}
		first, err := p.recordOf(ctx, r, 0)
		if err != nil {
			continue // a record that is gone says nothing: verify names it
		}
		l, _, _, err := license.Open(first.License)
		if err != nil {
			return fmt.Errorf("the licence of %s@%d: %w", p.Version.Body.Name, r.Ref.Version, err)
		}
		if r.Ref.Placed > last.Ref.Placed || l.Term > term {
			last, source, term = r, first.Source, l.Term
		}
	}
	if source == p.Node {
		return nil
	}
	if p.Args.Mends && p.record != nil {
		w := p.record.Wanted
		w.Coordinator, w.Term, w.Taken, w.Told = source, max(w.Term, term), true, w.Copies
		if err := p.record.Want(w); err != nil {
			return fmt.Errorf("write down that another machine sees to it: %w", err)
		}
		return core.WithHint(core.Fail(core.CodeRefused, "another machine of this identity, %s, sees to it since",
			source.Short()), "bkp place %s has this machine see to it again", p.Version.Body.Name)
	}
	p.term, p.takes = max(p.term, term+1), true
	if p.Args.AsBefore && p.record == nil {
		if err := p.asBefore(ctx, last); err != nil {
			return err
		}
	}
	p.record, p.resumed = nil, false // what it says of holders, they have let go of since
	if last.At.IsZero() || p.Args.DryRun {
		return nil
	}
	return p.goOnFrom(ctx, last)
}

// goOnFrom makes what another machine left at peers this one's ref of the version.
func (p *placement) goOnFrom(ctx context.Context, last version.Found) error {
	for _, sealed := range last.Body.Records {
		stored, err := version.RecordAt(ctx, p.Peers, last.At, last.Ref, sealed)
		if err != nil {
			return fmt.Errorf("segment record: %w", err)
		}
		c := core.Chunk{Hash: sealed.Hash, Size: sealed.Size}
		p.recalled = append(p.recalled, c)
		if err := p.keep(ctx, c, core.Hash{}, stored); err != nil {
			return err
		}
	}
	if err := p.Staging.Barrier(ctx); err != nil {
		return err
	}
	last.At, p.Version = core.ID{}, last
	return p.Refs.Put(last.Ref.Alias, last.Ref.Version, last.Envelope)
}

// asBefore wants as many copies, or such stripes, as the records of a version say that there are.
func (p *placement) asBefore(ctx context.Context, of version.Found) error {
	least := -1
	for i := range of.Body.Records {
		r, err := p.recordOf(ctx, of, i)
		if err != nil {
			return fmt.Errorf("segment record %d: %w", i, err)
		}
		var erasure core.Erasure
		for _, s := range r.Stripes {
			erasure.K, erasure.M = max(erasure.K, len(s.Data)), len(s.Parity)
		}
		if !erasure.IsZero() {
			p.erase(erasure)
			return nil
		}
		for run := range r.Runs {
			if n := len(r.Holders(run)); least < 0 || n < least {
				least = n
			}
		}
	}
	p.Args.Replicas = max(1, least)
	return nil
}

// recordOf is a record of a version, from here or from the peer that told of the version.
func (p *placement) recordOf(ctx context.Context, of version.Found, i int) (version.Record, error) {
	sealed := of.Body.Records[i]
	stored, err := p.reader.Stored(sealed.Hash)
	if err != nil && !of.At.IsZero() {
		stored, err = version.RecordAt(ctx, p.Peers, of.At, of.Ref, sealed)
	}
	if err != nil {
		return version.Record{}, err
	}
	return p.reader.OpenRecord(sealed, stored)
}
