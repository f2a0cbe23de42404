// SPDX-License-Identifier: Apache-2.0

package place

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/core/reconcile"
	"github.com/bkp-tool/bkp/core/version"
	"github.com/bkp-tool/bkp/core/wire"
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
			s.add(id)
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

// TestMovedCopiesStayAsMany draws a placement that goes wrong in every way. However copies are dealt, there are as many
// as before, no node is to keep two of one run, and what is receipted at who is well stays where it is.
func TestMovedCopiesStayAsMany(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		runs, nodes := rapid.IntRange(1, 12).Draw(t, "runs"), rapid.IntRange(3, 6).Draw(t, "nodes")
		w := newWorld()
		say := func(line string) {
			if err := w.line(strings.Fields(line)); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
		}
		names := []string{"b", "c", "d", "e", "f"}[:nodes-1]
		say("node a")
		for _, name := range names {
			free := rapid.SampledFrom([]string{"2MiB", "8MiB", "1GiB"}).Draw(t, "free")
			say("node " + name + " down=1MiB free=" + free)
		}
		say(fmt.Sprintf("runs %dx1MiB", runs))
		for run := range runs {
			w.spans = append(w.spans, plan.Span{Node: 1 + run%len(names), Start: run, Length: 1},
				plan.Span{Node: 1 + (run+1)%len(names), Start: run, Length: 1})
		}
		say("start 4s")
		copies := len(w.w.Segments[0].copies())
		for range rapid.IntRange(1, 12).Draw(t, "events") {
			name := rapid.SampledFrom(names).Draw(t, "node")
			id := w.id(name)
			share := w.w.Segments[0].Share(id)
			kinds := []string{"down", "up", "wait", "fails", "refuse"}
			if len(share) > 0 {
				kinds = append(kinds, "receipt", "receipt", "receipt")
			}
			switch kind := rapid.SampledFrom(kinds).Draw(t, "event"); kind {
			case "down":
				if !w.down[id] {
					say("down " + name)
				}
			case "up":
				if w.down[id] {
					say("up " + name)
				}
			case "wait":
				say("wait " + rapid.SampledFrom([]string{"1s", "12s", "40s"}).Draw(t, "span"))
			case "receipt":
				run := rapid.SampledFrom(share).Draw(t, "run")
				w.set(w.has, id).Set(run)
				w.w.Receipted(w.now, core.Receipt{Target: id, Runs: []core.Range{{Start: run, Length: 1}}})
			default:
				say(kind + " " + name + " why")
			}
			now := w.w.Segments[0].copies()
			if len(now) != copies {
				t.Fatalf("%d copies, want %d", len(now), copies)
			}
			on := map[copyAt]bool{}
			for _, at := range now {
				at.from = core.ID{}
				if on[at] {
					t.Fatalf("%s is to keep run %d twice", w.name(at.node), at.run)
				}
				on[at] = true
			}
			for id, kept := range w.w.Segments[0].Receipts {
				kept.Each(func(run int) {
					if w.w.Failed[id] == "" && !on[copyAt{run: run, node: id}] {
						t.Fatalf("%s has run %d, and is not to keep it any more", w.name(id), run)
					}
				})
			}
		}
	})
}

// assign has segments ask for what a plan says.
func assign(s *Standing, g Ground) error {
	var n reconcile.Network
	for _, node := range g.Snapshot.Nodes {
		n.Nodes = append(n.Nodes, reconcile.Node{ID: node.ID})
	}
	d, err := reconcile.Next(reconcile.Wanted{Now: true}, s.Known(g.Snapshot.Nodes), n, time.Time{},
		func([]plan.Class) ([][]plan.Span, error) { return g.Plan.Spans(), nil })
	if err == nil {
		s.Assign(d.Locations, g)
	}
	return err
}

// TestCut: the segments ask for what the plan does, run by run, whatever runs a segment has.
func TestCut(t *testing.T) {
	const runs, reused = core.SegmentRuns + 100, 50
	content := &Content{Classes: make([]plan.Class, 2), Reused: make([][]*Reused, 2)}
	for i := range runs {
		content.Fresh = append(content.Fresh, core.Run{File: core.File{Order: i, Size: 100}})
	}
	for range reused {
		content.Reused[1] = append(content.Reused[1], &Reused{Run: version.Run{
			Run: core.Run{File: core.File{Size: 100}}, Task: core.TaskID{5}}, Holders: []int{1}})
	}
	nodes := []core.NodeState{{ID: a, Zone: "x"}, {ID: b, Zone: "x"}, {ID: c, Zone: "y"}}
	g := Ground{Snapshot: core.Snapshot{Nodes: nodes, Trunks: []core.TrunkState{{From: "x", To: "y", Rate: 7}}},
		Plan: &plan.Plan{
			Classes: [][]plan.Span{
				{{Node: 1, Length: runs}, {Node: 2, From: 1, Start: 10, Length: runs - 10}},
				{{Node: 1, From: 1, Length: reused}, {Node: 2, From: 1, Start: 20, Length: 30}},
			},
			Relays: []plan.Span{{Node: 2, Start: 0, Length: 10}},
			Flows:  []plan.Flow{{From: 0, To: 1, Rate: 5, Bytes: 50}, {From: 0, To: 2, Rate: 6, Bytes: 60}},
		}}
	segments := Cut(core.TaskID{9}, "x", 1, content)
	check(t, assign(NewStanding(core.TaskID{9}, a, segments), g))
	want := map[copyAt]bool{}
	for class, starts := range []int{0, runs} {
		for _, s := range g.Plan.Classes[class] {
			for run := s.Start; run < s.End(); run++ {
				want[copyAt{starts + run, nodes[s.Node].ID, nodes[s.From].ID}] = true
			}
		}
	}
	for run := range 10 {
		want[copyAt{run, c, a}] = true
	}
	from := 0
	for _, s := range segments {
		for _, at := range s.copies() {
			at.run += from
			if !want[at] {
				t.Fatalf("segment %d asks for %+v, which the plan does not", s.Number, at)
			}
			delete(want, at)
		}
		if len(s.Runs) > core.SegmentRuns || len(s.Message.Files) != s.Fresh ||
			len(s.Message.Files)+len(s.Message.Reused) != len(s.Runs) {
			t.Errorf("segment %d has %d runs, %d new, %d reused", s.Number, len(s.Runs), len(s.Message.Files),
				len(s.Message.Reused))
		}
		shares := []wire.BandwidthRow{{From: a, To: c, Rate: 6, Bytes: 60}}
		if rows := s.Message.TrunkShares; !slices.Equal(rows, shares) {
			t.Errorf("shares of trunks: %+v", rows)
		}
		bytes, most := s.Bounds()
		if bytes != core.Size(100*len(s.Runs)) || most != len(s.Runs) {
			t.Errorf("segment %d bounds a target to %s in %d runs", s.Number, bytes, most)
		}
		from += len(s.Runs)
	}
	if len(want) > 0 || from != runs+reused || len(segments) != 2 {
		t.Errorf("%d copies of the plan are in no segment; %d segments of %d runs", len(want), len(segments), from)
	}
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
	if got := len(s.Segments[0].unproved(b)) + s.Segments[0].Receipts[b].Count(9); got > 0 {
		t.Errorf("of b, whose word is worth nothing, %d receipts of another segment are left", got)
	}
}
