// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/license"
	"github.com/bkp-tool/bkp/core/wire"
)

// Segment is one segment of a task that this node accepted. The loop owns it: beside the loop only what its embedded
// core.Segment says of task, number and runs may be read, which never changes.
type Segment struct {
	core.Segment
	parties  []core.ID      // whom its licence names, beside its source
	mine     core.Bitmap    // runs that this node is to keep
	moved    core.Bitmap    // that it was to keep, and others do
	have     core.Bitmap    // of those, here
	durable  core.Bitmap    // of those, behind a barrier and receipted
	forgot   bool           // runs were found not to be here after all, and nobody was told
	arriving map[int]uint64 // flows by run
	tables   wire.StorageTask
	promised core.Size // room kept for runs that have not come yet
	words    core.Size // that its owner's account counts
	touched  time.Time
	turn     uint64   // of its last licence, in the order in which they came; judging takes different times
	receipts [][]byte // not yet delivered to the coordinator
}

// newSegment marks which runs are this node's.
func newSegment(s core.Segment, self core.ID) *Segment {
	seg := &Segment{Segment: s, arriving: map[int]uint64{}, touched: time.Now(),
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

// ID is which segment it is.
func (s *Segment) ID() core.SegmentID { return core.SegmentID{Task: s.Task, Number: s.Number} }

// Tables is what a relay needs of the task: Bandwidth, Trunks and TrunkShares.
func (s *Segment) Tables() wire.StorageTask { return s.tables }

// Has reports whether a run is here, durable or not.
func (s *Segment) Has(run int) bool { return s.have.Has(run) }

// Lacks reports whether a run is to be kept here and is not here yet.
func (s *Segment) Lacks(run int) bool { return s.mine.Has(run) && !s.have.Has(run) }

// Here calls visit for every run that is here.
func (s *Segment) Here(visit func(run int)) { s.have.Each(visit) }

// Durable reports whether a run is behind a barrier, and receipted.
func (s *Segment) Durable(run int) bool { return s.durable.Has(run) }

// Arriving is the runs that are on their way here.
func (s *Segment) Arriving() []core.Range { return core.Ranges(slices.Collect(maps.Keys(s.arriving))) }

// Complete reports whether all is here that is to be kept here.
func (s *Segment) Complete() bool {
	for i := range s.mine {
		if s.mine[i]&^s.have[i] != 0 {
			return false
		}
	}
	return true
}

// Missing is the bytes of what is to be kept here and is not here yet.
func (s *Segment) Missing() (bytes core.Size) {
	if s.Complete() {
		return 0 // most often, and told without a look at every run
	}
	for run := range s.Runs() {
		if s.Lacks(run) {
			bytes += s.File(run).Size
		}
	}
	return bytes
}

// Partakes reports whether a node is the segment's source, or its licence names it. What its locations say gives no
// right: nobody signed them.
func (s *Segment) Partakes(id core.ID) bool { return id == s.Source || slices.Contains(s.parties, id) }

// concerns reports whether a node is the segment's source, or is to keep some of it.
func (s *Segment) concerns(id core.ID) bool {
	return id == s.Source || slices.ContainsFunc(s.Locations, func(span core.Span) bool { return span.Node == id })
}

// share is what the node is to keep of the segment: stored bytes and runs.
func (s *Segment) share() (bytes core.Size, runs int) {
	for run := range s.Runs() {
		if s.mine.Has(run) {
			bytes += s.File(run).Size
			runs++
		}
	}
	return bytes, runs
}

// used is the chunks of a run that the task needs: all of a new run, the marked ones of a reused.
func (s *Segment) used(run, chunks int) core.Bitmap {
	if run < len(s.Files) {
		return core.FullBitmap(chunks)
	}
	return s.Reused[run-len(s.Files)].Chunks
}

// Segment is one that was accepted; nil where it was not.
func (s *State) Segment(task core.TaskID, number int) *Segment {
	return s.segments[core.SegmentID{Task: task, Number: number}]
}

// Segments is those that were accepted here.
func (s *State) Segments() iter.Seq[*Segment] { return maps.Values(s.segments) }

// Part is what of an owner a peer has a place in, by the licences that were accepted.
type Part struct {
	all   bool // it acts for the owner
	tasks map[core.TaskID]bool
	runs  map[core.Hash]bool
}

// WholeOf is the part of who acts for the owner.
var WholeOf = Part{all: true}

// PartOf is the part of a peer that does not act for the owner: tasks in which it takes part, and versions that are shared
// with it. Of their runs it has those alone that wanted names.
func (s *State) PartOf(owner, peer core.ID, shared func(alias string, version int) bool, wanted ...wire.GainRun) Part {
	p := Part{tasks: map[core.TaskID]bool{}, runs: map[core.Hash]bool{}}
	asked := map[core.Hash]bool{}
	for _, r := range wanted {
		asked[r.Hash] = true
	}
	for _, seg := range s.segments {
		if seg.Owner != owner || !seg.Partakes(peer) && !shared(seg.Alias, seg.Version) {
			continue
		}
		p.tasks[seg.Task] = true
		for run := 0; run < seg.Runs() && len(asked) > 0; run++ {
			if hash := seg.File(run).Hash; asked[hash] {
				p.runs[hash] = true
			}
		}
	}
	return p
}

// Empty reports whether it is no part at all.
func (p Part) Empty() bool { return !p.all && len(p.tasks) == 0 }

// run reports whether a run that was asked for belongs to it.
func (p Part) run(hash core.Hash) bool { return p.all || p.runs[hash] }

// ref reports whether the ref of a task belongs to it.
func (p Part) ref(r core.HeldRef) bool { return p.all || p.tasks[r.Task] }

// Met is told of a peer that messages can be sent to from now on.
func (s *State) Met(peer core.ID) {
	for _, id := range slices.SortedFunc(maps.Keys(s.segments), core.SegmentID.Compare) {
		seg := s.segments[id]
		s.deliver(seg)
		if !seg.Complete() && seg.concerns(peer) {
			s.transfers.Accepted(seg)
		}
	}
}

// recover reads back what was accepted and kept when the node last stopped. There is no loop yet.
func (s *State) recover() error {
	t := s.target
	segments, err := t.Holdings.Segments()
	if err != nil {
		return err
	}
	for _, stored := range segments {
		seg := newSegment(stored, t.Signer.ID())
		l, _, _, err := license.Open(stored.License)
		if err == nil {
			seg.parties = license.Parties(l)
		}
		kept, err := t.Holdings.Kept(stored.Task, stored.Number)
		if err != nil {
			return err
		}
		for _, h := range kept {
			seg.have.Set(h.Number)
			seg.durable.Set(h.Number)
		}
		s.segments[seg.ID()] = seg
		s.write(seg, wordsOf(seg))
		s.vouch(seg.Owner, core.ID{}, seg.Source)
		s.account(seg.Owner).permit = t.permitOf(l, time.Unix(l.NotBefore, 0)) // also one that ran out meanwhile
	}
	for owner := range s.accounts {
		told, err := t.readBooks(owner)
		if err != nil {
			return err
		}
		s.settle(owner, told, 0)
	}
	return nil
}

// forgetRuns has this node no longer claim runs whose bytes are gone.
func (s *State) forgetRuns(id core.SegmentID, runs []int) {
	seg := s.segments[id]
	if seg == nil {
		return
	}
	for _, run := range runs {
		if run < seg.Runs() {
			seg.forgot = seg.forgot || seg.have.Has(run)
			seg.have.Clear(run)
			seg.durable.Clear(run)
		}
	}
}

// forgetTask drops all of a task that was released.
func (s *State) forgetTask(owner core.ID, task core.TaskID) {
	for id, seg := range s.segments {
		if id.Task == task && seg.Owner == owner {
			s.dropPromises(seg)
			s.write(seg, -seg.words)
			delete(s.segments, id)
		}
	}
	s.transfers.Released(task)
}
