// SPDX-License-Identifier: Apache-2.0

package commands_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/durable/durabletest"
	"github.com/bkp-tool/bkp/core/ledger"
	storecheck "github.com/bkp-tool/bkp/core/storage/disk/check"
)

// TestFailedDiskEndsTheNode fails one sync beneath a running holder: no receipt speaks of what was not synced, and the
// node says that it must be ended, within five seconds.
func TestFailedDiskEndsTheNode(t *testing.T) {
	for name, fails := range map[string]func(durabletest.Op) bool{
		"a pack's sync": func(op durabletest.Op) bool {
			return op.Kind == "sync" && strings.Contains(op.Path, "holdings/packs")
		},
		"the packs' directory": func(op durabletest.Op) bool {
			return op.Kind == "syncdir" && filepath.Base(op.Path) == "packs"
		},
		"a commit of holdings.db": func(op durabletest.Op) bool {
			return op.Kind == "commit" && filepath.Base(op.Path) == "holdings.db"
		},
	} {
		t.Run(name, func(t *testing.T) { // not beside others, whose disks would fail too
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t)
				a := c.start("a", "", c.owned)
				b := c.start("b", "a-20MiB")
				a.split("disk.img", 1, content(1, 1<<20))
				c.settle()
				r := durabletest.Record(t, b.dir)
				r.Fail(func(op durabletest.Op) error {
					if fails(op) {
						return syscall.EIO
					}
					return nil
				})
				go func() {
					_, err := a.Place(t.Context(), control.PlaceArgs{Name: "disk.img", Replicas: 1, Strategy: "seed"},
						quiet)
					if err == nil {
						t.Error("place ended well")
					}
				}()
				began := time.Now()
				if err := <-b.Failed(); !errors.Is(err, syscall.EIO) || core.CodeOf(err) != core.CodeFailed {
					t.Errorf("failed with %v", err)
				}
				if took := time.Since(began); took > 20*time.Second {
					t.Errorf("it took %s to say so", took)
				}
				if s := b.status(); s.Ready || s.Reasons[0].Key != "disk" || s.Remaining != 0 {
					t.Errorf("status: %+v", s)
				}
				if b.ledger.Count(ledger.KindReceipt) != 0 {
					t.Errorf("%d receipts for what was not synced", b.ledger.Count(ledger.KindReceipt))
				}
				b.crash()
			})
		})
	}
}

// crash ends a node whose disk failed: what it stands on may say so when it is closed.
func (m *member) crash() {
	m.Node.Close()
	m.Node = nil
	m.staging.Close()
	m.away.Close()
	m.keeping.Close()
	m.holdings.Close()
}

// kept is a cluster in which b keeps all of a version of a's.
func kept(t *testing.T) (c *cluster, a, b *member) {
	c = newCluster(t)
	a = c.start("a", "", c.owned)
	b = c.start("b", "a-20MiB")
	a.split("disk.img", 1, content(1, 1<<20))
	c.settle()
	a.place(control.PlaceArgs{Name: "disk.img", Replicas: 1, Strategy: "seed", KeepLocal: true})
	return c, a, b
}

// damaged collects at a node that must refuse that, and be degraded for the reason.
func (m *member) damaged(key string) {
	t := m.cluster.t
	t.Helper()
	used := m.status().Used
	_, err := m.Collect(t.Context(), control.None{}, quiet)
	if core.CodeOf(err) != core.CodeWrong || !strings.Contains(core.HintOf(err), "bkp node repair") {
		t.Errorf("gc: %v, hint %q", err, core.HintOf(err))
	}
	s := m.status()
	if s.Used != used || s.Ready || len(s.Reasons) == 0 || s.Reasons[0].Key != key || s.Remaining != 0 {
		t.Errorf("%s kept of %s, %+v; want the reason %q", s.Used, used, s.Reasons, key)
	}
}

// TestReleaseStandsInTheLedger: what a version's rm lets go of is no damage, and an entry says why.
func TestReleaseStandsInTheLedger(t *testing.T) {
	virtual(t, func(t *testing.T) {
		_, a, b := kept(t)
		_, err := a.Remove(t.Context(), control.RemoveArgs{Name: "disk.img"}, quiet)
		check(t, err)
		if last := b.ledger.Last(); last != ledger.KindRelease {
			t.Errorf("the last entry is a %s", last)
		}
		r, err := b.Collect(t.Context(), control.None{}, quiet)
		check(t, err)
		if r.HoldingsFreed == 0 || r.HoldingsKept != 0 {
			t.Errorf("%s freed, %s kept: descriptions go with what they describe", r.HoldingsFreed, r.HoldingsKept)
		}
		if s := b.status(); !s.Ready {
			t.Errorf("degraded: %+v", s.Reasons)
		}
	})
}

// TestLostPacksAreNotClaimed: a holder that starts without its packs claims none of them when it is asked, or offered
// them again.
func TestLostPacksAreNotClaimed(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c, a, b := kept(t)
		b.stop()
		check(t, durable.RemoveAll(filepath.Join(b.dir, "holdings")))
		b.run()
		c.settle()
		b.damaged("packs")
		r, err := a.Verify(t.Context(), control.VerifyArgs{Name: "disk.img", All: true}, quiet)
		check(t, err)
		if r.Copies != 0 || r.Holders[0].Kept != 0 || len(r.Holders[0].Degraded) == 0 {
			t.Errorf("%d copies, %+v", r.Copies, r.Holders)
		}
	})
}

// TestDamagedChunksAreHealed: another process notes damaged chunks of a running holder. It is degraded, claims them no
// more, and takes them when the version is placed again, also from another holder; then it is well.
func TestDamagedChunksAreHealed(t *testing.T) {
	for name, keepLocal := range map[string]bool{"bytes at the source": true, "bytes at holders": false} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				c := newCluster(t)
				a := c.start("a", "", c.owned)
				b := c.start("b", "a-20MiB")
				c.start("c", "a-20MiB,b-20MiB")
				a.split("disk.img", 1, content(1, 1<<20))
				c.settle()
				args := control.PlaceArgs{Name: "disk.img", Replicas: 2, Strategy: "seed", KeepLocal: keepLocal}
				a.place(args)
				store := filepath.Join(b.dir, "holdings")
				b.stop() // so that its pack is finished
				b.run()
				time.Sleep(time.Second) // they meet, and the others remember the placement
				synctest.Wait()
				if n := b.rot(store); n < 3 {
					t.Fatalf("%d damaged chunks", n)
				}

				r, err := b.LookAtRecords(t.Context(), control.None{}, quiet)
				check(t, err)
				s := b.status()
				if len(r.Damage) != 1 || s.Ready || len(s.Reasons) != 1 || s.Reasons[0].Key != "chunks" ||
					s.Reasons[0].Refuses {
					t.Errorf("it has found %+v, and is %+v", r, s.Reasons)
				}
				a.place(args)
				if s := b.status(); !s.Ready {
					t.Errorf("after it was placed again: %+v", s.Reasons)
				}
				v, err := a.Verify(t.Context(), control.VerifyArgs{Name: "disk.img", All: true, Share: 1}, quiet)
				check(t, err)
				if v.Copies != 2 {
					t.Errorf("%d copies: %+v", v.Copies, v.Holders)
				}
			})
		})
	}
}

// rot damages data in every pack of a store here and there, and notes what is damaged as bkp verify does.
func (m *member) rot(store string) (noted int) {
	t := m.cluster.t
	t.Helper()
	packs, err := filepath.Glob(filepath.Join(store, "packs", "*.pack"))
	check(t, err)
	for _, path := range packs {
		data, err := os.ReadFile(path)
		check(t, err)
		for at := len(data) / 8; at < len(data)*7/8; at += len(data) / 8 {
			data[at] ^= 1
		}
		check(t, os.WriteFile(path, data, 0o600))
	}
	check(t, storecheck.Packs(t.Context(), store, "", func(core.Hash) bool { return true },
		func(c storecheck.Checked) error {
			for _, d := range c.Damage {
				storecheck.Note(store, d)
				noted++
			}
			return nil
		}))
	return noted
}

// TestLostRecordsAreNoBeginning: receipts without a holding, and a ledger that was cut.
func TestLostRecordsAreNoBeginning(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c, _, b := kept(t)
		whole := b.ledger.Entries()
		b.ledger.Rewrite(whole[:1])
		b.damaged("ledger")
		b.ledger.Rewrite(whole)
		segments, err := b.holdings.Segments()
		check(t, err)
		for _, s := range segments {
			_, _, err := b.holdings.ReleaseTask(s.Owner, s.Task)
			check(t, err)
		}
		b.stop()
		b.run()
		c.settle()
		b.damaged("receipts")
	})
}

// TestFirstStartBegins: a database that never heard of the ledger is one of an earlier release: what it holds is
// described in the packs, and receipts of what went before end.
func TestFirstStartBegins(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c, a, b := kept(t)
		a.split("other.img", 1, content(2, 1<<20))
		a.place(control.PlaceArgs{Name: "other.img", Replicas: 1, Strategy: "seed", KeepLocal: true})
		segments, err := b.holdings.Segments()
		check(t, err)
		_, _, err = b.holdings.ReleaseTask(segments[0].Owner, segments[0].Task) // as the first releases did
		check(t, err)
		b.stop()
		asFirstReleases(t, filepath.Join(b.dir, "holdings.db"))
		b.run()
		c.settle()
		if s := b.status(); !s.Ready {
			t.Errorf("degraded: %+v", s.Reasons)
		}
		if last := b.ledger.Last(); last != ledger.KindExpired {
			t.Errorf("the last entry is a %s", last)
		}
	})
}

// asFirstReleases takes out of a database what those did not write.
func asFirstReleases(t *testing.T, path string) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	check(t, err)
	check(t, db.Update(func(tx *bbolt.Tx) error {
		return errors.Join(tx.Bucket([]byte("meta")).Delete([]byte("head")), tx.DeleteBucket([]byte("described")))
	}))
	check(t, db.Close())
}
