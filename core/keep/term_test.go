// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/license"
	"github.com/bkp-tool/bkp/core/wire"
)

// keeps is the owner's delegation to a node, to keep two copies of version 1 of a name.
func (w *stage) keeps(node, name string, term int) []byte {
	w.t.Helper()
	o := w.owners["owner"]
	envelope, err := o.DelegateKeep(w.id(node), o.Alias(name), 1, term, 2, time.Now().Add(time.Hour))
	check(w.t, err)
	return envelope
}

// handed is a segment that a coordinator offers in a term: by says who, change spoils it before it is signed.
func (w *stage) handed(number int, by string, term int, change func(l, of *core.License, m *wire.StorageTask)) offered {
	w.t.Helper()
	alias := w.owners["owner"].Alias("abc")
	o := w.offer(number, []string{"a:100", "b:50"}, func(o *offered) {
		o.Alias, o.license.Alias, o.license.Version = alias, alias, 1
	})
	of := o.license
	l := of
	l.TaskSource.Node, l.Term, l.Delegation = w.id(by), term, w.keeps(by, "abc", term)
	if change != nil {
		change(&l, &of, &o.StorageTask)
	}
	var err error
	l.Of, err = license.Sign(of, w.owners["owner"].Signer())
	check(w.t, err)
	o.License, err = license.Sign(l, w.signers[by])
	check(w.t, err)
	return o
}

// TestCoordinatorThatOversteps: what a delegate to keep offers is judged by its delegation and the owner's own licence.
func TestCoordinatorThatOversteps(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(w *stage, l, of *core.License, m *wire.StorageTask)
		want   string // after TASK_REFUSE code
	}{
		{"as it should be", func(*stage, *core.License, *core.License, *wire.StorageTask) {}, ""},
		{"another name", func(w *stage, l, of *core.License, m *wire.StorageTask) {
			m.Alias = w.owners["owner"].Alias("other")
		}, "30: the licence is for version 1 of another name"},
		{"another name, licensed by itself", func(w *stage, l, of *core.License, m *wire.StorageTask) {
			m.Alias = w.owners["owner"].Alias("other")
			l.Alias = m.Alias
		}, "30: "},
		{"another name, with another's delegation", func(w *stage, l, of *core.License, m *wire.StorageTask) {
			m.Alias = w.owners["owner"].Alias("other")
			l.Alias, l.Delegation = m.Alias, w.keeps("source", "other", 2)
		}, "30: "},
		{"a higher term than it was given", func(w *stage, l, of *core.License, m *wire.StorageTask) { l.Term = 3 }, "30: "},
		{"runs that the owner did not license", func(w *stage, l, of *core.License, m *wire.StorageTask) {
			of.Root = core.Hash{1}
		}, "30: "},
		{"with the delegation of another", func(w *stage, l, of *core.License, m *wire.StorageTask) {
			l.Delegation = w.keeps("other", "abc", 2)
		}, "30: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newStage(t, nil)
				o := w.handed(1, "source", 2, func(l, of *core.License, m *wire.StorageTask) { c.change(w, l, of, m) })
				answer := w.judged(o, "source")
				if c.want == "" && answer != "source hears TASK_AGREE has none" ||
					c.want != "" && !strings.HasPrefix(answer, "source hears TASK_REFUSE code "+c.want) {
					t.Errorf("%s, want %q", answer, c.want)
				}
			})
		})
	}
}

// TestLowerTermIsRefused: of two coordinators the one of the higher term is served, also after a start; the owner's own
// node is one of them.
func TestLowerTermIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newStage(t, nil)
		agreed := func(o offered, by string) bool {
			t.Helper()
			answer := w.judged(o, by)
			if !strings.Contains(answer, "TASK_AGREE") && !strings.Contains(answer, "code 20: the version is coordinated in term") {
				t.Errorf("%s", answer)
			}
			return strings.Contains(answer, "TASK_AGREE")
		}
		if !agreed(w.handed(1, "source", 2, nil), "source") {
			t.Error("the first is refused")
		}
		w.stop()
		w.start()
		if agreed(w.handed(2, "other", 1, nil), "other") {
			t.Error("a lower term is taken")
		}
		owners := func(term int) offered {
			return w.offer(3, []string{"a:100", "b:50"}, func(o *offered) {
				o.Alias = w.owners["owner"].Alias("abc")
				o.license.Alias, o.license.Version, o.license.Term = o.Alias, 1, term
			})
		}
		if agreed(owners(0), "source") {
			t.Error("the owner's node is taken in no term")
		}
		if !agreed(owners(3), "source") {
			t.Error("the owner's node does not take over")
		}
		if agreed(w.handed(1, "source", 2, func(l, _ *core.License, _ *wire.StorageTask) { l.ID = core.LicenseID{8} }), "source") {
			t.Error("who is relieved renews its licence")
		}
	})
}

// TestCoordinatorReleases: only what by its own word others keep in as many copies as its delegation says.
func TestCoordinatorReleases(t *testing.T) {
	for _, c := range []struct {
		name   string
		spans  []core.Span
		change func(w *stage, r *key.Release, l *key.Location, m *wire.Release)
		want   string // after RELEASE_DONE; runs of it
	}{
		{"enough others keep it", []core.Span{{Node: core.ID{1}, Length: 2}, {Node: core.ID{2}, Length: 2}}, nil, "2 runs, 150 kB"},
		{"it is wanted here", []core.Span{{Node: core.ID{1}, Length: 2}, {Node: core.ID{2}, Length: 2}, {Length: 1}}, nil,
			"0 runs, 0 kB code 20: run 0 of segment 0 is wanted here"},
		{"too few others keep a run", []core.Span{{Node: core.ID{1}, Length: 2}, {Node: core.ID{2}, Length: 1}}, nil,
			"0 runs, 0 kB code 20: run 1 of segment 0 has 1 of 2 copies"},
		{"nobody is said to keep it", nil, nil, "0 runs, 0 kB code 20: run 0 of segment 0 has 0 of 2 copies"},
		{"as if the version were removed", []core.Span{{Node: core.ID{1}, Length: 2}, {Node: core.ID{2}, Length: 2}},
			func(w *stage, _ *key.Release, l *key.Location, m *wire.Release) { m.Tombstone = []byte("x") },
			"0 runs, 0 kB code 20: tombstone: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newStage(t, nil)
				o := w.handed(1, "source", 2, nil)
				w.judged(o, "source")
				w.apply(1, "source", o, core.Range{Length: 2})
				for run := range 2 {
					check(t, w.bring(1, o, run))
				}
				time.Sleep(2 * time.Second)
				for i := range c.spans {
					if c.spans[i].Node.IsZero() {
						c.spans[i].Node = w.id("self")
					}
				}
				owner := w.owners["owner"]
				l := key.Location{Owner: owner.ID(), Alias: o.Alias, Version: 1, Task: o.Task, Term: 2, Seq: 1,
					Delegation: w.keeps("source", "abc", 2), Segments: [][]core.Span{c.spans}}
				location, err := w.signers["source"].SignLocation(l)
				check(t, err)
				r := key.Release{Owner: owner.ID(), Task: o.Task, Alias: o.Alias, Version: 1, Time: time.Now().Unix(),
					Delegation: l.Delegation, Location: location}
				m := wire.Release{Query: 1}
				if c.change != nil {
					c.change(w, &r, &l, &m)
				}
				m.Envelope, err = w.signers["source"].SignRelease(r)
				check(t, err)
				w.said()
				w.Ask(func(s *State) { s.Release(w.id("source"), m) })
				if said := w.said(); !strings.Contains(said, "RELEASE_DONE "+c.want) {
					t.Errorf("%s, want %s", said, c.want)
				}
			})
		})
	}
}

// TestCoordinatorReleasesItsOwnTasksOnly: a task of the owner's node is not its to release, in whatever words.
func TestCoordinatorReleasesItsOwnTasksOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newStage(t, nil)
		o := w.offer(1, []string{"a:100"}, func(o *offered) { o.Alias = w.owners["owner"].Alias("abc") })
		w.judged(o, "source")
		location, err := w.signers["other"].SignLocation(key.Location{Owner: w.owners["owner"].ID(), Alias: o.Alias, Version: 1,
			Task: o.Task, Term: 2, Seq: 1, Delegation: w.keeps("other", "abc", 2),
			Segments: [][]core.Span{{{Node: core.ID{1}, Length: 1}, {Node: core.ID{2}, Length: 1}}}})
		check(t, err)
		envelope, err := w.signers["other"].SignRelease(key.Release{Owner: w.owners["owner"].ID(), Task: o.Task, Alias: o.Alias,
			Version: 1, Time: time.Now().Unix(), Delegation: w.keeps("other", "abc", 2), Location: location})
		check(t, err)
		w.said()
		w.Ask(func(s *State) { s.Release(w.id("other"), wire.Release{Query: 1, Envelope: envelope}) })
		if said := w.said(); !strings.Contains(said, "code 20: task") {
			t.Error(said)
		}
	})
}
