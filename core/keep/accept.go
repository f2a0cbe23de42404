// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/license"
	"github.com/bkp-tool/bkp/core/storage"
	"github.com/bkp-tool/bkp/core/wire"
)

const (
	// verdictPatience is how long the whole chain of verifiers may take over one licence.
	verdictPatience = 20 * time.Second
	// maxSegments bounds a task: 1 PiB in the largest runs. The numbers of a flow's runs stay as small.
	maxSegments = 1 << 16
)

// refusal is why a segment is not accepted.
type refusal struct {
	code   core.Reason
	reason string
}

func (r *refusal) Error() string { return r.reason }

func refuse(code core.Reason, format string, args ...any) error {
	return &refusal{code, fmt.Sprintf(format, args...)}
}

// refuses is why nothing new can be kept; nil where it can.
func (t *Target) refuses() error {
	if why, is := t.Health.Refuses(); is {
		return refuse(core.ReasonDegraded, "this node is degraded and keeps nothing new: %s", why)
	}
	return nil
}

// Offer judges a segment that a peer offers, and answers. member: the peer, or who brought its word, showed the token.
func (s *State) Offer(from core.ID, member bool, m wire.StorageTask) {
	t := s.target
	s.turns++
	turn := s.turns
	s.peers.Act(func() {
		seg, known, err := t.consider(m, from, member, turn)
		if err != nil {
			t.refuse(from, m, err)
			return
		}
		t.loop.Post(func(s *State) { s.agree(seg, known, m, from) })
		t.arrivals.add(known...)
	})
}

func (t *Target) refuse(to core.ID, m wire.StorageTask, err error) {
	answer := wire.TaskRefuse{Task: m.Task, Segment: m.Segment, Code: core.ReasonInternal, Reason: err.Error()}
	if r, ok := errors.AsType[*refusal](err); ok {
		answer.Code = r.code
	}
	t.Log.Warn("segment refused", "task", m.Task, "segment", m.Segment, "reason", answer.Reason)
	t.loop.Post(func(s *State) { s.peers.Send(to, answer) })
}

// agree answers that a segment is accepted, of which known is here already.
func (s *State) agree(seg *Segment, known []arrival, m wire.StorageTask, to core.ID) {
	s.found(seg, known)
	s.peers.Send(to, wire.TaskAgree{Task: m.Task, Segment: m.Segment, Have: seg.have,
		PredictedS: m.Predicted(s.target.Signer.ID())})
	for _, a := range known {
		s.transfers.Arrived(seg, a.holding.Number, a.holding.Chunks)
	}
	s.transfers.Accepted(seg)
	if seg.forgot {
		seg.forgot = false
		s.transfers.Forgot(seg)
	}
}

// found notes runs of a segment that are here already.
func (s *State) found(seg *Segment, known []arrival) {
	for _, a := range known {
		seg.have.Set(a.holding.Number)
	}
	s.trimPromise(seg)
}

// consider accepts a segment or says why not. known is those of its runs that earlier tasks brought here.
func (t *Target) consider(m wire.StorageTask, from core.ID, member bool, turn uint64) (seg *Segment, known []arrival,
	err error) {
	if seg, err = t.accept(m, from, member); err != nil {
		return nil, nil, err
	}
	t.loop.Ask(func(s *State) {
		seg.turn = turn
		seg = s.register(seg, from)
	})
	if err := t.forgetGone(seg); err != nil {
		return nil, nil, err
	}
	var lacks core.Bitmap
	t.loop.Ask(func(*State) {
		lacks = slices.Clone(seg.mine)
		seg.have.Each(lacks.Clear)
	})
	known, err = t.adoptKnown(seg, lacks)
	return seg, known, err
}

// accept checks a segment's licence, has every verifier judge it, promises it room, and makes the acceptance durable.
func (t *Target) accept(m wire.StorageTask, from core.ID, member bool) (*Segment, error) {
	l, payload, signer, err := license.Open(m.License)
	if err != nil {
		return nil, refuse(core.ReasonLicense, "%v", err)
	}
	if l.Task != m.Task || l.Segment != m.Segment {
		return nil, refuse(core.ReasonLicense, "the licence is for segment %d of task %s", l.Segment, l.Task)
	}
	if l.Alias != "" && (l.Alias != m.Alias || l.Version != m.Version) {
		return nil, refuse(core.ReasonLicense, "the licence is for version %d of another name", l.Version)
	}
	if m.Segment >= maxSegments {
		return nil, refuse(core.ReasonProtocol, "segment %d of a task, which has at most %d", m.Segment, maxSegments)
	}
	self, root := t.Signer.ID(), chunk.LicenseRoot(m.Files, m.Reused)
	permit := t.permitOf(l, time.Now())
	keepUntil, err := t.termOf(l, permit)
	if err != nil {
		return nil, err
	}
	if err := t.buried(core.HeldRef{Owner: l.TaskSource.Owner, Alias: m.Alias, Version: m.Version}); err != nil {
		return nil, err
	}
	seg := newSegment(core.Segment{
		Task: m.Task, Number: m.Segment, Owner: l.TaskSource.Owner, Source: l.TaskSource.Node, Alias: m.Alias,
		Version: m.Version, License: m.License, LicenseID: l.ID, Files: m.Files, Reused: m.Reused,
		Locations: license.Spans(l, m.Locations), RetainUntil: keepUntil,
		LockedUntil: l.LockedUntil, Term: l.Term,
	}, self)
	seg.tables, seg.parties = m.Tables(), license.Parties(l)
	bytes, runs := seg.share()
	err = license.Check(l, signer, license.Claim{Peer: from, Node: self, Root: root, Bytes: bytes, Runs: runs,
		Now: time.Now(), OpenDelegation: key.DelegationFields})
	if err != nil {
		return nil, refuse(core.ReasonLicense, "%v", err)
	}
	if err := t.stillMay(seg.Owner, signer, seg.Source); err != nil {
		return nil, err
	}
	if err := t.stillLicensed(seg.Segment, permit); err != nil {
		return nil, err
	}
	if err := t.evict(seg); err != nil {
		return nil, err
	}
	need := t.newBytes(seg)
	req := core.VerifyRequest{Envelope: m.License, Payload: payload, Op: l.Op, Node: self, Peer: from,
		TokenMember: member || t.Anyone, AddedBytes: need, Now: time.Now().Unix()}
	err = t.makeRoom(func() error { // before anybody judges: of parallel segments each counts those before it
		err := errStopped
		t.loop.Ask(func(s *State) {
			req.UsedBytes = s.Owed(seg.Owner)
			s.vouch(seg.Owner, seg.Source, from)
			s.account(seg.Owner).permit = permit
			if err = s.admit(seg, need); err != nil {
				s.forgetIdle(seg.Owner)
			}
		})
		return err
	})
	if err == nil {
		if err = t.judge(req); err == nil {
			err = t.write(func() error { return t.bind(seg, root) })
		}
		if err != nil {
			t.loop.Ask(func(s *State) { s.dropPromises(seg); s.write(seg, -seg.words) })
		}
	}
	return seg, err
}

// stillMay is an error where an owner has revoked what one of the nodes does in its name.
func (t *Target) stillMay(owner core.ID, nodes ...core.ID) error {
	for _, node := range nodes {
		if t.Revoked != nil && t.Revoked(owner).Names(node) {
			return refuse(core.ReasonRights, "owner %s has revoked what node %s does in its name", owner.Short(), node.Short())
		}
	}
	return nil
}

// stillLicensed is an error where the owner of a segment has revoked the licence that it is shown under, or an issuer
// the permit.
func (t *Target) stillLicensed(s core.Segment, permit core.Permit) error {
	switch {
	case t.Revoked == nil:
	case t.Revoked(s.Owner).NamesLicense(s.LicenseID):
		return refuse(core.ReasonLicense, "owner %s has revoked licence %s", s.Owner.Short(), s.LicenseID)
	case t.Revoked(permit.Issuer).NamesLicense(permit.ID):
		return refuse(core.ReasonLicense, "issuer %s has revoked permit %s", permit.Issuer.Short(), permit.ID)
	}
	return nil
}

// permitOf is the permit of an issuer served here by which a licence's owner stores at now, who is none; zero without.
// One that was revoked is it where there is no other.
func (t *Target) permitOf(l core.License, now time.Time) (permit core.Permit) {
	if _, listed := t.Quotas[l.TaskSource.Owner]; listed {
		return permit
	}
	of := func(revoked bool) (core.Permit, bool) {
		return license.PermitOf(l, t.Signer.ID(), now, func(p core.Permit) bool {
			_, listed := t.Quotas[p.Issuer]
			return listed && (revoked || t.Revoked == nil || !t.Revoked(p.Issuer).NamesLicense(p.ID))
		})
	}
	if good, ok := of(false); ok {
		return good
	}
	permit, _ = of(true)
	return permit
}

// DefaultKeepAtMost is how long anything is promised to be kept, unless a node says otherwise: 20 years.
const DefaultKeepAtMost = 20 * 365 * 24 * time.Hour

// termOf is until when this node keeps what a licence asks for: at most as long as its policy, and a permit, say. It
// accepts no lock beyond that.
func (t *Target) termOf(l core.License, permit core.Permit) (until int64, err error) {
	most := time.Now().Add(cmp.Or(t.KeepAtMost, DefaultKeepAtMost)).Unix()
	if permit.KeepAtMost > 0 {
		most = min(most, time.Now().Unix()+permit.KeepAtMost)
	}
	if l.LockedUntil > most {
		return 0, refuse(core.ReasonLicense, "it locks until %s, and this node promises nothing beyond %s",
			dayOf(l.LockedUntil), dayOf(most))
	}
	return min(l.RetainUntil, most), nil
}

func dayOf(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.DateOnly) }

// judge asks every verifier; the first that says no, or cannot say, decides.
func (t *Target) judge(req core.VerifyRequest) error {
	ctx, cancel := context.WithTimeout(t.ctx, verdictPatience)
	defer cancel()
	for _, v := range t.Verifiers {
		verdict, err := v.Verify(ctx, req)
		if err != nil {
			return refuse(core.ReasonVerifier, "verifier %s failed: %v", v.Name, err)
		}
		if !verdict.OK {
			return refuse(core.ReasonLicense, "verifier %s: %s", v.Name, verdict.Reason)
		}
	}
	return nil
}

// newBytes is what the node's share of a segment adds to what it keeps for the owner. Runs that it keeps for others
// count: their bytes are to come once more, since who knows a hash need not have them.
func (t *Target) newBytes(seg *Segment) (bytes core.Size) {
	for run := range seg.Runs() {
		if !seg.mine.Has(run) {
			continue
		}
		if _, err := t.Holdings.RunOf(seg.Owner, seg.File(run).Hash); err != nil {
			bytes += seg.File(run).Size
		}
	}
	return bytes
}

// admit promises a segment its room, unless its task is known from another source: who learns a task's number must not
// have a part in it.
func (s *State) admit(seg *Segment, need core.Size) error {
	other := s.transfers.Coordinates(seg.Task)
	for id, known := range s.segments {
		other = other || id.Task == seg.Task && (known.Source != seg.Source || known.Owner != seg.Owner)
	}
	if other {
		return refuse(core.ReasonLicense, "task %s is known here from another source", seg.Task)
	}
	if err := s.inTerm(seg.Owner, seg.Alias, seg.Version, seg.Term); err != nil {
		return err
	}
	known := s.segments[seg.ID()]
	if err := s.target.refuses(); err != nil && (need > 0 || known == nil) { // what it keeps already others may get of it
		return err
	}
	switch {
	case known != nil && known.LicenseID == seg.LicenseID:
		return nil
	case known == nil && seg.mine.Empty():
		return refuse(core.ReasonProtocol, "nothing of segment %d is for this node", seg.Number)
	}
	words := wordsOf(seg)
	if known != nil { // a further licence; the run list is here
		words, need = core.Size(len(seg.License))+runWords, 0
	}
	if err := s.mayWrite(seg.Owner, words); err != nil {
		return err
	}
	s.write(seg, words)
	err := s.promise(seg, need)
	if err != nil {
		s.write(seg, -seg.words)
	}
	return err
}

// register makes an accepted segment known; one known before takes on what its source adds with a further licence, and
// nothing from a carrier that shows it again: a licence does not say who keeps what.
func (s *State) register(seg *Segment, from core.ID) *Segment {
	old, ok := s.segments[seg.ID()]
	if !ok {
		s.segments[seg.ID()] = seg
		return seg
	}
	s.dropPromises(seg)
	words := seg.words
	s.write(seg, -words)
	s.write(old, words) // its licence stands in the ledger, whatever becomes of it
	if from != old.Source || seg.turn < old.turn {
		return old
	}
	old.turn = seg.turn
	if old.LicenseID != seg.LicenseID {
		for i := range old.mine { // what is here, or on its way, stays; the rest is as the source says now
			kept := old.mine[i] & old.have[i]
			old.moved[i] = (old.moved[i] | old.mine[i]&^kept) &^ seg.mine[i]
			old.mine[i] = kept | seg.mine[i]
		}
		for run := range old.arriving { // a run that does not arrive after all goes then: see Receiver.Requeue
			old.mine.Set(run)
		}
		s.trimPromise(old)
		old.Locations, old.License, old.LicenseID = seg.Locations, seg.License, seg.LicenseID
		old.parties, old.LockedUntil, old.Term = seg.parties, max(old.LockedUntil, seg.LockedUntil), seg.Term
		s.transfers.Narrowed(old)
	}
	old.tables, old.touched = seg.tables, time.Now()
	return old
}

// evict lets go of what others keep here under the ID of a task that says whose it is: they learned it, and were first.
func (t *Target) evict(seg *Segment) error {
	if !seg.Task.IsOf(seg.Owner) {
		return nil
	}
	var others []core.ID
	t.loop.Ask(func(s *State) {
		for id, known := range s.segments {
			if id.Task == seg.Task && known.Owner != seg.Owner && !slices.Contains(others, known.Owner) {
				others = append(others, known.Owner)
			}
		}
	})
	for _, owner := range others {
		t.Log.Warn("a task's ID was used by another than its owner", "task", seg.Task, "owner", seg.Owner.Short(),
			"other", owner.Short())
		_, _, err := t.letGo(owner, seg.Task, func() error {
			return t.discharge(core.Discharge{Why: core.WhyExpired, Owner: owner, Task: seg.Task,
				Note: "the ID is of another owner's task"})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// adoptKnown keeps, for the new task too, those of the lacking runs that an earlier task of the owner brought here.
func (t *Target) adoptKnown(seg *Segment, lacks core.Bitmap) ([]arrival, error) {
	var known []arrival
	for run := range seg.Runs() {
		if !lacks.Has(run) {
			continue
		}
		a, there, err := t.adopt(seg, run)
		if err != nil {
			for _, a := range known {
				t.pins.Release(a.pinned)
			}
			return nil, fmt.Errorf("look up run %d: %w", run, err)
		}
		if there {
			known = append(known, a)
		}
	}
	return known, nil
}

// adopt pins what a segment needs of a run that an earlier task of its owner brought here; there is false where that is
// not here. A run that others had brought is no proof that this owner has it.
func (t *Target) adopt(seg *Segment, run int) (a arrival, there bool, err error) {
	file := seg.File(run)
	known, err := t.Holdings.RunOf(seg.Owner, file.Hash)
	switch {
	case errors.Is(err, core.ErrNotFound):
		return a, false, nil
	case err != nil:
		return a, false, err
	case known.File.Size != file.Size:
		return a, false, refuse(core.ReasonProtocol, "it has %d bytes, not %d", known.File.Size, file.Size)
	}
	h := core.Holding{Task: seg.Task, Segment: seg.Number, Number: run, File: file, Chunks: known.Chunks,
		Kept: seg.used(run, len(known.Chunks))}
	there, err = t.pins.If(t.ctx, h.Needed(), storage.Lean(t.Keeping))
	return arrival{segment: seg.ID(), holding: h, pinned: h.Needed()}, there, err
}
