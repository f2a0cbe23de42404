package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/license"
	"github.com/bkp-tool/bkp/core/wire"
)

// verdictPatience is how long the whole chain of verifiers may take over one licence.
const verdictPatience = 20 * time.Second

type segmentKey struct {
	task   core.TaskID
	number int
}

// segment is one segment of a task that this node accepted as a target. Owned by the loop.
type segment struct {
	core.Segment
	mine     core.Bitmap // runs that this node is to keep
	moved    core.Bitmap // that it was to keep, and others do
	have     core.Bitmap // of those, received
	durable  core.Bitmap // of those, behind a barrier and receipted
	arriving map[int]uint64
	tables   wire.StorageTask // its Bandwidth, Trunks and TrunkShares only
	promised core.Size        // room kept for runs that have not come yet
	touched  time.Time
	turn     uint64   // of its last licence, in the order in which they came; judging takes different times
	receipts [][]byte // not yet delivered to the coordinator
}

// key of a segment.
func (s *segment) key() segmentKey { return segmentKey{s.Task, s.Number} }

// newSegment marks which runs are this node's.
func newSegment(s core.Segment, self core.ID) *segment {
	seg := &segment{Segment: s, arriving: map[int]uint64{}, touched: time.Now(),
		mine: core.NewBitmap(s.Runs()), moved: core.NewBitmap(s.Runs()), have: core.NewBitmap(s.Runs()),
		durable: core.NewBitmap(s.Runs())}
	for _, span := range s.Locations {
		if span.Node != self {
			continue
		}
		for run := span.Start; run < span.Start+span.Length; run++ {
			seg.mine.Set(run)
		}
	}
	return seg
}

// share is what the node is to keep of the segment: stored bytes and runs.
func (s *segment) share() (bytes core.Size, runs int) {
	for run := range s.Runs() {
		if s.mine.Has(run) {
			bytes += s.File(run).Size
			runs++
		}
	}
	return bytes, runs
}

// complete reports whether this node has all its runs. Loop only.
func (s *segment) complete() bool {
	for i := range s.mine {
		if s.mine[i]&^s.have[i] != 0 {
			return false
		}
	}
	return true
}

// missing is the bytes of the node's share that are not here yet. Loop only.
func (s *segment) missing() (bytes core.Size) {
	for run := range s.Runs() {
		if s.mine.Has(run) && !s.have.Has(run) {
			bytes += s.File(run).Size
		}
	}
	return bytes
}

// recover reads back what this node had accepted and kept when it last stopped.
func (n *Node) recover() error {
	segments, err := n.Holdings.Segments()
	if err != nil {
		return err
	}
	for _, s := range segments {
		seg := newSegment(s, n.ID())
		kept, err := n.Holdings.Kept(s.Task, s.Number)
		if err != nil {
			return err
		}
		for _, h := range kept {
			seg.have.Set(h.Number)
			seg.durable.Set(h.Number)
		}
		n.segments[seg.key()] = seg
	}
	return nil
}

// keepsTask reports whether a segment of the owner's task was accepted here from that source. Loop only.
func (n *Node) keepsTask(owner, source core.ID, task core.TaskID) bool {
	for _, s := range n.segments {
		if s.Task == task && s.Owner == owner && s.Source == source {
			return true
		}
	}
	return false
}

// refusal is why this node does not accept a segment.
type refusal struct {
	code   core.Reason
	reason string
}

func (r *refusal) Error() string { return r.reason }

func refuse(code core.Reason, format string, args ...any) error {
	return &refusal{code, fmt.Sprintf(format, args...)}
}

// onTask judges a segment and answers.
func (n *Node) onTask(p *peer, m wire.StorageTask) {
	from, member, rights := p.id, p.member(), p.rights
	turn := n.nextID()
	n.act(func() {
		seg, err := n.accept(m, from, member, rights)
		var lacks core.Bitmap
		if err == nil {
			n.ask(func() {
				seg.turn = turn
				seg = n.register(seg, m, from)
			})
			err = n.forgetGone(seg)
		}
		if err == nil {
			n.ask(func() {
				lacks = slices.Clone(seg.mine)
				seg.have.Each(lacks.Clear)
			})
		}
		var kept []arrival
		if err == nil {
			kept, err = n.adoptKnown(seg, lacks)
		}
		if err != nil {
			n.refuseTask(from, m, err)
			return
		}
		n.post(func() {
			for _, a := range kept {
				seg.have.Set(a.holding.Number)
			}
			n.trimPromise(seg)
			n.send(from, wire.TaskAgree{Task: m.Task, Segment: m.Segment, PredictedS: predicted(m.Bandwidth, n.ID()),
				Have: seg.have})
			n.take(seg)
			for _, a := range kept {
				n.arrived(seg, a.holding.Number, a.holding.Chunks)
			}
		})
		n.barriers.add(kept...)
	})
}

func (n *Node) refuseTask(to core.ID, m wire.StorageTask, err error) {
	answer := wire.TaskRefuse{Task: m.Task, Segment: m.Segment, Code: core.ReasonInternal, Reason: err.Error()}
	if r, ok := errors.AsType[*refusal](err); ok {
		answer.Code = r.code
	}
	n.Log.Warn("segment refused", "task", m.Task, "segment", m.Segment, "reason", answer.Reason)
	n.post(func() { n.send(to, answer) })
}

// maxSegments bounds a task: 1 PiB in the largest runs. The numbers of a flow's runs stay as small.
const maxSegments = 1 << 16

// accept checks a segment's licence, has every verifier judge it, promises it room, and makes the acceptance durable.
func (n *Node) accept(m wire.StorageTask, from core.ID, member bool, rights []key.Delegation) (*segment, error) {
	if err := n.Health.refusal(); err != nil {
		return nil, err
	}
	l, payload, signer, err := license.Open(m.License)
	if err != nil {
		return nil, refuse(core.ReasonLicense, "%v", err)
	}
	if l.Task != m.Task || l.Segment != m.Segment {
		return nil, refuse(core.ReasonLicense, "the licence is for segment %d of task %s", l.Segment, l.Task)
	}
	if m.Segment >= maxSegments {
		return nil, refuse(core.ReasonProtocol, "segment %d of a task, which has at most %d", m.Segment, maxSegments)
	}
	root := segmentRoot(m.Files, m.Reused)
	seg := newSegment(core.Segment{
		Task: m.Task, Number: m.Segment, Owner: l.TaskSource.Owner, Source: l.TaskSource.Node, Alias: m.Alias,
		Version: m.Version,
		License: m.License, LicenseID: l.ID, Files: m.Files, Reused: m.Reused, Locations: m.Locations,
		RetainUntil: l.RetainUntil,
	}, n.ID())
	seg.tables = tables(m)
	bytes, runs := seg.share()
	err = license.Check(l, signer, license.Claim{
		Peer: from, Node: n.ID(), Root: root, Bytes: bytes, Runs: runs, Now: time.Now(),
		OpenDelegation: key.DelegationFields,
	})
	if err != nil {
		return nil, refuse(core.ReasonLicense, "%v", err)
	}
	if err := n.judge(core.VerifyRequest{
		Envelope: m.License, Payload: payload, Op: l.Op, Node: n.ID(), Peer: from, TokenMember: member || n.Plaintext &&
			len(n.Token) == 0,
		AddedBytes: n.newBytes(seg), Now: time.Now().Unix(),
	}, l.TaskSource.Owner); err != nil {
		return nil, err
	}
	need := n.roomFor(seg)
	err = n.makeRoom(func() error {
		err := errStopped
		n.ask(func() {
			if err = n.ofOneSource(seg); err == nil && n.segments[seg.key()] == nil {
				err = n.promise(seg, need)
			}
		})
		return err
	})
	if err == nil {
		if err = n.bind(seg, root); err != nil {
			n.ask(func() { n.dropPromises(seg) })
		}
	}
	return seg, err
}

// ofOneSource refuses a segment of a task that this node knows from another source: who learns a task's number must not
// have a part in it. Loop only.
func (n *Node) ofOneSource(seg *segment) error {
	other := n.places[seg.Task] != nil
	for key, known := range n.segments {
		other = other || key.task == seg.Task && (known.Source != seg.Source || known.Owner != seg.Owner)
	}
	if other {
		return refuse(core.ReasonLicense, "task %s is known here from another source", seg.Task)
	}
	return nil
}

// bind makes an acceptance durable.
func (n *Node) bind(seg *segment, root core.Hash) error {
	replayed := refuse(core.ReasonReplay, "licence %s is bound to another root", seg.LicenseID)
	free, err := n.enterLicense(seg, root)
	if err != nil {
		return fmt.Errorf("enter licence in the ledger: %w", err)
	}
	if !free {
		return replayed
	}
	defer n.binding.done(seg.LicenseID)
	if err := n.Ledger.Sync(); err != nil {
		return fmt.Errorf("enter licence in the ledger: %w", err)
	}
	bound, err := n.Holdings.PutSegment(seg.Segment, root)
	if err != nil {
		return fmt.Errorf("keep licence: %w", err)
	}
	if !bound {
		return replayed
	}
	return nil
}

// binding is the licences that are being accepted: from when they go to the ledger until the holdings have their
// segments, so that no segment is ever without its licence.
type binding struct {
	mu    sync.Mutex
	roots map[core.LicenseID][]core.Hash // all the same; one for each who is at it
}

func (b *binding) done(id core.LicenseID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.roots[id] = b.roots[id][1:]; len(b.roots[id]) == 0 {
		delete(b.roots, id)
	}
}

// enterLicense appends a licence to the ledger, unless its id is bound to another root.
func (n *Node) enterLicense(seg *segment, root core.Hash) (free bool, err error) {
	b := &n.binding
	b.mu.Lock()
	defer b.mu.Unlock()
	known, err := n.Holdings.Bound(seg.LicenseID)
	if err != nil {
		return false, err
	}
	if others := b.roots[seg.LicenseID]; len(others) > 0 {
		known = others[0]
	}
	if !known.IsZero() && known != root {
		return false, nil
	}
	if err := n.Ledger.AppendLicense(seg.License); err != nil {
		return false, err
	}
	if b.roots == nil {
		b.roots = map[core.LicenseID][]core.Hash{}
	}
	b.roots[seg.LicenseID] = append(b.roots[seg.LicenseID], root)
	return true, nil
}

// roomFor is what the node's share of a segment takes beyond the runs that are kept here for any task.
func (n *Node) roomFor(seg *segment) (room core.Size) {
	for run := range seg.Runs() {
		if !seg.mine.Has(run) {
			continue
		}
		if _, err := n.Holdings.Run(seg.File(run).Hash); err != nil {
			room += seg.File(run).Size
		}
	}
	return room
}

// newBytes is what the node's share of a segment adds to what it keeps.
func (n *Node) newBytes(seg *segment) (added core.Size) {
	for run := range seg.Runs() {
		if !seg.mine.Has(run) {
			continue
		}
		if _, err := n.Holdings.RunOf(seg.Owner, seg.File(run).Hash); err != nil {
			added += seg.File(run).Size
		}
	}
	return added
}

// judge asks every verifier; the first that says no, or cannot say, decides.
func (n *Node) judge(req core.VerifyRequest, owner core.ID) error {
	used, err := n.Holdings.OwnerBytes(owner)
	if err != nil {
		return fmt.Errorf("count the owner's bytes: %w", err)
	}
	req.UsedBytes = used
	ctx, cancel := context.WithTimeout(n.ctx, verdictPatience)
	defer cancel()
	for _, v := range n.Verifiers {
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

// register makes an accepted segment known to the loop; one known before takes on what its source adds with a further
// licence, and nothing from a carrier that shows it again: a licence does not say who keeps what. Loop only.
func (n *Node) register(seg *segment, m wire.StorageTask, from core.ID) *segment {
	old, ok := n.segments[seg.key()]
	if !ok {
		n.segments[seg.key()] = seg
		return seg
	}
	n.dropPromises(seg)
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
		for run := range old.arriving { // a run that does not arrive after all is let go of then: see keeper.requeue
			old.mine.Set(run)
		}
		n.trimPromise(old)
		old.Locations, old.License, old.LicenseID = seg.Locations, seg.License, seg.LicenseID
		if s := n.swarms[seg.Task]; s != nil && s.pieces[seg.Number] != nil {
			s.narrow(s.pieces[seg.Number], seg.Locations)
		}
	}
	old.tables, old.touched = tables(m), time.Now()
	return old
}

// adoptKnown keeps, for the new task too, those of the lacking runs that an earlier task brought here. It is no event
// of the loop, and reads only what never changes of the segment.
func (n *Node) adoptKnown(seg *segment, lacks core.Bitmap) ([]arrival, error) {
	var kept []arrival
	for run := range seg.Runs() {
		if !lacks.Has(run) {
			continue
		}
		file := seg.File(run)
		known, err := n.Holdings.Run(file.Hash)
		if errors.Is(err, core.ErrNotFound) {
			continue
		}
		if err == nil && known.File.Size != file.Size {
			err = refuse(core.ReasonProtocol, "it has %d bytes, not %d", known.File.Size, file.Size)
		}
		if err != nil {
			for _, a := range kept {
				n.keptPins.Release(a.claimed)
			}
			return nil, fmt.Errorf("look up run %d: %w", run, err)
		}
		h := core.Holding{Task: seg.Task, Segment: seg.Number, Number: run, File: file, Chunks: known.Chunks,
			Kept: used(seg, run, len(known.Chunks))}
		there, err := n.keptPins.If(n.ctx, h.Needed(), n.Keeping.Has)
		if err != nil {
			for _, a := range kept {
				n.keptPins.Release(a.claimed)
			}
			return nil, fmt.Errorf("look up run %d: %w", run, err)
		}
		if there {
			kept = append(kept, arrival{key: seg.key(), holding: h, claimed: h.Needed()})
		}
	}
	return kept, nil
}

// used is the chunks of a run that the task needs: all of a new run, the marked ones of a reused.
func used(seg *segment, run, chunks int) core.Bitmap {
	if run < len(seg.Files) {
		return core.FullBitmap(chunks)
	}
	return seg.Reused[run-len(seg.Files)].Chunks
}

// tables is what a relay needs of a task after it was accepted.
func tables(m wire.StorageTask) wire.StorageTask {
	return wire.StorageTask{Bandwidth: m.Bandwidth, Trunks: m.Trunks, TrunkShares: m.TrunkShares}
}

// predicted is how long the flows to this node take at the rates of the bandwidth table, in seconds.
func predicted(table []wire.BandwidthRow, self core.ID) (seconds float64) {
	for _, row := range table {
		if row.To == self && row.Rate > 0 {
			seconds = max(seconds, row.Rate.Payload().Seconds(row.Bytes))
		}
	}
	return seconds
}

// segmentRoot is the root that a licence names: a run hash over the segment's runs.
func segmentRoot(files []core.File, reused []core.Reused) core.Hash {
	runs := make([]core.Chunk, 0, len(files)+len(reused))
	for _, f := range files {
		runs = append(runs, core.Chunk{Hash: f.Hash, Size: f.Size})
	}
	for _, r := range reused {
		runs = append(runs, core.Chunk{Hash: r.Hash, Size: r.Size})
	}
	return chunk.RunHash(runs)
}
