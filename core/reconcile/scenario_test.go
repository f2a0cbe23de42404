// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/core/scenariotest"
)

// TestScenarios reads testdata/*.txt: lines that say what is wanted and known, then ---- and what is to be done, to the
// next empty line. The words:
//
//	copies N [proof] [grace=SPAN] [now]     what is wanted
//	node NAME [room=MIB] [barred=WHY] [drained] [away=SPAN]     as it is now; said again, it changes
//	segment N                               the next segment has so many runs of 1 MiB
//	told|released NAME                      of all segments
//	coming|has|receipted|proved|lacks NAME SEGMENT RUNS         as 0-3,7
//	done                                    what was to be sent, proved and released is, and waited for has come
func TestScenarios(t *testing.T) {
	scenariotest.Each(t, "testdata/*.txt", func(t *testing.T, file string) {
		s := newScript()
		scenariotest.Play(t, file, s.line, s.next)
	})
}

// script is a small world by the words of a scenario. The coordinator is its first node.
type script struct {
	world
	now time.Time
	did Decision
}

func newScript() *script {
	s := &script{now: time.Unix(1e9, 0)}
	s.nodes = []*member{{Node: Node{ID: id("self")}}}
	s.Copies = 2
	return s
}

func id(name string) (id core.ID) {
	copy(id[:], name)
	return id
}

func name(id core.ID) string { return strings.TrimRight(string(id[:]), "\x00") }

func (s *script) line(words []string) error {
	switch word, args := words[0], words[1:]; word {
	case "copies":
		s.Copies, _ = strconv.Atoi(args[0])
		for _, a := range args[1:] {
			s.Proof, s.Now = s.Proof || a == "proof", s.Now || a == "now"
			if span, ok := strings.CutPrefix(a, "grace="); ok {
				s.Grace, _ = time.ParseDuration(span)
			}
		}
	case "node":
		m := s.named(args[0])
		if m == nil {
			m = &member{Node: Node{ID: id(args[0])}}
			s.nodes = append(s.nodes, m)
		}
		m.Node = Node{ID: m.ID}
		for _, a := range args[1:] {
			key, value, _ := strings.Cut(a, "=")
			span, _ := time.ParseDuration(value)
			switch key {
			case "room":
				mib, _ := strconv.Atoi(value)
				m.room = core.Size(mib) * core.MiB
			case "barred":
				m.Barred = value
			case "drained":
				m.Drained = true
			case "away":
				m.Away = s.now.Add(-span)
			default:
				return fmt.Errorf("%s is no word of a node", key)
			}
		}
	case "segment":
		runs, _ := strconv.Atoi(args[0])
		s.known = append(s.known, Segment{Sizes: slices.Repeat([]core.Size{core.MiB}, runs), At: map[core.ID]Copies{}})
	case "told", "released":
		for _, seg := range s.known {
			c := seg.At[id(args[0])]
			if c.Told = word == "told"; !c.Told {
				c = Copies{}
			}
			seg.At[id(args[0])] = c
		}
	case "coming", "has", "receipted", "proved", "lacks":
		number, _ := strconv.Atoi(args[1])
		seg := s.known[number]
		c := seg.copies(id(args[0]))
		for _, part := range strings.Split(args[2], ",") {
			first, last, more := strings.Cut(part, "-")
			if !more {
				last = first
			}
			from, _ := strconv.Atoi(first)
			to, _ := strconv.Atoi(last)
			for run := from; run <= to; run++ {
				switch word {
				case "coming":
					c.Coming.Set(run)
				case "has":
					c.Has.Set(run)
				case "receipted":
					c.Receipted.Set(run)
				case "proved":
					c.Proved.Set(run)
				default:
					c.lose(run)
				}
			}
		}
		seg.At[id(args[0])] = c
	case "done":
		for _, m := range s.did.Moves {
			s.carry(m)
		}
		s.arrive()
	default:
		return fmt.Errorf("%s is no word", word)
	}
	return nil
}

func (s *script) next() string {
	var out strings.Builder
	var err error
	s.did, err = Next(s.Wanted, s.known, s.network(), s.now, s.plan)
	for _, m := range s.did.Moves {
		fmt.Fprintf(&out, "%s %s", [...]string{"send", "prove", "release", "wait"}[m.Kind], name(m.Node))
		for i, r := range m.Runs {
			sep := ","
			if i == 0 {
				sep = fmt.Sprintf(" %d: ", m.Segment)
			}
			fmt.Fprintf(&out, "%s%d-%d", sep, r.Start, r.Start+r.Length-1)
		}
		if m.Kind == Wait && !m.Until.IsZero() {
			fmt.Fprintf(&out, " %s more", m.Until.Sub(s.now))
		}
		fmt.Fprintf(&out, " (%d)\n", m.Copies)
	}
	if err != nil {
		fmt.Fprintf(&out, "error %v\n", err)
	}
	if out.Len() == 0 {
		return "nothing\n"
	}
	return out.String()
}

// world is what is true, for tests: moves change it.
type world struct {
	Wanted
	known []Segment
	code  core.Erasure // of the stripes; none where there are none
	nodes []*member
}

// member is a node of the world.
type member struct {
	Node
	room    core.Size
	refuses bool
}

func (w *world) named(who string) *member {
	if i := slices.IndexFunc(w.nodes, func(m *member) bool { return m.ID == id(who) }); i >= 0 {
		return w.nodes[i]
	}
	return nil
}

func (w *world) network() (n Network) {
	for _, m := range w.nodes {
		n.Nodes = append(n.Nodes, m.Node)
	}
	return n
}

// plan asks the planner, on a full mesh.
func (w *world) plan(classes []plan.Class) ([][]plan.Span, error) {
	r := plan.Request{Replicas: w.Copies, Classes: classes}
	if !w.code.IsZero() {
		r.K, r.Replicas = w.code.K, w.code.K+w.code.M
	}
	for _, m := range w.nodes {
		state := core.NodeState{ID: m.ID, Free: m.room, Up: 1e6, Down: 1e6, Total: core.TiB}
		if m.Barred != "" || m.Drained || !m.Away.IsZero() {
			state.Free = 0
		}
		r.Snapshot.Nodes = append(r.Snapshot.Nodes, state)
	}
	p, err := plan.Place(r)
	if err != nil {
		return nil, err
	}
	return p.Classes, nil
}

// copies is a node's, with bitmaps that can be written.
func (s Segment) copies(id core.ID) Copies {
	c := s.At[id]
	c.Told = true
	for _, b := range []*core.Bitmap{&c.Coming, &c.Has, &c.Receipted, &c.Proved} {
		if *b == nil {
			*b = core.NewBitmap(len(s.Sizes))
		}
	}
	return c
}

func (c Copies) lose(run int) {
	for _, b := range []core.Bitmap{c.Has, c.Receipted, c.Proved} {
		b.Clear(run)
	}
}

// carry does what a move says, as far as that can be done at once.
func (w *world) carry(m Move) {
	node := w.named(name(m.Node))
	switch m.Kind {
	case Send:
		if node.refuses {
			node.Barred = "it refused"
			return
		}
		c := w.known[m.Segment].copies(m.Node)
		eachOf(m.Runs, func(run int) {
			c.Coming.Set(run)
			node.room -= w.known[m.Segment].Sizes[run]
		})
		w.known[m.Segment].At[m.Node] = c
	case Prove:
		c := w.known[m.Segment].copies(m.Node)
		eachOf(m.Runs, c.Proved.Set)
		w.known[m.Segment].At[m.Node] = c
	case Release:
		for _, s := range w.known {
			for run, size := range s.Sizes {
				if c := s.At[m.Node]; c.Here(run) || c.Coming.Has(run) {
					node.room += size
				}
			}
			s.At[m.Node] = Copies{}
		}
	case Wait:
	}
}

// arrive has everything come that is on its way to nodes that are there.
func (w *world) arrive() {
	for _, m := range w.nodes {
		for _, s := range w.known {
			if c, ok := s.At[m.ID]; ok && m.Away.IsZero() && !c.Coming.Empty() {
				c = s.copies(m.ID)
				c.Has.Or(c.Coming)
				c.Receipted.Or(c.Coming)
				c.Coming = nil
				s.At[m.ID] = c
			}
		}
	}
}

func eachOf(ranges []core.Range, f func(run int)) {
	for _, r := range ranges {
		for run := r.Start; run < r.Start+r.Length; run++ {
			f(run)
		}
	}
}
