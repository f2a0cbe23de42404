// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/place/content"
	"github.com/bkp-tool/bkp/core/placements"
	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/core/reconcile"
	"github.com/bkp-tool/bkp/core/version"
	"github.com/bkp-tool/bkp/core/wire"
	"pgregory.net/rapid"
)

var a, b, c = core.ID{1}, core.ID{2}, core.ID{3}

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
		copies := len(copiesOf(w.w.Segments[0]))
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
			now := copiesOf(w.w.Segments[0])
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

// assignPlanned has segments ask for what a plan says.
func assignPlanned(s *placements.Standing, g Ground) error {
	var n reconcile.Network
	for _, node := range g.Snapshot.Nodes {
		n.Nodes = append(n.Nodes, reconcile.Node{ID: node.ID})
	}
	d, err := reconcile.Next(reconcile.Wanted{Now: true}, s.Known(g.Snapshot.Nodes), n, time.Time{},
		func([]plan.Class) ([][]plan.Span, error) { return g.Plan.Spans(), nil })
	if err == nil {
		Assign(s, d.Locations, g)
	}
	return err
}

// TestCut: the segments ask for what the plan does, run by run, whatever runs a segment has.
func TestCut(t *testing.T) {
	const runs, reused = core.SegmentRuns + 100, 50
	whole := &content.Runs{Classes: make([]plan.Class, 2), Reused: make([][]*content.Reused, 2)}
	for i := range runs {
		whole.Fresh = append(whole.Fresh, core.Run{File: core.File{Order: i, Size: 100}})
	}
	for range reused {
		whole.Reused[1] = append(whole.Reused[1], &content.Reused{Run: version.Run{
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
	segments := content.Cut(core.TaskID{9}, "x", 1, whole)
	check(t, assignPlanned(placements.NewStanding(core.TaskID{9}, a, segments), g))
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
		for _, at := range copiesOf(s) {
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
		if s.Message.Guide != core.GuideRuns {
			t.Errorf("senders go by %q, where every run may go as planned", s.Message.Guide)
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
