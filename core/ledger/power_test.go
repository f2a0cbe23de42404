// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/bkp-tool/bkp/core/durable/durabletest"
)

// synced is what Sync promised: these entries stand, under this head.
type synced struct {
	envelopes [][]byte
	head      SignedHead
}

// history appends to a log and notes what each Sync promises.
type history struct {
	t         *testing.T
	log       *Log
	recorder  *durabletest.Recorder
	envelopes [][]byte // all that was ever appended to it, in order
}

func (h *history) append(n byte) {
	envelope := licence(h.t, n)
	add(h.t, h.log, KindLicense, envelope)
	h.envelopes = append(h.envelopes, envelope)
}

// write hands what was appended to the system, as Append does by itself when enough waits.
func (h *history) write() {
	if _, err := h.log.write(); err != nil {
		h.t.Fatal(err)
	}
}

func (h *history) sync() {
	settle(h.t, h.log)
	h.promise()
}

func (h *history) promise() {
	head, err := h.log.Head()
	if err != nil {
		h.t.Fatal(err)
	}
	h.recorder.Promise(synced{h.envelopes[:len(h.envelopes):len(h.envelopes)], head})
}

// reopen is what a process that follows upon a killed one does.
func (h *history) reopen(dir string) {
	crash(h.log)
	h.log = open(h.t, dir)
	h.envelopes = h.envelopes[:h.log.Size()]
	h.promise()
}

// checkPowerLoss opens what a power loss left, holds it against what was promised, and goes on with it.
func (h *history) checkPowerLoss(budget int, where string) {
	h.t.Helper()
	h.recorder.Check(h.t, budget, func(roots []string, promises []any) error {
		dir := filepath.Join(roots[0], where)
		l, err := Open(dir, node)
		if err != nil {
			return err
		}
		defer l.Close()
		if err := h.holds(l, promises); err != nil {
			return err
		}
		if _, err := l.Append(KindLicense, licence(h.t, 200)); err != nil {
			return err
		}
		return errors.Join(l.Sync(), h.holds(l, promises))
	})
}

func (h *history) holds(l *Log, promises []any) error {
	there, err := l.Entries(0, 1000)
	if err != nil {
		return err
	}
	var known []SignedHead
	var kept [][]byte
	for _, p := range promises {
		known, kept = append(known, p.(synced).head), p.(synced).envelopes
	}
	if len(there) < len(kept) {
		return fmt.Errorf("%d entries are left of %d that were synced", len(there), len(kept))
	}
	for i, want := range kept {
		if !bytes.Equal(there[i].Envelope, want) {
			return fmt.Errorf("entry %d is not the one that was synced", i)
		}
	}
	_, err = l.Verify(known...)
	return err
}

// TestPowerLossLog begins a log in a data directory that is made for it, appends and syncs, is killed and goes on.
func TestPowerLossLog(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "data", "ledger")
	h := &history{t: t, recorder: durabletest.Record(t, root)}
	h.log = open(t, dir)
	h.promise()
	for n := byte(1); n <= 3; n++ {
		h.append(2 * n)
		h.write() // the next Sync finds some of it written
		h.append(2*n + 1)
		h.sync()
	}
	h.append(8)
	h.write() // whole, and not covered by a head
	h.reopen(dir)
	h.append(9)
	h.sync()
	head, err := h.log.Head()
	if err != nil {
		t.Fatal(err)
	}
	h.append(10) // durable when the log is closed
	if err := h.log.Close(); err != nil {
		t.Fatal(err)
	}
	h.recorder.Promise(synced{h.envelopes, head})
	h.checkPowerLoss(durabletest.Budget(6), "data/ledger")
}

// TestPowerLossAfterTornEntries goes on with a log behind whose last head a first power loss left one entry torn and
// the next whole: that one must not follow upon what takes the torn one's place.
func TestPowerLossAfterTornEntries(t *testing.T) {
	root := t.TempDir()
	h := &history{t: t, log: open(t, root)}
	h.recorder = durabletest.Record(t, root)
	h.append(1)
	h.sync()
	torn := h.log.out.entries.written
	h.append(2)
	h.append(3)
	h.write()
	h.recorder.Stop()
	crash(h.log)
	flip(t, root, "entries", int(torn)+20)

	h.envelopes = h.envelopes[:1]
	h.recorder = durabletest.Record(t, root)
	h.log = open(t, root)
	h.promise()
	h.append(4) // as long as the torn one
	h.write()
	h.log.Reader.Close()
	h.recorder.Check(t, durabletest.Budget(2), func(roots []string, promises []any) error {
		l, err := Open(roots[0], node)
		if err != nil {
			return err
		}
		defer l.Close()
		there, err := l.Entries(0, 10)
		for i, e := range there {
			if i > 0 && len(promises) > 0 && !bytes.Equal(e.Envelope, licence(t, 4)) {
				return fmt.Errorf("entry %d was cut at the start, and is there again", i)
			}
		}
		return errors.Join(err, h.holds(l, promises))
	})
}

// TestPowerLossRemade begins with hashes and offsets that are gone: making them again changes nothing that was signed.
func TestPowerLossRemade(t *testing.T) {
	root := t.TempDir()
	h := &history{t: t, log: open(t, root)}
	h.recorder = durabletest.Record(t, root)
	for n := byte(1); n <= 5; n++ {
		h.append(n)
	}
	h.sync()
	crash(h.log)
	h.recorder.Stop()
	for _, name := range []string{"hashes", "offsets"} {
		if err := os.Truncate(filepath.Join(root, name), 40); err != nil {
			t.Fatal(err)
		}
	}
	h.recorder = durabletest.Record(t, root)
	h.log = open(t, root)
	h.promise()
	h.append(6)
	h.sync()
	h.checkPowerLoss(durabletest.Budget(2), ".")
}

// TestNoReceiptAfterAFailedSync has each durable call of the log fail in turn: Sync never acknowledges what it failed
// for, and the log takes nothing more until it is opened again.
func TestNoReceiptAfterAFailedSync(t *testing.T) {
	failing := errors.New("input/output error")
	for nth := range 4 {
		t.Run(fmt.Sprint("sync ", nth), func(t *testing.T) {
			dir := t.TempDir()
			r := durabletest.Record(t, dir)
			r.Fail(func(op durabletest.Op) error {
				if op.Kind == "sync" && op.Nth == nth {
					return failing
				}
				return nil
			})
			l, err := Open(dir, node)
			if nth < 2 {
				if !errors.Is(err, failing) {
					t.Errorf("Open: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			add(t, l, KindLicense, licence(t, 1))
			if err := l.Sync(); !errors.Is(err, failing) {
				t.Errorf("Sync: %v", err)
			}
			if err := l.Broken(); !errors.Is(err, failing) {
				t.Errorf("Broken: %v", err)
			}
			l.Close()
			if err := open(t, dir).Broken(); err != nil {
				t.Errorf("opened again: %v", err)
			}
		})
	}
}

// TestFullDisk fills the disk for a while: nothing is acknowledged meanwhile, and nothing is lost or given up for good.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	r := durabletest.Record(t, dir)
	for nth, file := range []string{"entries", "hashes", "offsets", "heads"} {
		r.Fail(func(op durabletest.Op) error {
			if op.Kind == "write" && filepath.Base(op.Path) == file {
				return syscall.ENOSPC
			}
			return nil
		})
		add(t, l, KindLicense, licence(t, byte(2*nth+1)))
		if err := l.Sync(); !errors.Is(err, syscall.ENOSPC) || l.Broken() != nil {
			t.Fatalf("%s: Sync: %v; broken: %v", file, err, l.Broken())
		}
		add(t, l, KindLicense, licence(t, byte(2*nth+2)))
		r.Fail(nil)
		settle(t, l)
	}
	if report, err := l.Verify(); err != nil || report.Size != 8 {
		t.Errorf("%+v, %v", report, err)
	}
	crash(l)
	wantEntries(t, dir, 8)
}
