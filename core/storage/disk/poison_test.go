// SPDX-License-Identifier: Apache-2.0

package disk_test

import (
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/bkp-tool/bkp/core/durable/durabletest"
	"github.com/bkp-tool/bkp/core/storage/disk"
)

// failOnce has the n-th operation of a kind fail, counted from 0.
func failOnce(kind string, n int) func(durabletest.Op) error {
	return func(op durabletest.Op) error {
		if op.Kind == kind && strings.Contains(op.Path, "packs") {
			if n--; n == -1 {
				return syscall.EIO
			}
		}
		return nil
	}
}

// A pack whose sync failed is neither finished nor leaned on, by whoever comes: the kernel tells of lost pages once,
// and what can be read may stand in memory alone.
func TestAPoisonedPackIsPutAnew(t *testing.T) {
	for name, closes := range map[string]bool{"its writer closes the store": true, "its writer dies": false} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir)
			pieces := makePieces(4, 300)
			put(t, s, pieces[0])
			barrier(t, s)
			poisoned := strings.TrimSuffix(filepath.Base(packFiles(t, dir, ".open")[0]), ".open")
			r := durabletest.Record(t, dir)
			r.Fail(failOnce("sync", 0))
			put(t, s, pieces[1])
			if err := s.Barrier(bg); !errors.Is(err, syscall.EIO) {
				t.Fatalf("a sync that fails: %v", err)
			}
			if err := s.Barrier(bg); !errors.Is(err, syscall.EIO) {
				t.Errorf("the barrier after it: %v", err)
			}
			if _, err := s.Put(bg, pieces[2].Chunk, pieces[2].id, pieces[2].data); !errors.Is(err, syscall.EIO) {
				t.Errorf("a put after it: %v", err)
			}
			if closes {
				if err := s.Close(); !errors.Is(err, syscall.EIO) {
					t.Errorf("closing after it: %v", err)
				}
			} else {
				dir = afterCrash(t, dir)
			}
			r.Stop()
			if left := packFiles(t, dir, ".pack"); len(left) > 0 {
				t.Errorf("finished: %v", left)
			}
			next := open(t, dir)
			defer closeStore(t, next)
			wantPiece(t, next, pieces[0])
			wantPiece(t, next, pieces[1]) // it was whole, and was put anew
			if left, _ := filepath.Glob(filepath.Join(dir, "packs", poisoned+".*")); len(left) > 0 {
				t.Errorf("the poisoned pack is still there: %v", left)
			}
		})
	}
}

// A pack that is finished in the background, while the barrier that was to make it durable waits for the disk, fails
// that barrier.
func TestABarrierFailsWithWhatItWaitedFor(t *testing.T) {
	t.Run("a pack's own sync", func(t *testing.T) {
		dir := t.TempDir()
		s, err := disk.OpenSized(dir, powerPack)
		if err != nil {
			t.Fatal(err)
		}
		r := durabletest.Record(t, dir)
		r.Fail(failOnce("sync", 0))
		for n := range 20 { // one pack is full and finished in the background
			_, _ = s.Put(bg, powerPiece(n).Chunk, powerPiece(n).id, powerPiece(n).data)
		}
		if err := s.Barrier(bg); !errors.Is(err, syscall.EIO) {
			t.Errorf("barrier: %v", err)
		}
		_ = s.Close()
	})
	t.Run("anything else", func(t *testing.T) {
		dir := t.TempDir()
		s := open(t, dir)
		put(t, s, makePiece(1, 1000))
		r := durabletest.Record(t, dir)
		r.Fail(func(op durabletest.Op) error {
			if op.Kind == "syncdir" {
				s.Break(syscall.EIO)
			}
			return nil
		})
		if err := s.Barrier(bg); !errors.Is(err, syscall.EIO) {
			t.Errorf("barrier: %v", err)
		}
		_ = s.Close()
	})
}

// A directory that cannot be synced (EINVAL) is as durable as it can be; one whose sync fails is not.
func TestAFileSystemThatCannotSyncDirectories(t *testing.T) {
	for _, test := range []struct {
		fails, want error
	}{{syscall.EINVAL, nil}, {syscall.ENOTSUP, nil}, {syscall.EIO, syscall.EIO}} {
		dir := t.TempDir()
		s := open(t, dir)
		put(t, s, makePiece(1, 1000))
		r := durabletest.Record(t, dir)
		r.Fail(func(op durabletest.Op) error {
			if op.Kind == "syncdir" {
				return test.fails
			}
			return nil
		})
		if err := s.Barrier(bg); !errors.Is(err, test.want) {
			t.Errorf("%v: barrier %v", test.fails, err)
		}
		_ = s.Close()
		r.Stop()
	}
}
