// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"

	"go.etcd.io/bbolt"

	"github.com/bkp-tool/bkp/cmd/bkp/datadir"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/durable/durabletest"
	"github.com/bkp-tool/bkp/core/keep"
	"github.com/bkp-tool/bkp/core/keep/lost"
	"github.com/bkp-tool/bkp/core/storage/disk"
	"github.com/bkp-tool/bkp/core/storage/holdings"
)

// TestPowerLossRepair repairs a target that lost a record, or its packs. Wherever the power goes another repair ends
// well, and nothing is forgotten that stands in what is left.
func TestPowerLossRepair(t *testing.T) {
	losses := []struct {
		what  string
		lost  string // files of the data directory
		spoil bool   // it is no database any more, but there
		whole bool   // every run comes back
	}{
		{"database", "holdings.db", false, true}, {"spoilt database", "holdings.db", true, true},
		{"ledger", "ledger", false, true}, {"packs", "holdings/packs/*", false, false},
	}
	for _, loss := range losses {
		t.Run(loss.what, func(t *testing.T) {
			target := placedTarget(t)
			home := homeIn(target.root)
			runs, err := heldRuns(home, target)
			check(t, err)
			gone, err := filepath.Glob(home.Path(loss.lost))
			check(t, err)
			for _, path := range gone {
				check(t, os.RemoveAll(path))
				if loss.spoil {
					check(t, os.WriteFile(path, spoilt, 0o600))
				}
			}
			r := durabletest.Record(t, target.root)
			if code, _, problem := bkp(target.root, "node", "repair"); code != 0 {
				t.Fatal(problem)
			}
			r.Promise("repaired")
			// few, each worth a try
			r.Check(t, max(300, durabletest.Budget(1)), func(roots []string, promises []any) error {
				h := homeIn(roots[0])
				found, err := recordsOf(h, target)
				if err == nil && len(promises) > 0 {
					err = found.Err()
				}
				for _, l := range found.Lost {
					if !l.Known && !loss.whole {
						err = errors.Join(err, fmt.Errorf("runs of task %s went, and the ledger does not say so",
							l.Task))
					}
				}
				if loss.spoil && !keepsAside(h, loss.lost) {
					err = errors.Join(err, errors.New("what was replaced is not kept beside it"))
				}
				if err != nil {
					return err
				}
				if code, _, problem := bkp(roots[0], "node", "repair"); code != 0 {
					return fmt.Errorf("repaired again: code %d: %s", code, problem)
				}
				if found, err = recordsOf(h, target); err == nil {
					err = found.Err()
				}
				left, heldErr := heldRuns(h, target)
				if loss.whole && left != runs {
					err = errors.Join(err, fmt.Errorf("%d runs are held of %d", left, runs))
				}
				return errors.Join(err, heldErr)
			})
		})
	}
}

// spoilt is no database.
var spoilt = []byte("this is no database")

// keepsAside reports whether a spoilt file is there still, under its own name or beside it.
func keepsAside(h datadir.Dir, name string) bool {
	paths, _ := filepath.Glob(h.Path(name + "*"))
	return slices.ContainsFunc(paths, func(path string) bool {
		text, _ := os.ReadFile(path)
		return bytes.Equal(text, spoilt)
	})
}

// TestPowerLossFirstStart starts a node on what a release left that described nothing in packs and discharged nothing
// in its ledger.
func TestPowerLossFirstStart(t *testing.T) {
	target := placedTarget(t)
	target.makeOld(t)
	m := &mesh{powered: &powered{t: t, root: target.root}, nodes: map[string]*member{target.name: target}}
	m.Recorder = durabletest.Record(t, target.root)
	synctest.Test(t, func(t *testing.T) {
		m.start(t, "10MiB")
		m.stop(t)
	})
	m.Check(t, durabletest.Budget(1), func(roots []string, _ []any) error {
		h := homeIn(roots[0])
		rec, err := h.OpenRecords(target.signer, datadir.Told{})
		if err != nil {
			return err
		}
		_, begun, err := rec.Holdings.Remembered()
		liveErr := rec.Holdings.Live(func(c core.Chunk) { // with descriptions
			_, getErr := rec.Keeping.Get(context.Background(), c.Hash, nil)
			err = errors.Join(err, getErr)
		})
		err = errors.Join(err, liveErr, rec.Close())
		if err == nil && begun {
			var found keep.Records
			if found, err = recordsOf(h, target); err == nil {
				err = found.Err()
			}
		}
		return err
	})
}

// makeOld leaves of a stopped node's records what the first releases wrote, and lets go of a task as they did.
func (x *member) makeOld(t *testing.T) {
	t.Helper()
	h := homeIn(x.root)
	db, err := bbolt.Open(h.Path("holdings.db"), 0o600, nil)
	check(t, err)
	check(t, db.Update(func(tx *bbolt.Tx) error {
		return errors.Join(tx.DeleteBucket([]byte("described")), tx.Bucket([]byte("meta")).Delete([]byte("head")))
	}))
	check(t, db.Close())
	holdings, err := holdings.Open(h.Path("holdings.db"), false)
	check(t, err)
	segments, err := holdings.Segments()
	check(t, err)
	_, _, err = holdings.ReleaseTask(segments[0].Owner, segments[0].Task)
	check(t, err)

	before, err := disk.OpenRead(h.Path("holdings"))
	check(t, err)
	after, err := disk.Open(h.Path("without"))
	check(t, err)
	check(t, holdings.Live(func(c core.Chunk) {
		data, err := before.Get(t.Context(), c.Hash, nil)
		check(t, err)
		_, err = after.Put(t.Context(), c, core.Hash{}, data)
		check(t, err)
	}))
	check(t, errors.Join(holdings.Close(), before.Close(), after.Close()))
	check(t, os.RemoveAll(h.Path("holdings")))
	check(t, os.Rename(h.Path("without"), h.Path("holdings")))
}

// placedTarget is a node, stopped, that keeps two versions for another.
func placedTarget(t *testing.T) *member {
	t.Helper()
	m := newMesh(t, 300, "a", "b")
	file := filepath.Join(t.TempDir(), "file")
	for range 2 {
		m.write(file, 4)
		m.does("split", file, "--name", "f", "--chunker", "fixed")
	}
	m.record()
	defer m.Stop()
	synctest.Test(t, func(t *testing.T) {
		m.start(t, "10MiB")
		defer m.stop(t)
		for n := 1; n <= 2; n++ {
			args := control.PlaceArgs{Name: "f", Version: n, Replicas: 1, Strategy: "seed"}
			_, err := m.nodes[sourceName].Place(t.Context(), args, quiet)
			check(t, err)
		}
	})
	return m.nodes["b"]
}

// recordsOf holds a target's records against each other, as its node would.
func recordsOf(h datadir.Dir, x *member) (found keep.Records, err error) {
	rec, err := h.OpenRecords(x.signer, datadir.Told{})
	if err != nil {
		return found, err
	}
	found, err = keep.CheckRecords(context.Background(), rec.Holdings, rec.Keeping, rec.Ledger)
	_, lost := rec.Holdings.(*lost.Holdings)
	if head, known, _ := rec.Holdings.Remembered(); known && !lost && head.Size == 0 {
		err = errors.Join(err, errors.New("the database remembers an empty ledger: nobody would see that it was cut"))
	}
	return found, errors.Join(err, rec.Close())
}

// heldRuns counts what a target holds.
func heldRuns(h datadir.Dir, x *member) (runs int, err error) {
	rec, err := h.OpenRecords(x.signer, datadir.Told{})
	if err != nil {
		return 0, err
	}
	segments, err := rec.Holdings.Segments()
	for _, s := range segments {
		var kept []core.Holding
		if err == nil {
			kept, err = rec.Holdings.Kept(s.Task, s.Number)
		}
		runs += len(kept)
	}
	return runs, errors.Join(err, rec.Close())
}
