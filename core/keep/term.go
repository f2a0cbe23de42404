// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"fmt"
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/wire"
)

// Of several nodes that coordinate a version the one of the highest term does: the owner's own node, or one that the
// version was handed over to. The term stands in its licences, and so with the segments that were accepted under them. Here
// is what a holder refuses the others, and what it refuses a coordinator that is not the owner.

// heldTerm is the highest term in which anything of a version was accepted here.
func (s *State) heldTerm(owner core.ID, alias string, version int) (term int) {
	for _, seg := range s.segments {
		if seg.Owner == owner && seg.Alias == alias && seg.Version == version {
			term = max(term, seg.Term)
		}
	}
	return term
}

// inTerm is an error where a version is coordinated in a higher term.
func (s *State) inTerm(owner core.ID, alias string, version, term int) error {
	if highest := s.heldTerm(owner, alias, version); term < highest {
		return refuse(core.ReasonRights, "the version is coordinated in term %d, and not any more in term %d", highest, term)
	}
	return nil
}

// mayRelease is an error where a coordinator that is not the owner may not release a task here: it is of another source
// or of a lower term, or by its own word what is kept here is wanted, or others have too few copies of it.
func (t *Target) mayRelease(r key.Release, d key.Delegation, l key.Location) (err error) {
	self := t.Signer.ID()
	t.loop.Ask(func(s *State) {
		if err = s.inTerm(r.Owner, r.Alias, r.Version, d.Term); err != nil {
			return
		}
		for id, seg := range s.segments {
			if id.Task != r.Task || seg.Owner != r.Owner {
				continue
			}
			if seg.Source != d.Node || seg.Alias != r.Alias || seg.Version != r.Version {
				err = refuse(core.ReasonRights, "task %s is not of node %s", r.Task, d.Node.Short())
				return
			}
			seg.have.Each(func(run int) {
				switch copies := l.Copies(id.Number, run, self); {
				case err != nil:
				case l.Copies(id.Number, run, core.ID{}) > copies:
					err = refuse(core.ReasonRights, "run %d of segment %d is wanted here, by its location", run, id.Number)
				case copies < d.Copies:
					err = refuse(core.ReasonRights, "run %d of segment %d has %d of %d copies elsewhere, by its location", run,
						id.Number, copies, d.Copies)
				}
			})
		}
	})
	return err
}

// located gives a ref the location that comes with it: by its sender, in a term that counts, and not older than what is
// kept. Where none comes the one that is kept stays, unless somebody else coordinates the version since.
func (t *Target) located(r *core.HeldRef, m wire.RefPut, from core.ID, old core.HeldRef) error {
	before, none := t.location(old.Location)
	if none != nil {
		before = key.Location{}
	}
	inTerm := func(term int) (err error) {
		t.loop.Ask(func(s *State) { err = s.inTerm(m.Owner, m.Alias, m.Version, term) })
		return err
	}
	if m.Location.IsZero() {
		at := slices.IndexFunc(old.Records, func(c core.Chunk) bool { return c.Hash == old.Location })
		if none == nil && at >= 0 && inTerm(before.Term) == nil {
			if r.Location = old.Location; !slices.Contains(r.Records, old.Records[at]) {
				r.Records = append(slices.Clip(r.Records), old.Records[at])
			}
		}
		return nil
	}
	l, err := t.location(m.Location)
	switch {
	case err != nil:
	case !slices.ContainsFunc(m.Records, func(c core.Chunk) bool { return c.Hash == m.Location }):
		err = fmt.Errorf("it is not among the records")
	case l.Owner != m.Owner || l.Alias != m.Alias || l.Version != m.Version || l.Task != m.Task || l.Node != from:
		err = fmt.Errorf("it is of %s.%d, task %s, by %s", l.Alias, l.Version, l.Task, l.Node)
	case before.After(l):
		err = fmt.Errorf("a later one is kept here: %d in term %d", before.Seq, before.Term)
	default:
		err = inTerm(l.Term)
	}
	if err != nil {
		return refuse(core.ReasonRights, "location: %v", err)
	}
	r.Location = m.Location
	return nil
}

// location is one that is kept here.
func (t *Target) location(hash core.Hash) (l key.Location, err error) {
	envelope, err := t.Keeping.Get(t.ctx, hash, nil)
	if err == nil {
		l, err = key.OpenLocation(envelope)
	}
	return l, err
}

// succeeds reports whether a task of a version takes the place of another by its term.
func (s *State) succeeds(task, other core.TaskID) bool {
	terms := map[core.TaskID]int{}
	for id, seg := range s.segments {
		terms[id.Task] = max(terms[id.Task], seg.Term)
	}
	return terms[task] > terms[other]
}
