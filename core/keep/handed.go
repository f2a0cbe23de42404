// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/key"
)

// Accepted is the segments of a task of an owner that were accepted here; of all tasks where that is zero.
func (t *Target) Accepted(owner core.ID, task core.TaskID) (all []core.Segment) {
	t.loop.Ask(func(s *State) {
		for id, seg := range s.segments {
			if (id.Task == task || task.IsZero()) && seg.Owner == owner {
				all = append(all, seg.Segment)
			}
		}
	})
	return all
}

// Refuse is an error that a peer is told with a code.
func Refuse(code core.Reason, format string, args ...any) error { return refuse(code, format, args...) }

// Locate keeps a location beside the ref of a version that is kept here, by which this node coordinates it.
func (t *Target) Locate(owner core.ID, alias string, version int, location []byte) error {
	refs, err := t.Holdings.Refs(owner)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(refs, func(r core.HeldRef) bool { return r.Alias == alias && r.Version == version })
	if at < 0 {
		return refuse(core.ReasonUnknown, "no ref of %s.%d is kept here", alias, version)
	}
	r := refs[at]
	c := core.Chunk{Hash: chunk.Hash(location), Size: core.Size(len(location))}
	defer t.pins.Release([]core.Chunk{c})
	if err := t.pins.While(c, func() error { return t.put(t.ctx, c, core.Hash{}, location) }); err != nil {
		return err
	}
	r.Records = slices.DeleteFunc(slices.Clone(r.Records), func(x core.Chunk) bool { return x.Hash == r.Location })
	r.Records, r.Location = append(r.Records, c), c.Hash
	return t.putRefDescribed(r)
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
