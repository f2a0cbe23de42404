// SPDX-License-Identifier: Apache-2.0

package repair

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/placements"
	"github.com/bkp-tool/bkp/core/version"
)

// town is a node that a test plays, and those that it reaches.
type town struct {
	sync.Mutex
	reached []core.ID
	broken  map[core.ID]bool // they do not have what they signed for
	deaf    map[core.ID]bool // they answer no audit
	audits  int
	full    int // audits in full
	entered []core.Audited
	mended  []time.Time
	fails   error
	to      core.ID // who gets the copies that are made anew
	told    []string
}

func (w *town) ID() core.ID  { return core.ID{1} }
func (w *town) Ready() error { return nil }

func (w *town) Find(context.Context, []core.ID) {}

func (w *town) Reached() []core.ID {
	w.Lock()
	defer w.Unlock()
	return slices.Clone(w.reached)
}

func (w *town) Audit(_ context.Context, rec *placements.Record, node core.ID) (lost, err error) {
	w.Lock()
	defer w.Unlock()
	w.audits++
	switch now := time.Now(); {
	case w.deaf[node]:
		return nil, errors.New("it does not answer")
	case w.broken[node]:
		return errors.New("it has nothing"), rec.Refute(node, 0, nil, now)
	default:
		return nil, rec.Note(placements.Entry{What: placements.Proved, Node: node, Runs: []core.Range{{Length: 1}},
			Samples: 16, Time: now.Unix()})
	}
}

func (w *town) AuditInFull(_ context.Context, _ *placements.Record, _ core.ID, from int) (next int, err error) {
	w.Lock()
	defer w.Unlock()
	if w.full++; from < 2 {
		return from + 1, nil
	}
	return -1, nil
}

func (w *town) Enter(word core.Audited) error {
	w.Lock()
	defer w.Unlock()
	w.entered = append(w.entered, word)
	return nil
}

func (w *town) Mend(_ context.Context, rec *placements.Record, silent []core.ID,
	_ func(done, total core.Size)) error {
	w.Lock()
	defer w.Unlock()
	w.mended = append(w.mended, time.Now())
	if w.fails != nil {
		return w.fails
	}
	for _, id := range silent {
		if err := rec.Note(placements.Entry{What: placements.Told, Node: id}); err != nil {
			return err
		}
	}
	return has(rec, w.to)
}

// now changes the town.
func (w *town) now(change func()) {
	w.Lock()
	defer w.Unlock()
	change()
}

// seen is what it saw so far.
func (w *town) seen() (audits int, mended []time.Time) {
	w.Lock()
	defer w.Unlock()
	return w.audits, slices.Clone(w.mended)
}

// has notes that a node has all of a record.
func has(rec *placements.Record, id core.ID) error {
	run := []core.Range{{Length: 1}}
	return rec.Note(placements.Entry{What: placements.Told, Node: id, Runs: run},
		placements.Entry{What: placements.Receipted, Node: id, Runs: run},
		placements.Entry{What: placements.Proved, Node: id, Runs: run, Time: time.Now().Unix()},
		placements.Entry{What: placements.Held, Node: id})
}

var b, c, d = core.ID{2}, core.ID{3}, core.ID{4}

// play has a keeper keep a placement of two copies, at b and c, while a test goes on.
func play(t *testing.T, test func(w *town, k *Keeper, rec *placements.Record)) {
	synctest.Test(t, func(t *testing.T) {
		w := &town{reached: []core.ID{b, c, d}, broken: map[core.ID]bool{}, deaf: map[core.ID]bool{}, to: d}
		records := placements.OpenRecords(t.TempDir())
		defer records.Close()
		task := core.TaskID{7}
		chunks := []core.Chunk{{Hash: core.Hash{1}, Size: 100}}
		run := version.Run{Task: task, Used: core.FullBitmap(1), Run: core.Run{Chunks: chunks,
			File: core.File{Name: "x.1.0", Type: core.TypeFile, Hash: chunk.RunHash(chunks), Size: 100}}}
		rec, err := records.Begin(placements.Head{Alias: "x", Version: 1, Task: task, Source: w.ID(), Proofs: true,
			Wanted: placements.Wanted{Copies: 2}},
			[]*placements.Segment{placements.NewSegment(task, "x", 1, 0, []version.Run{run})})
		if err = errors.Join(err, has(rec, b), has(rec, c)); err != nil {
			t.Fatal(err)
		}
		k := New(Config{Grace: 15 * time.Minute, AuditEvery: 24 * time.Hour, Tell: w.tell}, w, records, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		go k.Run(ctx)
		test(w, k, rec)
		cancel()
		synctest.Wait()
	})
}

func TestAwayForLongerThanTheGrace(t *testing.T) {
	play(t, func(w *town, k *Keeper, rec *placements.Record) {
		time.Sleep(time.Hour)
		w.now(func() { w.reached = []core.ID{c, d} })
		k.Gone(b)
		time.Sleep(14 * time.Minute)
		w.now(func() { w.reached = []core.ID{b, c, d} }) // a blink
		k.Came(b)
		time.Sleep(time.Minute)
		w.now(func() { w.reached = []core.ID{c, d} })
		k.Gone(b)
		gone := time.Now()
		time.Sleep(14 * time.Minute)
		if _, mended := w.seen(); len(mended) > 0 {
			t.Fatalf("mended %d times before the grace was over", len(mended))
		}
		time.Sleep(time.Hour)
		if _, mended := w.seen(); len(mended) != 1 || mended[0].Sub(gone) > 15*time.Minute+5*time.Second {
			t.Errorf("mended at %v, after it went at %v", mended, gone)
		}
	})
}

func TestOwnLineDown(t *testing.T) {
	play(t, func(w *town, k *Keeper, _ *placements.Record) {
		w.now(func() { w.reached = nil })
		k.Gone(b)
		time.Sleep(48 * time.Hour)
		if _, mended := w.seen(); len(mended) > 0 {
			t.Errorf("mended %d times without reaching anybody", len(mended))
		}
	})
}

func TestFailedProofIsMendedAtOnce(t *testing.T) {
	play(t, func(w *town, _ *Keeper, rec *placements.Record) {
		time.Sleep(time.Hour)
		w.now(func() { w.broken[c] = true })
		if before, _ := w.seen(); before > 0 {
			t.Errorf("%d audits in the first hour", before)
		}
		time.Sleep(24 * time.Hour)
		if _, mended := w.seen(); len(mended) != 1 || rec.Counting() != 2 {
			t.Errorf("mended %d times, %d copies count", len(mended), rec.Counting())
		}
		if w.full != 3 {
			t.Errorf("%d audits in full, want one for each of three segments", w.full)
		}
	})
}

// TestNoAnswerIsNotLostAtOnce: it is asked again each minute, and given up after the grace.
func TestNoAnswerIsNotLostAtOnce(t *testing.T) {
	play(t, func(w *town, _ *Keeper, _ *placements.Record) {
		w.now(func() { w.deaf[c] = true })
		time.Sleep(24*time.Hour + 10*time.Minute)
		if audits, mended := w.seen(); len(mended) > 0 || audits < 8 {
			t.Errorf("mended %d times, after %d audits", len(mended), audits)
		}
		time.Sleep(10 * time.Minute)
		if _, mended := w.seen(); len(mended) != 1 {
			t.Errorf("mended %d times", len(mended))
		}
	})
}

// TestWhatCannotBeMended is tried ever less often, until somebody comes.
func TestWhatCannotBeMended(t *testing.T) {
	play(t, func(w *town, k *Keeper, rec *placements.Record) {
		w.now(func() { w.fails = core.Fail(core.CodeRedundant, "there is no room") })
		if err := rec.Refute(c, 0, nil, time.Now()); err != nil {
			t.Fatal(err)
		}
		k.Changed()
		time.Sleep(3 * time.Hour)
		if _, tries := w.seen(); len(tries) < 10 || len(tries) > 20 {
			t.Errorf("tried %d times in three hours", len(tries))
		}
		all, err := k.Standings()
		if err != nil || len(all) != 1 || all[0].Code(true) != core.CodeRedundant || all[0].Next.IsZero() {
			t.Errorf("it stands at %+v, %v", all, err)
		}
		w.now(func() { w.fails = nil })
		k.Came(core.ID{9})
		came := time.Now()
		time.Sleep(time.Minute)
		_, tries := w.seen()
		if last := tries[len(tries)-1].Sub(came); last > 35*time.Second || rec.Counting() != 2 {
			t.Errorf("tried last %s after somebody came, %d copies count", last, rec.Counting())
		}
	})
}

// TestAuditsAreEntered: one sum a day, and each failure by itself.
func TestAuditsAreEntered(t *testing.T) {
	play(t, func(w *town, _ *Keeper, rec *placements.Record) {
		time.Sleep(49 * time.Hour)
		w.now(func() { w.broken[c] = true })
		time.Sleep(25 * time.Hour)
		w.now(func() { w.broken[c], w.to = false, c })
		time.Sleep(24 * time.Hour)
		w.Lock()
		defer w.Unlock()
		proved, unanswered, failed := 0, 0, 0
		for _, e := range w.entered {
			if e.Task != rec.Task || e.Failed > 0 && (e.Target != c || e.Note == "") || e.Time < e.Since {
				t.Errorf("entered was %+v", e)
			}
			proved, unanswered, failed = proved+e.Proved, unanswered+e.Unanswered, failed+e.Failed
		}
		if len(w.entered) != 4 || proved != 5 || failed != 1 {
			t.Errorf("%d entries: %d proved, %d unanswered, %d failed: %+v", len(w.entered), proved, unanswered, failed,
				w.entered)
		}
	})
}

// TestNothingToMendIsNotMendedForEver: who answers all but audits is done without, and where that cannot be it is tried
// ever less often.
func TestNothingToMendIsNotMendedForEver(t *testing.T) {
	for _, to := range []core.ID{d, b} { // to where it helps, and to where it does not
		play(t, func(w *town, _ *Keeper, rec *placements.Record) {
			w.now(func() { w.deaf[b], w.to = true, to })
			time.Sleep(30 * time.Hour)
			_, mended := w.seen()
			if to == d && (len(mended) != 1 || rec.Counting() != 2) {
				t.Errorf("mended %d times, %d copies count", len(mended), rec.Counting())
			}
			if len(mended) == 0 || len(mended) > 40 {
				t.Errorf("mended %d times in six hours", len(mended))
			}
		})
	}
}
