package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable/durabletest"
	"github.com/bkp-tool/bkp/core/node"
)

// TestPowerLossRepair repairs a target that lost a record, or its packs. Wherever the power goes another repair ends well, and nothing is
// forgotten that stands in what is left.
func TestPowerLossRepair(t *testing.T) {
	losses := []struct {
		what  string
		lost  string // files of the data directory
		whole bool   // every run comes back
	}{{"database", "holdings.db", true}, {"ledger", "ledger", true}, {"packs", "holdings/packs/*", false}}
	for _, loss := range losses {
		t.Run(loss.what, func(t *testing.T) {
			target := placedTarget(t)
			home := homeIn(target.root)
			runs, err := home.heldRuns(target)
			check(t, err)
			gone, err := filepath.Glob(home.path(loss.lost))
			check(t, err)
			for _, path := range gone {
				check(t, os.RemoveAll(path))
			}
			r := durabletest.Record(t, target.root)
			if code, _, problem := bkp(target.root, "node", "repair"); code != 0 {
				t.Fatal(problem)
			}
			r.Promise("repaired")
			r.Check(t, durabletest.Budget(1), func(roots []string, promises []any) error {
				h := homeIn(roots[0])
				found, err := h.checkRecords(target)
				if err == nil && len(promises) > 0 {
					err = found.Err()
				}
				for _, l := range found.Lost {
					if !l.Known && !loss.whole {
						err = errors.Join(err, fmt.Errorf("runs of task %s went, and the ledger does not say so", l.Task))
					}
				}
				if err != nil {
					return err
				}
				if code, _, problem := bkp(roots[0], "node", "repair"); code != 0 {
					return fmt.Errorf("repaired again: code %d: %s", code, problem)
				}
				if found, err = h.checkRecords(target); err == nil {
					err = found.Err()
				}
				left, heldErr := h.heldRuns(target)
				if loss.whole && left != runs {
					err = errors.Join(err, fmt.Errorf("%d runs are held of %d", left, runs))
				}
				return errors.Join(err, heldErr)
			})
		})
	}
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
			args := node.PlaceArgs{Name: "f", Version: n, Replicas: 1, Strategy: "seed"}
			_, err := m.nodes[sourceName].Place(t.Context(), args, quiet)
			check(t, err)
		}
	})
	return m.nodes["b"]
}

// checkRecords holds a target's records against each other, as its node would.
func (h house) checkRecords(x *member) (found node.Records, err error) {
	rec, err := h.openRecords(x.signer)
	if err != nil {
		return found, err
	}
	found, err = node.CheckRecords(context.Background(), rec.holdings, rec.keeping, rec.ledger)
	return found, errors.Join(err, rec.Close())
}

// heldRuns counts what a target holds.
func (h house) heldRuns(x *member) (runs int, err error) {
	rec, err := h.openRecords(x.signer)
	if err != nil {
		return 0, err
	}
	segments, err := rec.holdings.Segments()
	for _, s := range segments {
		var kept []core.Holding
		if err == nil {
			kept, err = rec.holdings.Kept(s.Task, s.Number)
		}
		runs += len(kept)
	}
	return runs, errors.Join(err, rec.Close())
}
