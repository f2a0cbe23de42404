// SPDX-License-Identifier: Apache-2.0

package place

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/license"
	"github.com/bkp-tool/bkp/core/place/booking"
	"github.com/bkp-tool/bkp/core/placements"
	"github.com/bkp-tool/bkp/core/version"
)

// takeOver finds out whether another machine of the owner placed the version last, as this one and the peers know it.
// Who places it here has this machine see to it from then on, in a higher term than the other's, and by what the other
// wanted. What would only mend what this machine placed ends: it sees to it no more.
func (p *placement) takeOver(ctx context.Context, same []version.Found) error {
	last, source, term, until := p.Version, p.Node, -1, int64(0)
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
			last, source, term, until = r, first.Source, l.Term, l.LockedUntil
		}
	}
	if source == p.Node || p.record != nil && (p.record.Term > term || p.record.Term == term &&
		p.record.Began/int64(time.Second) > last.Ref.Placed) { // it was taken over here since, and is not there yet
		return nil
	}
	if p.Args.Mends && p.record != nil {
		return p.leaveTo(source, term)
	}
	p.term, p.takes, p.locked = max(p.term, term+1), true, max(p.locked, until)
	if p.Args.AsBefore && p.record == nil {
		if err := p.asBefore(ctx, last); err != nil {
			return err
		}
	}
	p.record, p.resumed = nil, false // what it says of holders, they have let go of since
	if last.At.IsZero() || p.Args.DryRun {
		return nil
	}
	if err := p.learn(ctx, last); err != nil {
		return err
	}
	last.At, p.Version = core.ID{}, last
	return nil
}

// leaveTo ends what this machine places of a version that another sees to since: where it only mends, for good.
func (p *placement) leaveTo(node core.ID, term int) error {
	if p.Args.Mends && p.record != nil {
		w := p.record.Wanted
		w.Coordinator, w.Term, w.Taken, w.Told = node, max(w.Term, term), true, w.Copies
		if err := p.record.Want(w); err != nil {
			return fmt.Errorf("write down that another machine sees to it: %w", err)
		}
	}
	return core.WithHint(core.Fail(core.CodeRefused, "another machine of this identity, %s, sees to it since",
		node.Short()), "bkp place %s has this machine see to it again", p.Version.Body.Name)
}

// ordered finds the term by the order that several coordinators have: what somebody places here takes over, and ends
// where another has taken over once the data has moved.
func (p *placement) ordered(ctx context.Context) error {
	term, err := booking.Term(ctx, p.Order, p.book(), p.Args.Mends || p.Ended, p.warn)
	if outrun, is := errors.AsType[*license.OutrunError](err); is {
		return p.leaveTo(outrun.Node, outrun.Term)
	}
	p.term = term
	return err
}

// outrun goes on in a higher term where targets know a higher one: another machine of the owner, or a coordinator,
// began to see to the version, and left no ref of it at any peer. What only mends leaves that to it.
func (p *placement) outrun(no []placements.Refusal) bool {
	const most = 64
	if p.kept != nil || p.Args.Mends || p.Order != nil || p.term >= most ||
		!slices.ContainsFunc(no, func(r placements.Refusal) bool { return r.Code == core.ReasonRights }) {
		return false
	}
	p.term++
	return true
}

// learn makes what another machine left at a peer this one's ref of the version.
func (p *placement) learn(ctx context.Context, at version.Found) error {
	for i, sealed := range at.Body.Records {
		c := core.Chunk{Hash: sealed.Hash, Size: sealed.Size}
		p.recalled = append(p.recalled, c)
		stored, err := p.stored(ctx, at, i)
		if err == nil {
			err = p.keep(ctx, c, core.Hash{}, stored)
		}
		if err != nil {
			return fmt.Errorf("segment record %d: %w", i, err)
		}
	}
	if err := p.Staging.Barrier(ctx); err != nil {
		return err
	}
	return p.Refs.Put(at.Ref.Alias, at.Ref.Version, at.Envelope)
}

// refresh learns what other machines of the owner placed anew of the versions here, and reports whether there is any.
func (p *placement) refresh(ctx context.Context) (news bool) {
	local, err := p.Versions.Local("")
	if err != nil || p.Args.DryRun {
		return false
	}
	found, _ := p.Versions.At(ctx, "", 0)
	for _, last := range local {
		for _, f := range found {
			if f.SameContent(last) && f.Ref.Placed > last.Ref.Placed {
				last = f
			}
		}
		if last.At.IsZero() {
			continue
		}
		if err := p.learn(ctx, last); err != nil {
			p.Log.Warn("learn who keeps a version", "version", last.Ref.Version, "error", err)
			continue
		}
		news = true
	}
	return news
}

// asBefore wants as many copies, or such stripes, as the records of a version say that there are.
func (p *placement) asBefore(ctx context.Context, of version.Found) error {
	least := math.MaxInt
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
		least = min(least, r.Fewest())
	}
	p.Args.Replicas = max(1, least)
	return nil
}

// recordOf is a record of a version.
func (p *placement) recordOf(ctx context.Context, of version.Found, i int) (version.Record, error) {
	stored, err := p.stored(ctx, of, i)
	if err != nil {
		return version.Record{}, err
	}
	return p.reader.OpenRecord(of.Body.Records[i], stored)
}

// stored is a record of a version as it is stored, here or at the peer that told of the version.
func (p *placement) stored(ctx context.Context, of version.Found, i int) ([]byte, error) {
	stored, err := p.reader.Stored(of.Body.Records[i].Hash)
	if err != nil && !of.At.IsZero() {
		return version.RecordAt(ctx, p.Peers, of.At, of.Ref, of.Body.Records[i])
	}
	return stored, err
}
