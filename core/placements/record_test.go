// SPDX-License-Identifier: Apache-2.0

package placements

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/durable/durabletest"
	"github.com/bkp-tool/bkp/core/version"
)

// someRuns is runs that a record may have, of one chunk each.
func someRuns(task core.TaskID, n int) (runs []version.Run) {
	for i := range n {
		chunks := []core.Chunk{{Hash: core.Hash{byte(i), 1}, Size: 100}}
		runs = append(runs, version.Run{Task: task, Used: core.FullBitmap(1), Run: core.Run{Chunks: chunks, File: core.File{
			Name: fmt.Sprint("x.1.", i), Type: core.TypeFile, Order: i, Hash: chunk.RunHash(chunks), Size: 100}}})
	}
	return runs
}

func begin(t testing.TB, r *Records, task core.TaskID, known ...Entry) *Record {
	t.Helper()
	rec, err := r.Begin(Head{Owner: a, Alias: "x", Version: 1, Task: task, Source: a, Began: 5, Proofs: true,
		Wanted: Wanted{Copies: 2}},
		[]*Segment{NewSegment(task, "x", 1, 0, someRuns(task, 4)), NewSegment(task, "x", 1, 1, someRuns(task, 2))}, known...)
	check(t, err)
	return rec
}

func told(node core.ID, segment int, runs ...core.Range) Entry {
	return Entry{What: Told, Node: node, Segment: segment, License: core.LicenseID{byte(segment + 1)}, Runs: runs}
}

// TestRecordIsReadAsItWasWritten: by another process, also where the last lines of its journal are torn.
func TestRecordIsReadAsItWasWritten(t *testing.T) {
	dir := t.TempDir()
	task := core.TaskID{7}
	r := OpenRecords(dir)
	rec := begin(t, r, task)
	check(t, rec.Note(told(b, 0, core.Range{Length: 4}), told(b, 1, core.Range{Length: 2}),
		told(c, 0, core.Range{Length: 4}), told(c, 1, core.Range{Length: 2}), told(d, 1, core.Range{Length: 2}),
		Entry{What: Refused, Node: d, Segment: 1},
		Entry{What: Receipted, Node: b, Segment: 0, Runs: []core.Range{{Start: -3, Length: 1 << 40}}},
		Entry{What: Receipted, Node: c, Segment: 0, Runs: []core.Range{{Length: 4}}},
		Entry{What: Receipted, Node: b, Segment: 1, Runs: []core.Range{{Length: 2}}},
		Entry{What: Receipted, Node: c, Segment: 1, Runs: []core.Range{{Length: 2}}}))
	if got := rec.Counting(); got != 0 {
		t.Errorf("%d copies count by receipts alone", got)
	}
	for _, id := range []core.ID{b, c} {
		for segment, runs := range rec.Runs {
			check(t, rec.Note(Entry{What: Proved, Node: id, Segment: segment, Runs: []core.Range{{Length: runs}}, Samples: 16}))
		}
	}
	if got := rec.Counting(); got != 0 {
		t.Errorf("%d copies count without a ref", got)
	}
	check(t, rec.Note(Entry{What: Held, Node: b}, Entry{What: Held, Node: c}))
	if got := rec.Counting(); got != 2 {
		t.Errorf("%d copies count, want 2", got)
	}
	check(t, rec.Note(Entry{What: Lost, Node: c, Segment: 1, Runs: []core.Range{{Start: 1, Length: 1}}}))
	check(t, r.Close())
	journal := filepath.Join(rec.dir, "journal")
	whole, err := os.ReadFile(journal)
	check(t, err)
	for _, torn := range []string{"", `{"what":"told","no`, "\x00\x00\x00\n", `{"what":"told","segment":99}` + "\n"} {
		check(t, os.WriteFile(journal, append(slices.Clone(whole), torn...), 0o600))
		r := OpenRecords(dir)
		all, err := r.Of("x", 1)
		check(t, err)
		if len(all) != 1 || !reflect.DeepEqual(all[0].Head, rec.Head) || !slices.Equal(all[0].Bound(), []core.ID{b, c}) {
			t.Fatalf("%q: %d records, bound %v", torn, len(all), all[0].Bound())
		}
		if copies, wanted, known, err := r.Short("x", 1); copies != 1 || wanted != 2 || !known || err != nil {
			t.Errorf("%q: %d of %d copies, known %v, %v", torn, copies, wanted, known, err)
		}
		segments, err := all[0].Segments(func(id core.ID) bool { return id == b })
		check(t, err)
		s := segments[1]
		if !reflect.DeepEqual(s.Runs, someRuns(task, 2)) || !slices.Equal(s.Targets, []core.ID{b}) ||
			!slices.Equal(s.Share(b), []int{0, 1}) || !s.Told[c] || s.Receipts[c].Has(1) || !s.Receipts[c].Has(0) ||
			!slices.Equal(s.Licenses, []core.LicenseID{{2}}) || s.Fresh != 2 {
			t.Errorf("%q: segment 1 is read as %+v", torn, s)
		}
		check(t, all[0].Note(told(d, 0, core.Range{Length: 1})))
		check(t, r.Close())
		all, err = OpenRecords(dir).Of("x", 1)
		check(t, err)
		if got := all[0].Bound(); !slices.Equal(got, []core.ID{b, c, d}) {
			t.Errorf("%q: noted after it, bound %v", torn, got)
		}
	}
}

// TestPowerLossRecord: whoever was told stands in the record until it let go, and a record that was begun is there.
func TestPowerLossRecord(t *testing.T) {
	dir := durabletest.Dir(t)
	rec := durabletest.Record(t, dir)
	r := OpenRecords(filepath.Join(dir, "placements"))
	p := begin(t, r, core.TaskID{7})
	rec.Promise([]core.ID{})
	bound := []core.ID{}
	for _, id := range []core.ID{b, c, d} {
		check(t, p.Note(told(id, 0, core.Range{Length: 4})))
		check(t, p.Sync())
		bound = append(bound, id)
		rec.Promise(slices.Clone(bound))
		check(t, p.Note(Entry{What: Receipted, Node: id, Segment: 0, Runs: []core.Range{{Length: 2}}}))
	}
	check(t, r.Close())
	rec.Check(t, 400, func(roots []string, promises []any) error {
		all, err := OpenRecords(filepath.Join(roots[0], "placements")).All()
		switch {
		case err != nil:
			return err
		case len(promises) == 0:
			return nil
		case len(all) != 1:
			return fmt.Errorf("%d records", len(all))
		}
		got := all[0].Bound()
		for _, id := range promises[len(promises)-1].([]core.ID) {
			if !slices.Contains(got, id) {
				return fmt.Errorf("%s was told, and is not in the record", id.Short())
			}
		}
		_, err = all[0].Segments(func(core.ID) bool { return true })
		return err
	})
}

// TestPowerLossRecordOfWhatIsKnown: there is no record, or one with all that was known when it began.
func TestPowerLossRecordOfWhatIsKnown(t *testing.T) {
	dir := durabletest.Dir(t)
	rec := durabletest.Record(t, dir)
	r := OpenRecords(filepath.Join(dir, "placements"))
	nodes := []core.ID{b, c, d}
	var known []Entry
	for _, id := range nodes {
		known = append(known, told(id, 0, core.Range{Length: 4}))
	}
	begin(t, r, core.TaskID{7}, known...)
	rec.Promise(nodes)
	check(t, r.Close())
	rec.Check(t, 400, func(roots []string, promises []any) error {
		all, err := OpenRecords(filepath.Join(roots[0], "placements")).All()
		if err == nil && (len(all) > 1 || len(all) == 0 && len(promises) > 0) {
			err = fmt.Errorf("%d records", len(all))
		}
		for _, one := range all {
			if got := one.Bound(); len(got) < len(nodes) {
				err = fmt.Errorf("of %d nodes that keep it %d are on record", len(nodes), len(got))
			}
		}
		return err
	})
}

// TestPowerLossRefuted: what an audit took back does not count again.
func TestPowerLossRefuted(t *testing.T) {
	dir := durabletest.Dir(t)
	rec := durabletest.Record(t, dir)
	r := OpenRecords(filepath.Join(dir, "placements"))
	p, err := r.Begin(Head{Owner: a, Alias: "x", Version: 1, Task: core.TaskID{7}, Source: a, Began: 5, Wanted: Wanted{Copies: 1}},
		[]*Segment{NewSegment(core.TaskID{7}, "x", 1, 0, someRuns(core.TaskID{7}, 4))},
		told(b, 0, core.Range{Length: 4}), Entry{What: Receipted, Node: b, Segment: 0, Runs: []core.Range{{Length: 4}}})
	check(t, err)
	if got := p.Counting(); got != 1 {
		t.Fatalf("%d copies count, want 1", got)
	}
	check(t, p.Refute(b, 0, nil, time.Unix(9, 0)))
	rec.Promise("refuted")
	rec.Check(t, 400, func(roots []string, promises []any) error {
		all, err := OpenRecords(filepath.Join(roots[0], "placements")).All()
		if err == nil && len(promises) > 0 && (len(all) != 1 || all[0].Counting() > 0) {
			err = errors.New("a copy counts that was refuted")
		}
		return err
	})
}

// TestPowerLossOver: a record that is over is not taken up again, or two of a version would be kept.
func TestPowerLossOver(t *testing.T) {
	dir := durabletest.Dir(t)
	rec := durabletest.Record(t, dir)
	r := OpenRecords(filepath.Join(dir, "placements"))
	p := begin(t, r, core.TaskID{7}, told(b, 0, core.Range{Length: 4}))
	check(t, p.End())
	rec.Promise("over")
	check(t, p.LetGo(b))
	rec.Promise("forgotten")
	rec.Check(t, 400, func(roots []string, promises []any) error {
		all, err := OpenRecords(filepath.Join(roots[0], "placements")).All()
		if err == nil && len(promises) > 0 && slices.ContainsFunc(all, func(r *Record) bool { return !r.IsOver() }) {
			err = errors.New("a record is kept that was over")
		}
		if err == nil && len(promises) > 1 && len(all) > 0 {
			err = errors.New("a record is there that was forgotten")
		}
		return err
	})
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestRecordFromBeforeThereWereProofs: its copies count by their receipts, until one of them is found wanting.
func TestRecordFromBeforeThereWereProofs(t *testing.T) {
	dir := t.TempDir()
	r := OpenRecords(dir)
	rec := begin(t, r, core.TaskID{7})
	for segment, runs := range rec.Runs {
		for _, id := range []core.ID{b, c} {
			check(t, rec.Note(told(id, segment, core.Range{Length: runs}),
				Entry{What: Receipted, Node: id, Segment: segment, Runs: []core.Range{{Length: runs}}}))
		}
	}
	check(t, r.Close())
	old := fmt.Sprintf(`{"v":1,"owner":"%s","alias":"x","version":1,"task":"%s","source":"%s","runs":[4,2],"began":5,`+
		`"copies":2}`, a, core.TaskID{7}, a)
	check(t, os.WriteFile(filepath.Join(rec.dir, "head"), []byte(old+"\n"), 0o600))
	all, err := OpenRecords(dir).Of("x", 1)
	check(t, err)
	if got := all[0].Counting(); got != 2 {
		t.Fatalf("%d copies count, want 2", got)
	}
	check(t, all[0].Refute(c, 1, []core.Range{{Length: 1}}, time.Unix(9, 0)))
	if got := all[0].Counting(); got != 1 {
		t.Errorf("%d copies count of which one was refuted, want 1", got)
	}
}
