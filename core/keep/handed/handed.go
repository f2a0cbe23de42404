// SPDX-License-Identifier: Apache-2.0

// Package handed is what a node keeps that owners handed over to it to coordinate: what it places further.
package handed

import (
	"context"
	"fmt"
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/keep"
)

// Versions is the versions that a target keeps.
type Versions struct{ *keep.Target }

// All is all that this node keeps of a task as an owner's node coordinates it, segment by segment, with the owner's
// licences: what a coordinator places further. It is an error where a run of it is not here, or a part of one.
func (v Versions) All(owner core.ID, task core.TaskID, alias string, version int) (segments []Segment, err error) {
	all := slices.DeleteFunc(v.Accepted(owner, task), func(s core.Segment) bool {
		return s.Alias != alias || s.Version != version
	})
	if len(all) == 0 {
		return nil, keep.Refuse(core.ReasonUnknown, "task %s is not kept here", task)
	}
	segments = make([]Segment, len(all))
	for _, seg := range all {
		if seg.Number >= len(all) {
			return nil, keep.Refuse(core.ReasonUnknown, "of task %s segment %d is here, and others are not", task, seg.Number)
		}
		kept, err := v.Holdings.Kept(task, seg.Number)
		if err != nil {
			return nil, err
		}
		out := Segment{License: seg.License, Runs: make([]core.Run, seg.Runs())}
		for _, h := range kept {
			if h.Kept.Count(len(h.Chunks)) < len(h.Chunks) {
				return nil, keep.Refuse(core.ReasonUnknown, "run %d of segment %d is kept here in part", h.Number, seg.Number)
			}
			out.Runs[h.Number] = core.Run{File: seg.File(h.Number), Chunks: h.Chunks}
		}
		for run, r := range out.Runs {
			if len(r.Chunks) == 0 {
				return nil, keep.Refuse(core.ReasonUnknown, "run %d of segment %d is not here", run, seg.Number)
			}
		}
		segments[seg.Number] = out
	}
	return segments, nil
}

// Segment is one segment of All.
type Segment struct {
	License []byte // the owner's
	Runs    []core.Run
}

// Elsewhere is who else was to keep runs of a version when this node was given them to coordinate, or since.
func (v Versions) Elsewhere(owner core.ID, alias string, version int, runs []core.File) (spans []core.Span) {
	for _, seg := range v.Accepted(owner, core.TaskID{}) {
		same := seg.Alias == alias && seg.Version == version && seg.Source != v.Signer.ID() && seg.Runs() == len(runs)
		if !same {
			continue
		}
		for run, f := range runs {
			same = same && seg.File(run).Hash == f.Hash
		}
		if same {
			spans = append(spans, seg.Locations...)
		}
	}
	return slices.DeleteFunc(spans, func(s core.Span) bool { return s.Node == v.Signer.ID() })
}

// RefOf is the ref of a version that is kept here, and the bytes of its records: what a coordinator leaves with others.
func (v Versions) RefOf(owner core.ID, alias string, version int) (r core.HeldRef, records [][]byte, err error) {
	refs, err := v.Holdings.Refs(owner)
	if err != nil {
		return r, nil, err
	}
	for _, r := range refs {
		if r.Alias != alias || r.Version != version {
			continue
		}
		for _, c := range r.Records {
			stored, err := v.Keeping.Get(context.Background(), c.Hash, nil)
			if err != nil {
				return r, nil, fmt.Errorf("record %s: %w", c.Hash, err)
			}
			records = append(records, stored)
		}
		return r, records, nil
	}
	return r, nil, keep.Refuse(core.ReasonUnknown, "no ref of %s.%d is kept here", alias, version)
}

// Buried is the tombstone of a version that is removed; nil where it lives.
func (v Versions) Buried(owner core.ID, alias string, version int) ([]byte, error) {
	all, err := v.Holdings.Tombstones(owner)
	for _, x := range all {
		if x.Alias == alias && x.Version == version {
			return x.Envelope, err
		}
	}
	return nil, err
}
