// SPDX-License-Identifier: Apache-2.0

package disk_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/storage/disk"
	"pgregory.net/rapid"
)

// refs says which pieces something refers to.
type refs map[int]bool

func (r refs) live(size int) func(core.Hash) bool {
	hashes := map[core.Hash]bool{}
	for n := range r {
		hashes[makePiece(n, size).Hash] = true
	}
	return func(h core.Hash) bool { return hashes[h] }
}

func nothing(core.Hash) bool { return false }

func sweep(t testing.TB, s *disk.Store, live func(core.Hash) bool) disk.SweepReport {
	t.Helper()
	report, err := s.Sweep(bg, asked(live))
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func finds(s *disk.Store, p piece) bool {
	_, ok := found(s, p.id)
	return ok
}

// A writer found a chunk that nothing refers to. Until it is gone the chunk stays, and whoever comes later does not
// find it.
func TestADeadChunkWaitsForWhoMayLeanOnIt(t *testing.T) {
	p := makePiece(1, 1000)
	for _, c := range []struct {
		name   string
		refers bool
	}{{"and goes after it", false}, {"and comes back where it was used", true}} {
		t.Run(c.name, func(t *testing.T) {
			dir, _ := finishedStore(t, []piece{p})
			early, s := open(t, dir), open(t, dir)
			defer closeStore(t, s)
			report := sweep(t, s, nothing)
			if report.Removed != 0 || report.Waiting != 1000 || len(report.Writers) != 1 ||
				report.Writers[0].PID != os.Getpid() {
				t.Errorf("while a writer lives: %+v", report)
			}
			if !finds(early, p) {
				t.Error("the early writer does not find it any more")
			}
			late := open(t, dir)
			if finds(late, p) {
				t.Error("a late writer finds it")
			}
			wantPiece(t, late, p)
			if report = sweep(t, s, nothing); report.Removed != 0 || len(report.Writers) != 1 ||
				report.Writers[0].Epoch != 0 {
				t.Errorf("the late writer is not in the way, the early one is: %+v", report)
			}
			closeStore(t, early)
			live := nothing
			if c.refers {
				live = func(core.Hash) bool { return true }
			}
			report = sweep(t, s, live)
			if kept := report.Removed == 0; kept != c.refers || report.Waiting != 0 || len(report.Writers) > 0 {
				t.Errorf("once it is gone: %+v", report)
			}
			if put(t, late, p) != true {
				t.Error("the late writer leans on what it must not know of")
			}
			closeStore(t, late)
			last := open(t, dir)
			defer closeStore(t, last)
			if !finds(last, p) {
				t.Error("it is not found again")
			}
			wantPiece(t, last, p)
		})
	}
}

// A writer comes after live has begun to answer, finds a chunk, refers to it and is gone: the answer was too old.
func TestAWriterThatCameAndWentDuringASweep(t *testing.T) {
	p := makePiece(1, 1000)
	dir, _ := finishedStore(t, []piece{p})
	s := open(t, dir)
	defer closeStore(t, s)
	came := false
	report := sweep(t, s, func(core.Hash) bool {
		if came {
			return false
		}
		came = true
		passing := open(t, dir)
		if !finds(passing, p) {
			t.Error("it finds nothing")
		}
		closeStore(t, passing)
		return false
	})
	if report.Removed != 0 || report.Waiting != 1000 {
		t.Errorf("%+v", report)
	}
	if report = sweep(t, s, refs{1: true}.live(1000)); report.Removed != 0 || report.Waiting != 0 {
		t.Errorf("now that it is known: %+v", report)
	}
	wantPiece(t, s, p)
	if report = sweep(t, s, nothing); report.Removed != 1 {
		t.Errorf("and not used any more: %+v", report)
	}
}

// Work in this process that leans on what it finds says so.
func TestAHoldIsAWriter(t *testing.T) {
	p := makePiece(1, 1000)
	dir, _ := finishedStore(t, []piece{p})
	s := open(t, dir)
	defer closeStore(t, s)
	release, err := s.Hold(bg)
	if err != nil {
		t.Fatal(err)
	}
	if report := sweep(t, s, nothing); report.Removed != 0 || len(report.Writers) != 1 {
		t.Errorf("held: %+v", report)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if report := sweep(t, s, nothing); report.Removed != 1 {
		t.Errorf("released: %+v", report)
	}
}

// Whoever lost CONDEMNED, or found it damaged: nothing goes that a living writer may lean on.
func TestALostListOfTheCondemned(t *testing.T) {
	p, q := makePiece(1, 1000), makePiece(2, 1000)
	for name, hurt := range map[string]func(path string) error{
		"lost": os.Remove, "empty": func(path string) error { return os.Truncate(path, 0) },
		"a bit": func(path string) error { flipBit(t, path, 17); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			dir, _ := finishedStore(t, []piece{p})
			s, early := open(t, dir), open(t, dir)
			defer closeStore(t, s)
			sweep(t, s, nothing)
			middle := open(t, dir) // knows that p is condemned
			put(t, middle, q)
			closeStore(t, early)
			if err := hurt(filepath.Join(dir, "writers", "CONDEMNED")); err != nil {
				t.Fatal(err)
			}
			late := open(t, dir)
			if !finds(late, p) {
				t.Error("nothing says that it is condemned")
			}
			if report := sweep(t, s, nothing); report.Removed != 0 || report.Waiting != 1000 ||
				len(report.Writers) != 2 {
				t.Errorf("with a writer that found it: %+v", report)
			}
			closeStore(t, late)
			closeStore(t, middle)
			if report := sweep(t, s, nothing); report.Removed != 2 {
				t.Errorf("without: %+v", report)
			}
		})
	}
}

// What a collection does once no pack goes any more holds nobody up: it reads the whole index.
func TestPutsGoOnWhileTheIndexIsLookedThrough(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 0, 40, 10)
	s := open(t, dir)
	defer closeStore(t, s)
	if err := s.Compact(); err != nil {
		t.Fatal(err)
	}
	flipBit(t, onlyTable(t, dir), 20*48+3)
	tidying := false
	s.SetStepped(func(step string) {
		if step != "tidying" {
			return
		}
		tidying = true
		put(t, s, makePiece(40, 200)) // would wait for ever
		barrier(t, s)
	})
	sweep(t, s, func(core.Hash) bool { return true })
	if !tidying {
		t.Error("nothing was tidied")
	}
	wantAll(t, s, 41)
	if found := named(t, dir); len(found) > 0 {
		t.Errorf("still damaged: %v", found)
	}
}

func onlyTable(t *testing.T, dir string) string {
	t.Helper()
	tables, err := filepath.Glob(filepath.Join(dir, "index", "*.idx"))
	if err != nil || len(tables) != 1 {
		t.Fatalf("tables %v, %v", tables, err)
	}
	return tables[0]
}

func TestOneSweepAtATime(t *testing.T) {
	p := makePiece(1, 1000)
	dir, _ := finishedStore(t, []piece{p})
	s, other := open(t, dir), open(t, dir)
	defer closeStore(t, s)
	begun := false
	sweep(t, s, func(core.Hash) bool {
		if begun {
			return true
		}
		begun = true
		_, err := other.Sweep(bg, asked(nothing))
		if !errors.Is(err, disk.ErrLocked) || core.CodeOf(err) != core.CodeBusy || core.HintOf(err) == "" {
			t.Errorf("a second sweep: %v", err)
		}
		q := makePiece(2, 10)
		put(t, other, q) // others write all the while
		closeStore(t, other)
		return true
	})
	wantPiece(t, s, p)
	wantPiece(t, s, makePiece(2, 10))
}

// Writers come, find or put pieces, refer to them, die or go, while sweeps run, also in the middle of these: what is
// referred to can be read, and so can what a living writer leans on.
func TestNoOrderOfWritersAndSweepsLosesAPiece(t *testing.T) {
	const size = 100
	type working struct {
		*disk.Store
		leans refs
	}
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		referred := refs{}
		var writers []*working
		one := func(rt *rapid.T) *working {
			if len(writers) == 0 {
				rt.Skip("nobody writes")
			}
			return rapid.SampledFrom(writers).Draw(rt, "writer")
		}
		pieces := rapid.IntRange(0, 9)
		actions := map[string]func(*rapid.T){
			"come": func(rt *rapid.T) {
				if len(writers) < 4 {
					s := open(t, dir)
					s.SetPackSize(500)
					s.SetMaxLoose(5)
					writers = append(writers, &working{s, refs{}})
				}
			},
			"use": func(rt *rapid.T) {
				w, n := one(rt), pieces.Draw(rt, "piece")
				if p := makePiece(n, size); !finds(w.Store, p) {
					put(t, w.Store, p)
				}
				w.leans[n] = true
			},
			"refer": func(rt *rapid.T) {
				w := one(rt)
				barrier(t, w.Store)
				for n := range w.leans {
					referred[n] = true
				}
			},
			"go": func(rt *rapid.T) {
				w := one(rt)
				closeStore(t, w.Store)
				for i := range writers {
					if writers[i] == w {
						writers = append(writers[:i], writers[i+1:]...)
						break
					}
				}
			},
			"pass": func(rt *rapid.T) {
				n := pieces.Draw(rt, "piece")
				s := open(t, dir)
				if p := makePiece(n, size); !finds(s, p) {
					put(t, s, p)
				}
				barrier(t, s)
				referred[n] = true
				closeStore(t, s)
			},
			"forget": func(rt *rapid.T) { delete(referred, pieces.Draw(rt, "piece")) },
		}
		sweeping := func(rt *rapid.T) {
			s := open(t, dir)
			s.SetPackSize(500)
			defer closeStore(t, s)
			var live func(core.Hash) bool
			_, err := s.Sweep(bg, func(h core.Hash) (bool, error) {
				if live == nil {
					live = referred.live(size)
					for range rapid.IntRange(0, 4).Draw(rt, "steps meanwhile") {
						name := rapid.SampledFrom([]string{"come", "use", "refer", "go", "pass", "forget"}).Draw(rt,
							"meanwhile")
						if len(writers) > 0 || name == "come" || name == "forget" {
							actions[name](rt)
						}
					}
				}
				return live(h), nil
			})
			if err != nil {
				rt.Fatal(err)
			}
		}
		all := map[string]func(*rapid.T){"sweep": sweeping, "": func(rt *rapid.T) {
			if len(referred) > 0 {
				s, err := disk.OpenRead(dir)
				if err != nil {
					rt.Fatal(err)
				}
				for n := range referred {
					wantPiece(rt, s, makePiece(n, size))
				}
				closeStore(t, s)
			}
			for _, w := range writers {
				for n := range w.leans {
					wantPiece(rt, w.Store, makePiece(n, size))
				}
			}
		}}
		for name, do := range actions {
			all[name] = do
		}
		rt.Repeat(all)
		for _, w := range writers {
			closeStore(t, w.Store)
		}
	})
}
