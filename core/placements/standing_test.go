// SPDX-License-Identifier: Apache-2.0

package placements

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/version"
	"pgregory.net/rapid"
)

var a, b, c, d = core.ID{1}, core.ID{2}, core.ID{3}, core.ID{4}

// twoSegments is of four runs and of two: b and c keep the first, b and d the second.
func twoSegments() *Standing {
	segment := func(number, runs int, targets ...core.ID) *Segment {
		s := &Segment{Number: number, Fresh: runs, Answers: map[core.ID]Answer{}, Told: map[core.ID]bool{},
			Has:      map[core.ID]core.Bitmap{},
			Receipts: map[core.ID]core.Bitmap{}, Licenses: []core.LicenseID{{byte(number + 1)}}}
		for run := range runs {
			file := core.File{Size: 100, Hash: core.Hash{byte(number), byte(run)}}
			s.Runs = append(s.Runs, version.Run{Run: core.Run{File: file}})
		}
		for _, id := range targets {
			s.Message.Locations = append(s.Message.Locations, core.Span{Node: id, From: a, Length: runs})
			s.Add(id)
		}
		return s
	}
	return NewStanding(core.TaskID{9}, a, []*Segment{segment(0, 4, b, c), segment(1, 2, b, d)})
}

func TestAnswers(t *testing.T) {
	yes := func(have ...int) Answer {
		m := core.NewBitmap(4)
		for _, run := range have {
			m.Set(run)
		}
		return Answer{Agreed: true, Have: m}
	}
	no := Answer{Code: core.ReasonSpace, Reason: "full"}
	type said struct {
		from    core.ID
		segment int
		Answer
	}
	for _, test := range []struct {
		name    string
		offered int
		said    []said
		missing int
		refused []core.ID
		bound   []core.ID
	}{
		{"nobody was asked", 0, nil, 0, nil, nil},
		{"nobody has answered", 2, nil, 4, nil, []core.ID{b, c, d}},
		{"one has", 1, []said{{b, 0, yes(1)}}, 1, nil, []core.ID{b, c}},
		{"all have", 2, []said{{b, 0, yes()}, {c, 0, yes()}, {b, 1, yes()}, {d, 1, yes()}}, 0, nil,
			[]core.ID{b, c, d}},
		{"one refuses", 2, []said{{b, 0, yes()}, {c, 0, no}, {b, 1, yes()}}, 1, []core.ID{c}, []core.ID{b, d}},
		{"two refuse", 2, []said{{d, 1, no}, {c, 0, no}}, 2, []core.ID{c, d},
			[]core.ID{b}},
		{"a no after a yes changes nothing", 1, []said{{b, 0, yes()}, {b, 0, no}, {c, 0, yes()}}, 0, nil,
			[]core.ID{b, c}},
		{"a yes after a no counts", 1, []said{{b, 0, no}, {b, 0, yes()}, {c, 0, yes()}}, 0, nil, []core.ID{b, c}},
		{"of who was not asked", 1, []said{{d, 0, no}, {b, 7, no}, {b, -1, no}}, 2, nil, []core.ID{b, c}},
	} {
		s := twoSegments()
		for range test.offered {
			s.Show()
		}
		for _, x := range test.said {
			s.Answered(x.from, x.segment, x.Answer)
		}
		_, refusals := s.Missing()
		var refused []core.ID
		for _, r := range refusals {
			refused = append(refused, r.Target)
		}
		bound := slices.SortedFunc(slices.Values(s.Bound(false)), core.ID.Compare)
		if missing := s.Open(); missing != test.missing || !slices.Equal(refused, test.refused) ||
			!slices.Equal(bound, test.bound) {
			t.Errorf("%s: %d missing, refused by %v, bound %v; want %d, %v, %v", test.name, missing, refused, bound,
				test.missing, test.refused, test.bound)
		}
	}
}

func TestReceiptsThatAreExpected(t *testing.T) {
	good := core.Receipt{Task: core.TaskID{9}, Segment: 1, Target: d, License: core.LicenseID{2},
		Runs: []core.Range{{Start: 0, Length: 2}}}
	for _, test := range []struct {
		name   string
		change func(*core.Receipt)
		ok     bool
	}{
		{"as it should be", func(*core.Receipt) {}, true},
		{"another task", func(r *core.Receipt) { r.Task = core.TaskID{8} }, false},
		{"a segment that is not there", func(r *core.Receipt) { r.Segment = 2 }, false},
		{"a segment below none", func(r *core.Receipt) { r.Segment = -1 }, false},
		{"a target of another segment", func(r *core.Receipt) { r.Target = c }, false},
		{"the licence of another segment", func(r *core.Receipt) { r.License = core.LicenseID{1} }, false},
	} {
		r := good
		test.change(&r)
		if err := twoSegments().Expects(r); (err == nil) != test.ok {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// TestReceiptBeyondTheSegment: what a receipt names that is not there does no harm.
func TestReceiptBeyondTheSegment(t *testing.T) {
	s := twoSegments()
	s.Receipted(time.Unix(5, 0), core.Receipt{Segment: 1, Target: d,
		Runs: []core.Range{{Start: 1, Length: 1 << 40}, {Start: -3, Length: 2}}})
	if s.Any() {
		t.Error("what was not proved is kept")
	}
	s.Proved(d, 1, []int{0, 1})
	if got := s.Segments[1].Kept(); !slices.Equal(got, []core.Span{{Node: d, Start: 1, Length: 1}}) {
		t.Errorf("kept %v", got)
	}
	if !s.Any() || s.Finished[d] != time.Unix(5, 0) || s.Last != time.Unix(5, 0) {
		t.Errorf("%v, finished %v, last %v", s.Any(), s.Finished, s.Last)
	}
}

// TestPlacedBeforeIsNotMadeWorse: of a reused run no fewer copies may stay on record.
func TestPlacedBeforeIsNotMadeWorse(t *testing.T) {
	s := twoSegments()
	s.Segments[0].Fresh = 3 // its last run is reused
	hash := s.Segments[0].Runs[3].Hash
	for _, test := range []struct {
		before, replicas int
		proofs           []core.ID
		worse            bool
	}{
		{2, 2, nil, true}, {2, 2, []core.ID{b}, true}, {2, 2, []core.ID{b, c}, false},
		{1, 2, []core.ID{b}, false}, {2, 1, []core.ID{c}, false}, {0, 2, nil, false},
	} {
		for _, id := range []core.ID{b, c} {
			s.Segments[0].Proofs[id] = core.NewBitmap(4)
		}
		for _, id := range test.proofs {
			s.Segments[0].Proofs[id].Set(3)
		}
		if got := s.Worse(map[core.Hash]int{hash: test.before}, test.replicas); got != test.worse {
			t.Errorf("%d before, %d wanted, %d proofs: worse %v", test.before, test.replicas, len(test.proofs), got)
		}
	}
}

// TestStandingIsPlainData: it can be written down and read again.
func TestStandingIsPlainData(t *testing.T) {
	s := twoSegments()
	s.Offered, s.Began, s.Failed[c], s.NoMore[c] = 2, time.Unix(100, 0).UTC(), "closed", true
	s.Answered(c, 0, Answer{Code: core.ReasonSpace, Reason: "full"})
	s.Receipted(time.Unix(101, 0).UTC(), core.Receipt{Segment: 1, Target: d, Runs: []core.Range{{Length: 2}}})
	raw, err := json.Marshal(s)
	check(t, err)
	var again *Standing
	check(t, json.Unmarshal(raw, &again))
	if !reflect.DeepEqual(s, again) {
		t.Errorf("written %s, read %+v", raw, again)
	}
}

// TestProgressCountsEachCopy compares the counts with a walk over single copies.
func TestProgressCountsEachCopy(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := twoSegments()
		receipts := map[[3]int]bool{} // segment, target, run
		for _, r := range rapid.SliceOf(rapid.Custom(func(t *rapid.T) [3]int {
			return [3]int{rapid.IntRange(0, 1).Draw(t, "segment"), rapid.IntRange(0, 1).Draw(t, "target"),
				rapid.IntRange(0, 3).Draw(t, "run")}
		})).Draw(t, "receipts") {
			seg := s.Segments[r[0]]
			if r[2] >= len(seg.Runs) {
				continue
			}
			receipts[r] = true
			s.Receipted(time.Time{}, core.Receipt{Segment: r[0], Target: seg.Targets[r[1]],
				Runs: []core.Range{{Start: r[2], Length: 1}}})
			s.Proved(seg.Targets[r[1]], r[0], []int{r[2]})
		}
		if rapid.Bool().Draw(t, "b is given up") {
			s.Failed[b] = "gone"
		}
		wantEnded := true
		lacks := map[core.ID]bool{}
		for number, seg := range s.Segments {
			for k, id := range seg.Targets {
				for run := range seg.Runs {
					if !receipts[[3]int{number, k, run}] {
						lacks[id] = true
						wantEnded = wantEnded && s.Failed[id] != ""
					}
				}
			}
		}
		done, total, ended := s.Progress()
		if done != core.Size(100*len(receipts)) || total != 1200 || ended != wantEnded {
			t.Fatalf("%d of %d, ended %v; want %d of 1200, %v", done, total, ended, 100*len(receipts), wantEnded)
		}
		short := s.Shortfall("x", func(core.ID) string { return "" })
		if want := s.Failed[b] != "" && lacks[b]; want != (core.CodeOf(short) == core.CodeRedundant) {
			t.Fatalf("shortfall %v, want one: %v", short, want)
		}
	})
}

// TestCopiesThatCount: receipted, then proved, with the ref there; and no more once it was refuted.
func TestCopiesThatCount(t *testing.T) {
	s := twoSegments()
	targets := map[core.ID]bool{}
	counts := func(want int, when string) {
		t.Helper()
		if got := s.Counting(); got != want {
			t.Errorf("%s %d copies count, want %d", when, got, want)
		}
	}
	each := func(do func(seg *Segment, id core.ID)) {
		for _, seg := range s.Segments {
			for _, id := range seg.Targets {
				targets[id] = true
				do(seg, id)
			}
		}
	}
	all := func(seg *Segment) (runs []int) {
		for run := range seg.Runs {
			runs = append(runs, run)
		}
		return runs
	}
	each(func(seg *Segment, id core.ID) { s.Proved(id, seg.Number, all(seg)) })
	counts(0, "with proofs of what has no receipt")
	each(func(seg *Segment, id core.ID) {
		s.Receipted(time.Time{}, core.Receipt{Segment: seg.Number, Target: id,
			Runs: []core.Range{{Length: len(seg.Runs)}}})
	})
	for id := range targets {
		s.Refs[id] = true
	}
	counts(0, "with receipts and refs")
	each(func(seg *Segment, id core.ID) { s.Proved(id, seg.Number, all(seg)) })
	counts(2, "with all of it")
	s.Refs[b] = false
	counts(1, "without the ref at b")
	s.Refs[b] = true
	s.Refuted(c, 0, []core.Range{{Start: 1, Length: 1}})
	counts(1, "where c lost a run")
	s.Receipted(time.Time{}, core.Receipt{Segment: 0, Target: c, Runs: []core.Range{{Start: 1, Length: 1}}})
	counts(1, "where c gave a further receipt")
	s.Proved(c, 0, []int{1})
	counts(2, "where it proved that")
	s.Refuted(b, 1, nil)
	if got := len(s.Segments[0].Unproved(b)) + s.Segments[0].Receipts[b].Count(9); got > 0 {
		t.Errorf("of b, whose word is worth nothing, %d receipts of another segment are left", got)
	}
}
