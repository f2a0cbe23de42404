// SPDX-License-Identifier: Apache-2.0

package saved

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan"
)

// savedExample is a plan over three targets, in two zones with a trunk between them.
func savedExample(t testing.TB) (Plan, Now) {
	t.Helper()
	req := plan.Request{Replicas: 2, Seed: 1, Classes: []plan.Class{{Runs: slices.Repeat([]core.Size{core.MiB}, 30)},
		{Runs: []core.Size{5, 7}, Holders: []int{1}}}}
	for i, up := range []core.Rate{20e6, 10e6, 20e6, 5e6} {
		n := core.NodeState{Address: "host" + string(rune('0'+i)), Up: up, Down: 20e6, Free: core.GiB,
			Zone: "AABB"[i : i+1]}
		n.ID[0] = byte(i + 1)
		req.Snapshot.Nodes = append(req.Snapshot.Nodes, n)
	}
	for from := range 4 {
		for to := range 4 {
			if from != to {
				req.Snapshot.Links = append(req.Snapshot.Links, core.LinkState{From: from, To: to, Rate: 15e6})
			}
		}
	}
	req.Snapshot.Trunks = []core.TrunkState{{From: "A", To: "B", Rate: 8e6}}
	p, err := plan.Place(req)
	if err != nil {
		t.Fatal(err)
	}
	about := About{Name: "big.iso", Version: 2, Root: core.Hash{1}, Runs: core.Hash{2}, Strategy: "seed"}
	return Of(about, req, p), Now{About: about, Snapshot: req.Snapshot, Classes: req.Classes}
}

func TestSavedIsRefusedWithTheDifference(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(now *Now)
		code   core.Code // 0: it is carried out
		says   string
	}{
		{"nothing", func(*Now) {}, 0, ""},
		{"a little slower", func(n *Now) { n.Snapshot.Nodes[2].Up = 18.1e6 }, 0, ""},
		{"space that is not needed", func(n *Now) { n.Snapshot.Nodes[1].Free = 40 * core.MiB }, 0, ""},
		{"a further node", func(n *Now) { n.Snapshot.Nodes = append(n.Snapshot.Nodes, core.NodeState{ID: core.ID{9}}) },
			0, ""},
		{"another version", func(n *Now) { n.Version = 3 }, core.CodeRefused, "it is for big.iso@2, not big.iso@3"},
		{"split anew", func(n *Now) { n.Root = core.Hash{7} }, core.CodeRefused, "big.iso@2 was split anew since"},
		{"other runs", func(n *Now) { n.Runs = core.Hash{7} }, core.CodeRefused, "other runs have to be placed now"},
		{"other classes", func(n *Now) { n.Classes = n.Classes[:1] }, core.CodeRefused,
			"other runs have to be placed now"},
		{"a node is gone", func(n *Now) { n.Snapshot.Nodes[2].ID = core.ID{8} }, core.CodeRedundant,
			"(host2) is not connected"},
		{"a holder forgot", func(n *Now) { n.Classes[1].Holders = []int{2} }, core.CodeRefused,
			"(host1) no longer keeps what it kept"},
		{"no room", func(n *Now) { n.Snapshot.Nodes[1].Free = core.MiB }, core.CodeRedundant,
			"(host1) has 1.00 MiB free, its share is "},
		{"slower node", func(n *Now) { n.Snapshot.Nodes[2].Up = 16e6 }, core.CodeRefused,
			"(host2) can send 15.3 MiB/s, 20 % less than the 19.1 MiB/s it counts on (up to 10 % less is taken)"},
		{"slower trunk", func(n *Now) { n.Snapshot.Trunks[0].Rate = 2e6 }, core.CodeRefused,
			"the trunk A>B carries 1.91 MiB/s"},
		{"new trunk", func(n *Now) {
			n.Snapshot.Trunks = append(n.Snapshot.Trunks, core.TrunkState{From: "A", To: "A", Rate: 5})
		}, core.CodeRefused, "the trunk A>A carries 5 B/s, which had no limit"},
		{"no link", func(n *Now) {
			n.Snapshot.Links = slices.DeleteFunc(n.Snapshot.Links,
				func(l core.LinkState) bool { return l.From == 0 && l.To == 1 })
		}, core.CodeRefused, "there is no link from"},
		{"another source", func(n *Now) { n.Snapshot.Source = 3 }, core.CodeRefused, "it was made on another machine"},
	} {
		t.Run(c.name, func(t *testing.T) {
			saved, now := savedExample(t)
			c.change(&now)
			_, err := saved.Carry(now)
			switch {
			case c.code == 0 && err != nil:
				t.Error(err)
			case c.code != 0 && (core.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.says)):
				t.Errorf("code %d, %v; want code %d, %q", core.CodeOf(err), err, c.code, c.says)
			case c.code != 0 && !strings.Contains(core.HintOf(err), "plan again"):
				t.Errorf("hint %q", core.HintOf(err))
			}
		})
	}
}

// TestSavedKeepsItsCopies: no file talks bkp into fewer copies, or into runs that come from nowhere.
func TestSavedKeepsItsCopies(t *testing.T) {
	for name, change := range map[string]func(s *Plan){
		"a span less":   func(s *Plan) { s.Classes[0].Spans = s.Classes[0].Spans[1:] },
		"a run less":    func(s *Plan) { s.Classes[0].Spans[0].Length-- },
		"more replicas": func(s *Plan) { s.Replicas++ },
		"the source":    func(s *Plan) { s.Classes[0].Spans[0].Node = s.Source },
		"twice":         func(s *Plan) { s.Classes[0].Spans = append(s.Classes[0].Spans, s.Classes[0].Spans[0]) },
		"a circle": func(s *Plan) {
			s.Classes = []Class{{Runs: 1, Spans: []Span{{1, 2, 0, 1}, {2, 1, 0, 1}}}}
		},
		"outside":       func(s *Plan) { s.Classes[0].Spans[0].Start = 25 },
		"no such node":  func(s *Plan) { s.Classes[0].Spans[0].Node = 9 },
		"schema":        func(s *Plan) { s.Schema = "bkp-plan/2" },
		"one node, two": func(s *Plan) { s.Nodes[1].ID = s.Nodes[2].ID },
		"a flow":        func(s *Plan) { s.Flows[0].To = -1 },
	} {
		s, _ := savedExample(t)
		change(&s)
		data, err := s.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Read(data); core.CodeOf(err) != core.CodeUsage {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCompare(t *testing.T) {
	a, now := savedExample(t)
	if d := Compare(a, a); d.Moved != 0 || !d.Same {
		t.Errorf("against itself: %+v", d)
	}
	req := plan.Request{Replicas: 2, Seed: 1, Snapshot: now.Snapshot, Classes: now.Classes}
	req.Scores.QuotaCap = []core.Size{10 * core.MiB, core.GiB, core.GiB}
	p, err := plan.Place(req)
	if err != nil {
		t.Fatal(err)
	}
	b := Of(now.About, req, p)
	d := Compare(a, b)
	got, let := 0, 0
	for _, n := range d.Nodes {
		if n.A.Runs+n.Got-n.Let != n.B.Runs {
			t.Errorf("%s: %d runs, %d got, %d let go, %d", n.Address, n.A.Runs, n.Got, n.Let, n.B.Runs)
		}
		got, let = got+n.Got, let+n.Let
	}
	if got == 0 || got != let || d.Moved != got {
		t.Errorf("got %d, let go %d, moved %d", got, let, d.Moved)
	}
	b.Runs = core.Hash{9}
	if d := Compare(a, b); d.Same || d.Moved != 0 {
		t.Errorf("of other runs it is not known what moves: %+v", d)
	}
}

func FuzzRead(f *testing.F) {
	s, now := savedExample(f)
	data, err := s.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"schema":"bkp-plan/1","replicas":1,"version":1,"nodes":[{"id":"` + s.Nodes[0].ID.String() + `"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Read(data)
		if err != nil {
			return
		}
		written, err := s.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := Read(written)
		if err != nil {
			t.Fatal(err)
		}
		if twice, _ := again.Encode(); !bytes.Equal(written, twice) {
			t.Fatalf("written, read and written again:\n%s\n%s", written, twice)
		}
		Compare(s, s)
		s.Carry(now)
		now := now
		now.About = About{Name: s.Name, Version: s.Version, Root: s.Root, Runs: s.Runs}
		s.Carry(now)
	})
}
