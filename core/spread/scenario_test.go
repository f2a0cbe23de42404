// SPDX-License-Identifier: Apache-2.0

package spread

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/scenariotest"
	"github.com/bkp-tool/bkp/core/task"
)

// TestScenarios reads testdata/spread-*.txt: lines that say what happens, then ---- and what node a does, to the next
// empty line. The words:
//
//	runs 8x1MiB                               of the one segment, numbered from 0 on
//	node NAME [up=RATE] [down=RATE] [beyond]  the first is a, whose engine decides; beyond: across a trunk
//	link NAME [rate=RATE] [rtt=SPAN] [trunk=RATE] [share=RATE]     from a
//	source            a has all runs, and gave none of them away
//	want|unwant|have|lose NAME RUNS      as 0-3,7
//	coming NAME RUNS                     its own word of what others send it
//	hint NAME SIZE                       its own word of what it lacks
//	first NAME SIZE                      what it can do with first copies
//	plan NAME SIZE                       what the plan has a give it
//	route NAME NEXT RUNS                 the plan has it give NEXT these runs
//	takes SPAN                           the plan's flows do, from now on
//	relay NAME NEXT                      it passes on to NEXT, by the plan, what it does not keep
//	agree NAME [RATE] [only=RUNS]        it grants what it was asked for, at RATE, or only some runs
//	refuse NAME busy|have|in-flight
//	came NAME        all that it granted is there
//	low NAME    broke NAME    gone NAME    lost NAME    due NAME    wait SPAN
//	used NAME RUNS SIZE SPAN             so many runs of SIZE took SPAN each
func TestScenarios(t *testing.T) {
	scenariotest.Each(t, "testdata/spread-*.txt", func(t *testing.T, file string) {
		s := &script{}
		scenariotest.Play(t, file, s.line, s.drive)
		if err := s.w.t.recount(); err != nil {
			t.Error(err)
		}
	})
}

// script is a scenario under way.
type script struct {
	w      *world
	beyond Zone
	passes map[[2]int]bool
	did    strings.Builder
}

// drive has node a do what it decides now, and tells it.
func (s *script) drive() string {
	s.w.nodes[0].engine.Wake()
	s.w.drive(s.w.nodes[0])
	defer s.did.Reset()
	return s.did.String()
}

// print tells what node a does.
func (s *script) print(_ *virtual, a Action) {
	fmt.Fprintf(&s.did, "%s %s", a.Kind, s.w.nodes[a.Sender.To()].name)
	if a.Rate > 0 {
		fmt.Fprintf(&s.did, " at %s", a.Rate)
	}
	if len(a.Runs) > 0 {
		fmt.Fprintf(&s.did, ": %s", strings.Trim(fmt.Sprint(a.Runs), "[]"))
	}
	fmt.Fprintln(&s.did)
}

func (s *script) line(words []string) error {
	words, options := scenariotest.Options(words)
	switch words[0] {
	case "runs":
		n, size, _ := strings.Cut(words[1], "x")
		count, err := strconv.Atoi(n)
		if err != nil {
			return err
		}
		s.w = newWorld(slices.Repeat([]core.Size{sizeOf(size)}, count))
		s.w.t.Once = true
		s.w.asked = s.print
		return nil
	case "node":
		var zone *Zone
		if len(words) > 2 {
			zone = &s.beyond
		}
		s.w.add(words[1], zone, core.Rate(sizeOf(options["up"])), core.Rate(sizeOf(options["down"])))
		return nil
	case "source":
		for run := range s.w.seg.sizes {
			s.w.nodes[0].peer.Own(s.w.seg, run)
			s.w.nodes[0].part.Spread(s.w.seg, run)
		}
		return nil
	case "takes":
		span, err := time.ParseDuration(words[1])
		s.w.t.Takes(s.w.now, span.Seconds())
		return err
	case "wait":
		span, err := time.ParseDuration(words[1])
		s.w.now += span
		return err
	}
	return s.about(words, options)
}

// about is a line about one node.
func (s *script) about(words []string, options map[string]string) error {
	w := s.w
	i := slices.IndexFunc(w.nodes, func(n *virtual) bool { return n.name == words[1] })
	if i < 0 {
		return fmt.Errorf("there is no node %s", words[1])
	}
	a, n := w.nodes[0], w.nodes[i]
	to, runs, err := a.part.Sender(i), []int(nil), error(nil)
	switch words[0] {
	case "want", "unwant", "have", "lose", "coming":
		if runs, err = scenariotest.Numbers(words[2]); err != nil {
			return err
		}
	}
	switch words[0] {
	case "link":
		trip, _ := time.ParseDuration(options["rtt"])
		w.link(a, n, Way{Rate: core.Rate(sizeOf(options["rate"])), RoundTrip: trip,
			Trunk: core.Rate(sizeOf(options["trunk"])), Share: core.Rate(sizeOf(options["share"]))})
	case "coming":
		var ranges []core.Range
		for _, run := range runs {
			ranges = append(ranges, core.Range{Start: run, Length: 1})
		}
		n.peer.Coming(w.now, w.seg, ranges)
	case "hint":
		n.peer.Hint(sizeOf(words[2]), n.down)
	case "first":
		a.part.First(i, float64(sizeOf(words[2])))
	case "plan":
		a.part.Plan(i, float64(sizeOf(words[2])))
	case "route":
		k := slices.IndexFunc(w.nodes, func(n *virtual) bool { return n.name == words[2] })
		if runs, err = scenariotest.Numbers(words[3]); err != nil {
			return err
		}
		for _, run := range runs {
			w.t.Follow(w.seg, run, i, k)
		}
	case "relay":
		s.relay(i, slices.IndexFunc(w.nodes, func(n *virtual) bool { return n.name == words[2] }))
	case "agree":
		rate := to.Flow.Rate
		if len(words) > 2 {
			rate = core.Rate(sizeOf(words[2]))
		}
		most := w.seg.Runs()
		if only, some := options["only"]; some {
			if runs, err = scenariotest.Numbers(only); err != nil {
				return err
			}
			most = len(runs)
		}
		w.agree(to, rate, most)
	case "refuse":
		to.Refused()
		w.step(to, task.Event{Kind: task.Refused, Reason: map[string]core.Reason{"busy": core.ReasonBusy,
			"have": core.ReasonHave, "in-flight": core.ReasonInFlight}[words[2]]})
	case "came":
		for _, r := range to.Flow.Open() {
			w.came(to, r.Number)
		}
	case "low":
		to.Low()
	case "broke":
		to.Broke(w.now, core.ReasonInternal)
	case "gone":
		n.peer.Gone()
	case "lost":
		w.step(to, task.Event{Kind: task.Lost})
	case "due":
		w.step(to, task.Event{Kind: task.Due})
	case "used":
		times, err := strconv.Atoi(words[2])
		span, err2 := time.ParseDuration(words[4])
		for range times {
			to.Used(w.now, span, sizeOf(words[3]), span.Seconds()*float64(to.Flow.Rate))
		}
		return cmp.Or(err, err2)
	case "want", "unwant", "have", "lose":
	default:
		return fmt.Errorf("no word %q", words[0])
	}
	for _, run := range runs {
		switch words[0] {
		case "want":
			n.peer.Want(w.seg, run)
		case "unwant":
			n.peer.Unwant(w.seg, run)
		case "have":
			n.peer.Have(w.now, w.seg, run)
		case "lose":
			n.peer.Lose(w.seg, run)
		}
	}
	return nil
}

// relay lets a node pass on to another by the plan, and a send to it.
func (s *script) relay(node, next int) {
	if s.w.t.relays == nil {
		s.passes = map[[2]int]bool{}
		r := s.w.t.Relay(Busy)
		r.Routed, r.Planned = true, func(from, to int) bool { return s.passes[[2]int{from, to}] }
		r.Neighbours = func(i int) (out, in []int) {
			for way := range s.w.ways {
				switch i {
				case way[0]:
					out = append(out, way[1])
				case way[1]:
					in = append(in, way[0])
				}
			}
			return out, in
		}
	}
	s.passes[[2]int{0, node}], s.passes[[2]int{node, next}] = true, true
	s.w.link(s.w.nodes[node], s.w.nodes[next], Way{})
	s.w.t.relays.Lay(func(i int) float64 {
		for way := range s.passes {
			if i > 0 && way[0] == i {
				return 1e18
			}
		}
		return -1
	})
}

func sizeOf(text string) core.Size {
	size, _ := core.ParseSize(text)
	return size
}
