// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/keep/lost"
	"github.com/bkp-tool/bkp/core/ledger"
)

// paper is holdings, packs and a ledger that say what a test has them say.
type paper struct {
	lost.Holdings // knows nothing of the rest
	segments      []core.Segment
	kept          map[core.SegmentID][]core.Holding
	refs          []core.HeldRef
	head          core.LedgerHead
	remembered    bool
	standing      core.Standing
	holds         error
	gone          map[core.Hash]bool
	fails         error
}

func (p *paper) Segments() ([]core.Segment, error) { return p.segments, p.fails }
func (p *paper) Kept(task core.TaskID, number int) ([]core.Holding, error) {
	return p.kept[core.SegmentID{Task: task, Number: number}], p.fails
}
func (p *paper) Refs(core.ID) ([]core.HeldRef, error)             { return p.refs, p.fails }
func (p *paper) Remembered() (core.LedgerHead, bool, error)       { return p.head, p.remembered, p.fails }
func (p *paper) Has(_ context.Context, h core.Hash) (bool, error) { return !p.gone[h], p.fails }

// book is the ledger of a paper.
type book struct{ *paper }

func (b book) Standing() (core.Standing, error) { return b.standing, b.fails }
func (b book) Holds(core.LedgerHead) error      { return b.holds }

func TestRecordsThatDisagree(t *testing.T) {
	id := core.SegmentID{Task: core.TaskID{1}}
	owner := core.ID{7}
	license := core.LicenseID{1}
	a, b, record := core.Chunk{Hash: core.Hash{1}, Size: 10}, core.Chunk{Hash: core.Hash{2}, Size: 5},
		core.Chunk{Hash: core.Hash{3}, Size: 1}
	holding := func(number int, kept core.Bitmap) core.Holding {
		return core.Holding{Task: id.Task, Number: number, Chunks: []core.Chunk{a, b}, Kept: kept}
	}
	agreed := func() *paper {
		return &paper{
			segments:   []core.Segment{{Task: id.Task, Owner: owner, LicenseID: license}},
			kept:       map[core.SegmentID][]core.Holding{id: {holding(0, core.Bitmap{3}), holding(1, core.Bitmap{1})}},
			refs:       []core.HeldRef{{Owner: owner, Alias: "x", Version: 4, Records: []core.Chunk{record}}},
			remembered: true,
			standing: core.Standing{Licenses: map[core.LicenseID]bool{license: true},
				Segments: map[core.SegmentID]core.StandingSegment{id: {Owner: owner, Runs: core.Bitmap{3}}}},
			gone: map[core.Hash]bool{},
		}
	}
	for _, c := range []struct {
		name   string
		change func(*paper)
		want   string // keys of the damage
		lost   string
	}{
		{"all agree", func(*paper) {}, "", ""},
		{"a licence is missing", func(p *paper) { p.standing.Licenses = nil }, "licences", ""},
		{"a receipt has no holding", func(p *paper) { p.kept[id] = p.kept[id][:1] }, "receipts", "[1]"},
		{"a holding has no receipt yet", func(p *paper) {
			s := p.standing.Segments[id]
			s.Runs = core.Bitmap{1}
			p.standing.Segments[id] = s
		}, "", ""},
		{"a segment of receipts is not known", func(p *paper) { p.segments, p.kept = nil, nil }, "receipts", "[0 1]"},
		{"a chunk of one run is gone", func(p *paper) { p.gone[b.Hash] = true }, "packs", "[0]"},
		{"a chunk of both is gone", func(p *paper) { p.gone[a.Hash] = true }, "packs", "[0 1]"},
		{"a record of a ref is gone", func(p *paper) { p.gone[record.Hash] = true }, "refs", ""},
		{"the ledger was cut", func(p *paper) { p.holds = core.Fail(core.CodeWrong, "it was cut") }, "ledger", ""},
		{"and chunks are gone", func(p *paper) {
			p.holds = core.Fail(core.CodeWrong, "it was cut")
			p.gone[a.Hash], p.gone[record.Hash] = true, true
		}, "ledger packs refs", "[0 1]"},
		{"a database that never heard of the ledger", func(p *paper) {
			p.remembered, p.standing = false, core.Standing{}
		}, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := agreed()
			c.change(p)
			found, err := CheckRecords(t.Context(), p, p, book{p})
			check(t, err)
			var keys []string
			for _, d := range found.Damage {
				keys = append(keys, d.Key)
			}
			if got := strings.Join(keys, " "); got != c.want || (found.Err() == nil) != (c.want == "") {
				t.Errorf("damage %q, error %v; want %q", got, found.Err(), c.want)
			}
			var runs []string
			for _, l := range found.Lost {
				runs = append(runs, rangesTextOf(l.Runs))
			}
			if got := strings.Join(runs, " "); got != c.lost {
				t.Errorf("lost runs %q, want %q", got, c.lost)
			}
		})
	}
}

func rangesTextOf(runs []int) string {
	var texts []string
	for _, r := range runs {
		texts = append(texts, string(rune('0'+r)))
	}
	return "[" + strings.Join(texts, " ") + "]"
}

// What could not be looked at is an error, never damage or the lack of it.
func TestRecordsThatCannotBeRead(t *testing.T) {
	p := &paper{fails: errDown, remembered: true}
	if found, err := CheckRecords(t.Context(), p, p, book{p}); err == nil || len(found.Damage) > 0 {
		t.Errorf("found %+v, %v", found, err)
	}
	p = &paper{remembered: true, holds: errDown}
	if found, err := CheckRecords(t.Context(), p, p, book{p}); err == nil || len(found.Damage) > 0 {
		t.Errorf("found %+v, %v", found, err)
	}
	gone := errors.New("it was lost")
	found, err := CheckRecords(t.Context(), &lost.Holdings{Why: gone}, p, &lost.Ledger{Why: gone})
	check(t, err)
	if len(found.Damage) != 2 || found.Damage[0].Key != "holdings.db" || found.Damage[1].Key != "ledger" {
		t.Errorf("found %+v", found)
	}
	if hint := core.HintOf(found.Err()); !strings.Contains(hint, "bkp node repair") ||
		core.CodeOf(found.Err()) != core.CodeWrong {
		t.Errorf("%v, hint %q", found.Err(), hint)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p = &paper{segments: []core.Segment{{}}}
	if _, err := CheckRecords(ctx, p, p, book{p}); !errors.Is(err, context.Canceled) {
		t.Errorf("a check that was stopped: %v", err)
	}
}

// A release comes between two looks: it is in the ledger before the holding goes.
func TestReleaseDuringACheckIsNoDamage(t *testing.T) {
	id := core.SegmentID{Task: core.TaskID{1}}
	p := &paper{remembered: true, standing: core.Standing{
		Segments: map[core.SegmentID]core.StandingSegment{id: {Runs: core.Bitmap{1}}}}}
	found, err := CheckRecords(t.Context(), p, p, &released{book: book{p}})
	check(t, err)
	if len(found.Damage) != 0 {
		t.Errorf("found %+v", found)
	}
}

// released is a ledger to which a release comes after the first look.
type released struct {
	book
	looks int
}

func (l *released) Standing() (core.Standing, error) {
	if l.looks++; l.looks > 1 {
		return core.Standing{}, nil
	}
	return l.standing, nil
}

// While something is damaged nothing is collected, and nothing new is taken: from the start on.
func TestDamageThatTheRoofFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newStage(t, func(c *Config) { c.Damaged = []core.Damage{{Key: "pins.json", Text: "it is torn"}} })
		if why, is := w.Refuses(); !is || why != "it is torn: bkp node repair" {
			t.Errorf("%q, %v", why, is)
		}
		found, err := w.target.Check(t.Context())
		check(t, err)
		if found.Err() == nil {
			t.Error("a look at the records finds nothing")
		}
		w.target.released.add()
		w.target.collectReleased()
		if !w.target.released.wait() {
			t.Error("what was released was freed")
		}
	})
}

// Who was told that runs are here that were found not to be hears so when their segment is offered again: once.
func TestForgottenRunsAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newStage(t, nil)
		o := w.offer(1, []string{"a:10"}, nil)
		w.keep(o)
		for _, want := range []bool{false, true, false} {
			if want {
				w.target.loop.Ask(func(s *State) { s.forgetRuns(core.SegmentID{Task: core.TaskID{1}}, []int{0}) })
			}
			w.said()
			w.Ask(func(s *State) { s.Offer(w.id("source"), true, o.StorageTask) })
			if said := w.said(); strings.Contains(said, "lacks what it had") != want {
				t.Errorf("runs were forgotten %v: %s", want, said)
			}
		}
	})
}

// A target over lost records starts, says so, takes nothing and gives nothing away.
func TestLostRecords(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Config)
		keys   []string
	}{
		{"no holdings", func(c *Config) { c.Holdings = &lost.Holdings{Why: errDown} }, []string{"holdings.db"}},
		{"no ledger", func(c *Config) { c.Ledger = &lost.Ledger{Why: errDown} }, []string{"ledger"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newStage(t, c.change)
				if _, is := w.Refuses(); !is || w.reasons[c.keys[0]] == "" {
					t.Errorf("reasons: %v", w.reasons)
				}
				o := w.offer(1, []string{"a:10"}, nil)
				if answer := w.judged(o, "source"); !strings.Contains(answer, "code 18") {
					t.Error(answer)
				}
				w.Recover(c.keys[0]) // whoever asks all the same gets an error
				if answer := w.judged(o, "source"); !strings.Contains(answer, "code 1: ") {
					t.Error(answer)
				}
				w.release(core.TaskID{1}, "owner", "source")
				said, want := w.said(), "RELEASE_DONE 0 runs, 0 kB code 1"
				if c.keys[0] == "holdings.db" && !strings.Contains(said, want) {
					t.Error(said)
				}
			})
		})
	}
}

// A database of a release that knew nothing of the ledger is begun: its holdings are described, and receipts of what
// was let go of by then end.
func TestFirstStartBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newStage(t, nil)
		w.keep(w.offer(1, []string{"a:100"}, nil))
		w.keep(w.offer(2, []string{"b:100"}, nil))
		w.stop()
		_, _, err := w.holdings.ReleaseTask(w.owners["owner"].ID(), core.TaskID{1}) // as the first releases did
		check(t, err)
		w.config.Holdings = &forgetful{Holdings: w.config.Holdings}
		w.start()
		if last := w.ledger.Last(); last != ledger.KindExpired {
			t.Errorf("the last entry is a %s", last)
		}
		found, err := w.target.Check(t.Context())
		check(t, err)
		if found.Err() != nil {
			t.Error(found.Err())
		}
	})
}

// forgetful is a database that does not remember the ledger at first.
type forgetful struct {
	Holdings
	knows bool
}

func (f *forgetful) Remembered() (core.LedgerHead, bool, error) {
	if !f.knows {
		return core.LedgerHead{}, false, nil
	}
	return f.Holdings.Remembered()
}

func (f *forgetful) Remember(head core.LedgerHead) error {
	f.knows = true
	return f.Holdings.Remember(head)
}

// A database that failed while its records were begun answers nothing any more: nothing is begun on it, where a fetch once
// brought its file, failed at the end, and left the file there.
func TestNothingIsBegunOnABrokenDatabase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newStage(t, nil)
		w.stop()
		w.config.Holdings = &failing{forgetful{Holdings: w.config.Holdings}}
		if _, _, err := Open(t.Context(), w.config, w, w, (*played)(w)); !errors.Is(err, errDown) {
			t.Errorf("it begins: %v", err)
		}
	})
}

// failing is a database whose first commit fails.
type failing struct{ forgetful }

func (f *failing) Remember(core.LedgerHead) error { return errDown }
func (f *failing) Broken() error                  { return errDown }

// Lists are told without the runs whose bytes are gone.
func TestFilesWithoutWhatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newStage(t, nil)
		o := w.offer(1, []string{"a:100", "b:100"}, nil)
		w.keep(o)
		w.store.Lose(o.pieces[1].Chunks[0])
		files, err := w.holdings.Files(0, 10)
		check(t, err)
		w.target.WithoutGone(files)
		gone := slices.IndexFunc(files, func(f core.File) bool { return f.Hash.IsZero() })
		if len(files) != 2 || gone < 0 || files[1-gone].Hash != o.pieces[0].Hash {
			t.Errorf("%+v", files)
		}
	})
}

// What frees space is carried out in room that was set aside for it: the record that a task ended, and the sweep.
func TestFreeingHasItsOwnRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		entered := 0
		w := newStage(t, func(c *Config) { c.Freeing = func(do func() error) error { entered++; return do() } })
		w.keep(w.offer(1, []string{"a:100"}, nil))
		if entered != 0 {
			t.Errorf("%d before anything is freed", entered)
		}
		w.release(core.TaskID{1}, "owner", "source")
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if used, _, _ := w.space(); entered != 2 || used != 0 {
			t.Errorf("entered %d times, %s are kept", entered, used)
		}
	})
}
