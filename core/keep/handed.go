// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"fmt"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/key"
)

// Kept is all that this node keeps of a task as an owner's node coordinates it, segment by segment, with the owner's
// licences: what a coordinator places further. It is an error where a run of it is not here, or a part of one.
func (t *Target) Kept(owner core.ID, task core.TaskID, alias string, version int) (segments []KeptSegment, err error) {
	var all []core.Segment
	t.loop.Ask(func(s *State) {
		for id, seg := range s.segments {
			if id.Task == task && seg.Owner == owner && seg.Alias == alias && seg.Version == version {
				all = append(all, seg.Segment)
			}
		}
	})
	if len(all) == 0 {
		return nil, refuse(core.ReasonUnknown, "task %s is not kept here", task)
	}
	segments = make([]KeptSegment, len(all))
	for _, seg := range all {
		if seg.Number >= len(all) {
			return nil, refuse(core.ReasonUnknown, "of task %s segment %d is here, and others are not", task, seg.Number)
		}
		kept, err := t.Holdings.Kept(task, seg.Number)
		if err != nil {
			return nil, err
		}
		out := KeptSegment{License: seg.License, Runs: make([]core.Run, seg.Runs())}
		for _, h := range kept {
			if h.Kept.Count(len(h.Chunks)) < len(h.Chunks) {
				return nil, refuse(core.ReasonUnknown, "run %d of segment %d is kept here in part", h.Number, seg.Number)
			}
			out.Runs[h.Number] = core.Run{File: h.File, Chunks: h.Chunks}
		}
		for run, r := range out.Runs {
			if len(r.Chunks) == 0 {
				return nil, refuse(core.ReasonUnknown, "run %d of segment %d is not here", run, seg.Number)
			}
		}
		segments[seg.Number] = out
	}
	return segments, nil
}

// KeptSegment is one segment of Kept.
type KeptSegment struct {
	License []byte // the owner's
	Runs    []core.Run
}

// RefOf is the ref of a version that is kept here, and the bytes of its records: what a coordinator leaves with others.
func (t *Target) RefOf(owner core.ID, alias string, version int) (r core.HeldRef, records [][]byte, err error) {
	refs, err := t.Holdings.Refs(owner)
	if err != nil {
		return r, nil, err
	}
	for _, r := range refs {
		if r.Alias != alias || r.Version != version {
			continue
		}
		for _, c := range r.Records {
			stored, err := t.Keeping.Get(t.ctx, c.Hash, nil)
			if err != nil {
				return r, nil, fmt.Errorf("record %s: %w", c.Hash, err)
			}
			records = append(records, stored)
		}
		return r, records, nil
	}
	return r, nil, refuse(core.ReasonUnknown, "no ref of %s.%d is kept here", alias, version)
}

// Locate keeps a location beside the ref of a version that is kept here, by which this node coordinates it.
func (t *Target) Locate(owner core.ID, alias string, version int, location []byte) error {
	r, _, err := t.RefOf(owner, alias, version)
	if err != nil {
		return err
	}
	c := core.Chunk{Hash: chunk.Hash(location), Size: core.Size(len(location))}
	defer t.pins.Release([]core.Chunk{c})
	if err := t.pins.While(c, func() error { return t.put(t.ctx, c, core.Hash{}, location) }); err != nil {
		return err
	}
	r.Records = slices.DeleteFunc(slices.Clone(r.Records), func(x core.Chunk) bool { return x.Hash == r.Location })
	r.Records, r.Location = append(r.Records, c), c.Hash
	return t.putRefDescribed(r)
}

// Buried is the tombstone of a version that is removed; nil where it lives.
func (t *Target) Buried(owner core.ID, alias string, version int) ([]byte, error) {
	all, err := t.Holdings.Tombstones(owner)
	for _, x := range all {
		if x.Alias == alias && x.Version == version {
			return x.Envelope, err
		}
	}
	return nil, err
}

// Handed returns the handover in an envelope where it stands now, and no node does for its owner what the owner took back.
func (t *Target) Handed(envelope []byte) (key.Handover, error) {
	h, err := key.OpenHandover(envelope)
	if err != nil {
		return h, refuse(core.ReasonRights, "%v", err)
	}
	if err := t.stillMay(h.Owner, h.Node); err != nil {
		return h, err
	}
	if h.Node == t.Signer.ID() {
		d, err := key.OpenDelegation(h.Delegation)
		if err == nil {
			err = d.Keeps(h.Node, h.Alias, h.Version, time.Now())
		}
		if err != nil {
			return h, refuse(core.ReasonRights, "%v", err)
		}
	}
	t.loop.Ask(func(s *State) { err = s.inTerm(h.Owner, h.Alias, h.Version, h.Term) })
	return h, err
}

// ReasonOf is how an error of a target is told a peer.
func ReasonOf(err error) (core.Reason, string) { return reasonOf(err) }
