// SPDX-License-Identifier: Apache-2.0

package place

import (
	"context"
	"fmt"
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/manifest"
	"github.com/bkp-tool/bkp/core/place/content"
	"github.com/bkp-tool/bkp/core/placements"
	"github.com/bkp-tool/bkp/core/version"
)

// choose finds the version on this machine.
func (p *placement) choose(ctx context.Context) error {
	alias := ""
	if p.Args.Name != "" {
		alias = p.owner.Alias(p.Args.Name)
	}
	refs, err := p.Versions.Local(alias)
	if err != nil {
		return err
	}
	if p.Version, err = version.Pick(refs, p.Args.Name, p.Args.Version, p.Records.Lacks); err != nil {
		return err
	}
	return p.goOn(ctx)
}

// goOn finds the record of an earlier act that the version was placed by, or was to be.
func (p *placement) goOn(ctx context.Context) error {
	all, err := p.recorded(ctx, p.Version)
	for _, rec := range all {
		if rec.IsOver() {
			continue
		}
		p.locked = max(p.locked, rec.Locked) // whoever has it placed again, for whatever reason
		if rec.Window || rec.Source != p.Node {
			continue
		}
		p.inTermOf(rec)
		switch {
		case !p.Args.AsBefore:
		case !rec.Erasure.IsZero():
			p.erase(rec.Erasure)
		case rec.Copies > 0:
			p.Args.Replicas = rec.Copies
		}
		if rec.Erasure == p.Args.Erasure {
			p.record, p.resumed = rec, true
		}
	}
	return err
}

// chain finds out from this machine's refs and the peers' what the version's next envelope says. It is an error where
// peers keep other content under this number, or a later version as another machine of this owner split it: one number
// stands for one content, and the newest must be the one that a fetch brings.
func (p *placement) chain(ctx context.Context) error {
	p.Peers.Await(ctx)
	ref := p.Version.Ref
	local, err := p.Versions.Local(ref.Alias)
	if err != nil {
		return err
	}
	same, _ := p.Versions.At(ctx, ref.Alias, ref.Version)
	if err := p.takeOver(ctx, same); err != nil {
		return err
	}
	p.findLocations(ctx, same)
	newest, _ := p.Versions.At(ctx, ref.Alias, 0)
	theirs := slices.ContainsFunc(same, p.Version.SameContent) // they keep it already, whatever came after it
	for _, r := range slices.Concat(same, newest) {
		known := slices.ContainsFunc(local, r.SameContent)
		if !known && (r.Ref.Version == ref.Version || r.Ref.Version > ref.Version && !theirs && p.isForeign(ctx, r)) {
			return core.WithHint(core.Fail(core.CodeFailed, "peers keep version %d of it as another machine split it, "+
				"or this one before it was set back; this machine's version %d would take its place", r.Ref.Version,
				ref.Version),
				"split it under another name: bkp split FILE --name NAME; or bkp rm it here, and its next version follows theirs")
		}
	}
	gone, err := p.Versions.Gone(ref.Alias)
	if err != nil {
		return err
	}
	if _, dead := version.Live([]version.Found{p.Version}, gone); len(dead) > 0 {
		return core.WithHint(core.Fail(core.CodeFailed, "version %d of it was removed; its number is not given again",
			ref.Version), "split it anew: it gets a higher number")
	}
	p.next = key.Ref{Version: ref.Version, Prev: version.Previous(p.Version, local),
		Created: version.Created(p.Version, slices.Concat(local, same))}
	return nil
}

// isForeign reports whether another node placed what a ref at a peer points to, as its first record tells.
func (p *placement) isForeign(ctx context.Context, r version.Found) bool {
	if len(r.Body.Records) == 0 {
		return false
	}
	first, err := p.recordOf(ctx, r, 0)
	return err == nil && first.Source != p.Node // else the peer itself keeps one machine's version from another's
}

// collect finds what is to be sent, and what live tasks cover, and brings back what is not here.
func (p *placement) collect(ctx context.Context) error {
	if p.resumed {
		segments, err := p.record.Segments(func(id core.ID) bool { return p.Survey.Index[id] > 0 })
		if err == nil {
			p.resumed, err = p.sendable(ctx, segments)
		}
		if err != nil {
			return err
		}
		if p.resumed {
			p.hint(segments)
			p.Task, p.Content = p.record.Task, content.Of(p.record.Task, segments)
			p.Standing = placements.NewStanding(p.Task, p.Node, segments)
			return nil
		}
	}
	if p.Version.Body.Forgotten() {
		return core.WithHint(core.Fail(core.CodeRefused, "this machine may only write, and cannot tell any more what the version "+
			"consists of"), "place it where the owner's own identity is, or back the file up again")
	}
	err := p.sort(ctx)
	if core.CodeOf(err) == core.CodeRedundant && p.refresh(ctx) { // others know better who has what it leans on
		err = p.sort(ctx)
	}
	if err != nil {
		return err
	}
	prefix := fmt.Sprintf("%s.%d", p.Version.Ref.Alias, p.Version.Ref.Version)
	p.Content.Group(prefix)
	return p.encode(ctx, prefix)
}

// sort parts the version's chunks into those that live tasks cover and the rest, which it brings back where they are
// not here.
func (p *placement) sort(ctx context.Context) error {
	covered, err := p.coverage()
	if err != nil {
		return err
	}
	walk := func(visit func(manifest.Entry) error) error {
		return manifest.Nodes(p.Version.Body.Root, p.reader, func(e manifest.Entry) error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return visit(e)
		})
	}
	usable := covered
	if p.alone() && !p.Args.Erasure.IsZero() { // all of it is to be in stripes
		usable = nil
	}
	p.Content, err = content.Sort(walk, usable, p.Args.Replicas, p.Handed == nil,
		func(chunks []core.Chunk) (bool, error) { return p.staged(ctx, chunks) })
	if err != nil {
		return err
	}
	return p.recall(ctx, p.Content.Chunks(), covered)
}

// sendable reports whether the runs of segments that lack copies can be sent as they are: of a run that an earlier task
// brought holders may keep a part only, and nobody can send it as a whole then. Its chunks go into new runs.
func (p *placement) sendable(ctx context.Context, segments []*placements.Segment) (bool, error) {
	for _, s := range segments {
		for run := s.Fresh; run < len(s.Runs); run++ {
			r, copies := s.Runs[run], 0
			for id, receipts := range s.Receipts {
				if p.Survey.Index[id] > 0 && receipts.Has(run) {
					copies++
				}
			}
			if copies >= p.Args.Replicas || r.Whole() {
				continue
			}
			if here, err := p.staged(ctx, r.Chunks); err != nil || !here {
				return false, err
			}
		}
	}
	return true, nil
}

// coverage reads the records of this owner's placed versions that nobody removed, as far as is known here.
func (p *placement) coverage() (content.Covered, error) {
	refs, err := p.Versions.Local("")
	if err != nil {
		return nil, err
	}
	gone, err := p.Versions.Gone("")
	if err != nil {
		return nil, err
	}
	refs, _ = version.Live(refs, gone)
	covered := content.Covered{}
	for _, ref := range refs {
		for _, sealed := range ref.Body.Records {
			r, err := p.reader.Record(sealed)
			if err != nil {
				return nil, fmt.Errorf("record of %s@%d: %w", ref.Body.Name, ref.Ref.Version, err)
			}
			covered.Add(r, p.Survey.Index)
		}
	}
	return covered, nil
}

func (p *placement) staged(ctx context.Context, chunks []core.Chunk) (bool, error) {
	for _, c := range chunks {
		if here, err := p.Staging.Has(ctx, c.Hash); !here || err != nil {
			return false, err
		}
	}
	return true, nil
}
