// SPDX-License-Identifier: Apache-2.0

package placements

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/version"
	"github.com/bkp-tool/bkp/core/wire"
)

// Standing is where a placement stands: what was asked of whom, and what came of it. It is plain data.
type Standing struct {
	Task     core.TaskID
	Source   core.ID // has the bytes of new runs
	Segments []*Segment
	Offers   []int                 // segments that are shown to their targets in this round
	Offered  int                   // how many of them were
	Barred   map[core.ID]string    // nodes that get nothing new, and why
	Lost     map[core.ID]time.Time // targets that are away, since when
	Failed   map[core.ID]string    // targets that were given up, and why
	NoMore   map[core.ID]bool      // of those: they refused a further licence, and keep what they agreed to before
	Doubted  map[core.ID]bool      // of those: they did not prove to have what they gave receipts for
	Refs     map[core.ID]bool      // targets that took the ref and its records
	Finished map[core.ID]time.Time // when a target's last receipt came
	Began    time.Time             // when the data began to move; zero before
	Last     time.Time             // when the last receipt came, or copies were dealt anew
	Dealt    bool                  // copies were dealt anew: the segments say who keeps what, not the plan
}

// NewStanding is that of a placement of which nobody was told yet.
func NewStanding(task core.TaskID, source core.ID, segments []*Segment) *Standing {
	s := &Standing{Task: task, Source: source, Segments: segments, Barred: map[core.ID]string{},
		Lost: map[core.ID]time.Time{}, Failed: map[core.ID]string{}, NoMore: map[core.ID]bool{},
		Doubted: map[core.ID]bool{}, Refs: map[core.ID]bool{}, Finished: map[core.ID]time.Time{}}
	s.Offer(segments)
	return s
}

// Segment is one segment of a placement: what is asked of whom, and what came of it.
type Segment struct {
	Number   int
	Runs     []version.Run    // new, then reused
	Stripes  []core.Stripe    // of Runs
	Held     [][]int          // by run: nodes of the snapshot that keep it for another task; nil where none does
	Fresh    int              // how many of them are new
	Of       []byte           // the owner's licence of them, where who coordinates it is not the owner
	Message  wire.StorageTask // as its targets are shown it: its Locations say who is to keep what
	Targets  []core.ID
	Licenses []core.LicenseID        // all that were issued for it
	Told     map[core.ID]bool        // who was ever shown it, but for those who wanted none of it
	Has      map[core.ID]core.Bitmap // by who ever agreed: the runs that it said last that it has
	Had      map[core.ID]core.Bitmap // by who was told: the runs that it had when the data began to move
	Answers  map[core.ID]Answer      // to the licence that was shown last
	Receipts map[core.ID]core.Bitmap // by target: runs
	Proofs   map[core.ID]core.Bitmap // by target: runs that it proved to have, after their receipts
}

// NewSegment is one of a task's segments: of its runs those come first that the task brings itself.
func NewSegment(task core.TaskID, alias string, version, number int, runs []version.Run) *Segment {
	s := &Segment{Number: number, Runs: runs, Told: map[core.ID]bool{}, Has: map[core.ID]core.Bitmap{},
		Answers: map[core.ID]Answer{}, Receipts: map[core.ID]core.Bitmap{}}
	s.Message = wire.StorageTask{Task: task, Segment: number, Alias: alias, Version: version}
	for _, r := range runs {
		if r.Task == task {
			s.Fresh++
			s.Message.Files = append(s.Message.Files, r.File)
		} else {
			s.Message.Reused = append(s.Message.Reused, core.Reused{File: r.File, Task: r.Task, Chunks: r.Kept()})
		}
	}
	return s
}

// Answer is what a target said to a segment.
type Answer struct {
	Agreed bool
	Have   core.Bitmap // runs that it has already, where it agreed
	Code   core.Reason // why it refused
	Reason string
}

// Share is the numbers of the runs that a target is to keep.
func (s *Segment) Share(target core.ID) (runs []int) {
	for _, span := range s.Message.Locations {
		if span.Node == target {
			for run := span.Start; run < span.Start+span.Length; run++ {
				runs = append(runs, run)
			}
		}
	}
	return runs
}

// shares is Share of every target, as bitmaps.
func (s *Segment) Shares() map[core.ID]core.Bitmap {
	shares := map[core.ID]core.Bitmap{}
	for _, target := range s.Targets {
		shares[target] = core.NewBitmap(len(s.Runs))
		for _, run := range s.Share(target) {
			shares[target].Set(run)
		}
	}
	return shares
}

// receipted reports whether anybody signed for a run.
func (s *Segment) Signed(run int) bool {
	for _, runs := range s.Receipts {
		if runs.Has(run) {
			return true
		}
	}
	return false
}

// Unreceipted is the runs that a target keeps, or is to keep, without a receipt.
func (s *Segment) Unreceipted(target core.ID) (runs []int) {
	for _, run := range s.Share(target) {
		if !s.Receipts[target].Has(run) {
			runs = append(runs, run)
		}
	}
	return runs
}

func (s *Segment) Complete(target core.ID) bool { return len(s.Unreceipted(target)) == 0 }

// Bounds is the most that one target is to keep of it.
func (s *Segment) Bounds() (bytes core.Size, runs int) {
	for _, target := range s.Targets {
		share := s.Share(target)
		bytes, runs = max(bytes, s.SizeOf(share)), max(runs, len(share))
	}
	return bytes, runs
}

func (s *Segment) SizeOf(runs []int) (bytes core.Size) {
	for _, run := range runs {
		bytes += s.Runs[run].Size
	}
	return bytes
}

// Kept is who keeps which runs, by receipts and proofs.
func (s *Segment) Kept() (spans []core.Span) {
	for _, target := range s.Targets {
		var kept []int
		s.Proofs[target].Each(func(run int) { kept = append(kept, run) }) // also what others were asked for meanwhile
		for _, r := range core.Ranges(kept) {
			spans = append(spans, core.Span{Node: target, Start: r.Start, Length: r.Length})
		}
	}
	return spans
}

// add has a node among the targets.
func (s *Segment) Add(target core.ID) {
	if !slices.Contains(s.Targets, target) {
		s.Targets = append(s.Targets, target)
	}
	if s.Receipts[target] == nil {
		s.Receipts[target] = core.NewBitmap(len(s.Runs))
	}
	if s.Proofs == nil {
		s.Proofs = map[core.ID]core.Bitmap{}
	}
	if s.Proofs[target] == nil {
		s.Proofs[target] = core.NewBitmap(len(s.Runs))
	}
}

// unproved is the runs for which a target gave receipts, and no proof after them.
func (s *Segment) Unproved(target core.ID) (runs []int) {
	s.Receipts[target].Each(func(run int) {
		if !s.Proofs[target].Has(run) {
			runs = append(runs, run)
		}
	})
	return runs
}

// uncounted is the runs that a target keeps, or is to keep, without receipt and proof.
func (s *Segment) uncounted(target core.ID) (runs []int) {
	for _, run := range s.Share(target) {
		if !s.Proofs[target].Has(run) {
			runs = append(runs, run)
		}
	}
	return runs
}

// Show counts a segment of this round as shown to its targets.
func (s *Standing) Show() *Segment {
	seg := s.Segments[s.Offers[s.Offered]]
	s.Offered++
	for _, id := range seg.Targets {
		seg.Told[id] = true
	}
	return seg
}

// Offer begins a round in which segments are shown to their targets, whose earlier answers do not count any more.
func (s *Standing) Offer(segments []*Segment) {
	s.Offers, s.Offered = nil, 0
	for _, seg := range segments {
		s.Offers = append(s.Offers, seg.Number)
		clear(seg.Answers)
	}
}

// Answered takes a target's answer to a segment and reports whether it is one. Who refuses a further licence keeps what
// it agreed to before.
func (s *Standing) Answered(from core.ID, segment int, a Answer) bool {
	if segment < 0 || segment >= len(s.Segments) || !slices.Contains(s.Segments[segment].Targets, from) {
		return false
	}
	seg := s.Segments[segment]
	_, agreed := seg.Has[from]
	switch {
	case a.Agreed:
		seg.Told[from], seg.Has[from] = true, a.Have
	case !agreed:
		delete(seg.Told, from)
	}
	if a.Agreed || !seg.Answers[from].Agreed {
		seg.Answers[from] = a
	}
	return true
}

// Lose takes receipts back of targets that agreed in this round and said that they have less than they signed for.
func (s *Standing) Lose() (lost []Loss) {
	for _, seg := range s.Shown() {
		for _, target := range seg.Targets {
			if !seg.Answers[target].Agreed {
				continue
			}
			var runs []int
			seg.Receipts[target].Each(func(run int) {
				if !seg.Has[target].Has(run) {
					runs = append(runs, run)
				}
			})
			for _, run := range runs {
				seg.Receipts[target].Clear(run)
			}
			if len(runs) > 0 {
				lost = append(lost, Loss{target, seg.Number, core.Ranges(runs)})
			}
		}
	}
	return lost
}

// Loss is runs of a segment that a target has no more.
type Loss struct {
	Target  core.ID
	Segment int
	Runs    []core.Range
}

// Refusal is a target's no.
type Refusal struct {
	Target  core.ID
	Segment int
	Answer
}

// offered is the segments of this round, and shown those of them that were.
func (s *Standing) Offering() (segments []*Segment) {
	for _, number := range s.Offers {
		segments = append(segments, s.Segments[number])
	}
	return segments
}

func (s *Standing) Shown() []*Segment { return s.Offering()[:s.Offered] }

// Asked is what a target was shown in this round, and what of that it agreed to.
func (s *Standing) Asked(target core.ID) (asked, agreed core.Size) {
	for _, seg := range s.Shown() {
		share := seg.SizeOf(seg.Share(target))
		if asked += share; seg.Answers[target].Agreed {
			agreed += share
		}
	}
	return asked, agreed
}

// Targets is who is to keep something of it.
func (s *Standing) Targets() (ids []core.ID) {
	for _, seg := range s.Segments {
		for _, id := range seg.Targets {
			if !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// Unreceipted asks a target for the receipts that it has not given.
func (s *Standing) Unreceipted(target core.ID) (asks []wire.Want) {
	for _, seg := range s.Segments {
		if missing := seg.Unreceipted(target); len(missing) > 0 {
			asks = append(asks, wire.Want{Task: s.Task, Segment: seg.Number, Wanted: core.Ranges(missing)})
		}
	}
	return asks
}

// Idle is who was told of a segment and is to keep nothing of it any more, as a journal notes it.
func (s *Standing) Idle(now time.Time) (entries []Entry) {
	for _, seg := range s.Segments {
		for _, id := range core.Sorted(seg.Told) {
			if len(seg.Share(id)) == 0 && len(seg.Licenses) > 0 {
				entries = append(entries, Entry{What: Told, Node: id, Segment: seg.Number,
					License: seg.Licenses[len(seg.Licenses)-1], Time: now.Unix()})
			}
		}
	}
	return entries
}

// Missing is who has not answered something that was offered, and who refused it, each with its first such segment.
func (s *Standing) Missing() (missing map[core.ID]int, refused []Refusal) {
	missing = map[core.ID]int{}
	for _, seg := range s.Shown() {
		for _, target := range seg.Targets {
			a, answered := seg.Answers[target]
			_, also := missing[target]
			switch {
			case !answered && !also:
				missing[target] = seg.Number
			case answered && !a.Agreed &&
				!slices.ContainsFunc(refused, func(r Refusal) bool { return r.Target == target }):
				refused = append(refused, Refusal{target, seg.Number, a})
			}
		}
	}
	return missing, refused
}

// Open is how many answers to what was offered are missing.
func (s *Standing) Open() (open int) {
	for _, seg := range s.Shown() {
		for _, target := range seg.Targets {
			if _, answered := seg.Answers[target]; !answered {
				open++
			}
		}
	}
	return open
}

// Bound is who agreed to something that it was shown, or may have; bare leaves out who has something of it.
func (s *Standing) Bound(bare bool) (nodes []core.ID) {
	for _, seg := range s.Segments {
		for _, id := range core.Sorted(seg.Told) {
			if !slices.Contains(nodes, id) && !(bare && s.has(id)) {
				nodes = append(nodes, id)
			}
		}
	}
	return nodes
}

// has reports whether a node has something, by its own word.
func (s *Standing) has(id core.ID) bool {
	return slices.ContainsFunc(s.Segments, func(seg *Segment) bool {
		return !seg.Receipts[id].Empty() || !seg.Has[id].Empty()
	})
}

// Expects returns nil where a receipt is a target's, for a segment of this placement and under one of its licences.
func (s *Standing) Expects(r core.Receipt) error {
	if r.Task != s.Task || r.Segment < 0 || r.Segment >= len(s.Segments) ||
		!slices.Contains(s.Segments[r.Segment].Targets, r.Target) {
		return fmt.Errorf("a receipt of %s for segment %d of task %s, which it was not given", r.Target.Short(),
			r.Segment, r.Task)
	}
	if !slices.Contains(s.Segments[r.Segment].Licenses, r.License) {
		return fmt.Errorf("a receipt of %s under licence %s, which was not issued for segment %d", r.Target.Short(),
			r.License, r.Segment)
	}
	return nil
}

// Receipted marks what a target keeps; the receipt is one that is expected.
func (s *Standing) Receipted(now time.Time, r core.Receipt) {
	seg := s.Segments[r.Segment]
	for _, x := range r.Runs {
		for run := max(0, x.Start); run < min(x.Start+x.Length, len(seg.Runs)); run++ {
			seg.Receipts[r.Target].Set(run)
		}
	}
	s.Last, s.Finished[r.Target] = now, now
}

// Proved marks what a target has proved to have.
func (s *Standing) Proved(target core.ID, segment int, runs []int) {
	seg := s.Segments[segment]
	for _, run := range runs {
		if seg.Receipts[target].Has(run) { // else it was refuted meanwhile
			seg.Proofs[target].Set(run)
		}
	}
}

// Refuted takes back what a target said that it keeps: runs of a segment, or, where none are named, everything, since
// its word is worth nothing.
func (s *Standing) Refuted(target core.ID, segment int, runs []core.Range) {
	for _, seg := range s.Segments {
		if seg.Proofs[target] == nil {
			continue
		}
		for run := range seg.Runs {
			if len(runs) == 0 || seg.Number == segment && core.InRanges(runs, run) {
				seg.Receipts[target].Clear(run)
				seg.Proofs[target].Clear(run)
			}
		}
	}
}

// Any reports whether anything is kept, by receipts and proofs.
func (s *Standing) Any() bool {
	return slices.ContainsFunc(s.Segments, func(seg *Segment) bool { return len(seg.Kept()) > 0 })
}

// Progress counts what has receipts, of all that is to be kept; ended is true when no target that is left lacks any.
func (s *Standing) Progress() (done, total core.Size, ended bool) {
	ended = true
	for _, seg := range s.Segments {
		for _, target := range seg.Targets {
			for _, run := range seg.Share(target) {
				total += seg.Runs[run].Size
				if seg.Receipts[target].Has(run) {
					done += seg.Runs[run].Size
				} else if s.Failed[target] == "" {
					ended = false
				}
			}
		}
	}
	return done, total, ended
}

// Sent is the payload of the copies that came to be since the data began to move.
func (s *Standing) Sent() (bytes core.Size) {
	for _, seg := range s.Segments {
		for _, target := range seg.Targets {
			for _, run := range seg.Share(target) {
				if seg.Receipts[target].Has(run) && !seg.Had[target].Has(run) {
					bytes += seg.Runs[run].Size
				}
			}
		}
	}
	return bytes
}

// Shortfall is the error for targets that failed; address is where one is reached, where that is known.
func (s *Standing) Shortfall(name string, address func(core.ID) string) error {
	var why []string
	for id, reason := range s.Failed {
		var missing core.Size
		for _, seg := range s.Segments {
			missing += seg.SizeOf(seg.uncounted(id))
		}
		if missing > 0 {
			why = append(why, fmt.Sprintf("%s lacks %s: %s", cmp.Or(address(id), id.Short()), missing, reason))
		}
	}
	if len(why) == 0 {
		return nil
	}
	slices.Sort(why)
	return core.WithHint(core.Fail(core.CodeRedundant, "not every copy was made (%s)", strings.Join(why, "; ")),
		"bkp place %s again: it places only what is missing, on the peers that are there then", name)
}

// Worse reports whether a run that was placed before, so many times, would have fewer copies by the proofs than it
// has, or than are wanted.
func (s *Standing) Worse(before map[core.Hash]int, replicas int) bool {
	for _, seg := range s.Segments {
		for run, copies := range seg.copies(func(core.ID) bool { return true }) {
			if copies < min(before[seg.Runs[run].Hash], replicas) {
				return true
			}
		}
	}
	return false
}

// copies is how many each run has by the proofs of some targets; of one in a stripe how many losses that bears, and
// one.
func (s *Segment) copies(of func(target core.ID) bool) []int {
	copies := make([]int, len(s.Runs))
	for run := range s.Runs {
		for _, target := range s.Targets {
			if of(target) && s.Proofs[target].Has(run) {
				copies[run]++
			}
		}
	}
	core.Endure(copies, s.Stripes)
	return copies
}

// Runs is how many runs there are in all segments.
func (s *Standing) Runs() (runs int) {
	for _, seg := range s.Segments {
		runs += len(seg.Runs)
	}
	return runs
}

// Striped reports whether any of its runs are in stripes.
func (s *Standing) Striped() bool {
	return slices.ContainsFunc(s.Segments, func(seg *Segment) bool { return len(seg.Stripes) > 0 })
}

// Counting is how many copies count of the run of which the fewest do: receipted, then proved, and with the ref there.
// Of a run in a stripe it is how many losses the stripe bears, and one.
func (s *Standing) Counting() (fewest int) {
	fewest = -1
	for _, seg := range s.Segments {
		if least := slices.Min(seg.copies(func(id core.ID) bool { return s.Refs[id] })); fewest < 0 || least < fewest {
			fewest = least
		}
	}
	return max(fewest, 0)
}

// Of is what a node is to keep, and how many of the runs have its receipt.
func (s *Standing) Of(node core.ID) (bytes core.Size, runs, receipts int) {
	for _, seg := range s.Segments {
		share := seg.Share(node)
		bytes, runs = bytes+seg.SizeOf(share), runs+len(share)
		receipts += seg.Receipts[node].Count(len(seg.Runs))
	}
	return bytes, runs, receipts
}

// Gained is what each node got of what was moved, or would get: by what it had before.
func (s *Standing) Gained() map[core.ID]core.Size {
	gained := map[core.ID]core.Size{}
	for _, seg := range s.Segments {
		for _, id := range seg.Targets {
			had := seg.Receipts[id]
			if seg.Had != nil {
				had = seg.Had[id]
			}
			for _, run := range seg.Share(id) {
				if !had.Has(run) {
					gained[id] += seg.Runs[run].Size
				}
			}
		}
	}
	return gained
}
