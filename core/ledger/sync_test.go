// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/bkp-tool/bkp/core"
)

// disk is a file whose Sync does as the test wants.
type disk struct {
	file
	sync func() error
}

func (d disk) Sync() error {
	if err := d.sync(); err != nil {
		return err
	}
	return d.file.Sync()
}

// Whoever calls Sync while another barrier runs shares the next one.
func TestSyncsShareABarrier(t *testing.T) {
	const callers = 50
	l := open(t, t.TempDir())
	var barriers int
	begun, goOn := make(chan bool), make(chan bool)
	l.out.entries.file = disk{l.out.entries.file, func() error {
		if barriers++; barriers == 1 {
			close(begun)
			<-goOn
		}
		return nil
	}}
	var wait sync.WaitGroup
	first := make(chan error)
	add(t, l, KindLicense, []byte{0})
	go func() { first <- l.Sync() }()
	select {
	case <-begun:
	case err := <-first:
		t.Fatalf("Sync returned %v without a barrier", err)
	}
	var appended sync.WaitGroup
	for i := 1; i < callers; i++ {
		appended.Add(1)
		wait.Go(func() {
			add(t, l, KindLicense, []byte{byte(i)}) // while the disk is busy
			appended.Done()
			if err := l.Sync(); err != nil {
				t.Error(err)
			}
		})
	}
	appended.Wait()
	close(goOn)
	wait.Wait()
	if err := <-first; err != nil {
		t.Error(err)
	}
	if barriers != 2 {
		t.Errorf("%d barriers for %d callers, want 2: one running, one for all who waited", barriers, callers)
	}
	if got := all(t, l.Reader, 100); len(got) != callers {
		t.Errorf("%d entries, want %d", len(got), callers)
	}
}

func TestSyncOfNothingNewIsFree(t *testing.T) {
	l := open(t, t.TempDir())
	add(t, l, KindLicense, []byte("x"))
	settle(t, l)
	l.out.entries.file = disk{l.out.entries.file, func() error { t.Error("the disk was asked"); return nil }}
	settle(t, l)
}

// After a failed fsync nobody knows what the disk holds: nothing is acknowledged until the log is opened again.
func TestFailedSyncIsForGood(t *testing.T) {
	for _, which := range []string{"entries", "heads"} {
		t.Run(which, func(t *testing.T) {
			dir := t.TempDir()
			l := open(t, dir)
			add(t, l, KindLicense, []byte("kept"))
			settle(t, l)
			failing := errors.New("input/output error")
			bad := &l.out.entries
			if which == "heads" {
				bad = &l.out.heads
			}
			bad.file = disk{bad.file, func() error { return failing }}
			add(t, l, KindLicense, []byte("lost"))
			if err := l.Sync(); !errors.Is(err, failing) {
				t.Errorf("Sync: %v", err)
			}
			bad.file = bad.file.(disk).file // the disk says it is well again
			if err := l.Sync(); !errors.Is(err, failing) {
				t.Errorf("Sync again: %v", err)
			}
			if _, err := l.Append(KindLicense, []byte("x")); !errors.Is(err, failing) {
				t.Errorf("Append: %v", err)
			}
			l.Close()
			if got := all(t, open(t, dir).Reader, 10); len(got) < 1 || string(got[0].Envelope) != "kept" {
				t.Errorf("after opening again: %v", got)
			}
		})
	}
}

// Writers, syncers, a reader and an auditor at once; run with -race.
func TestManyAtOnce(t *testing.T) {
	const writers, each = 8, 20
	dir := t.TempDir()
	l := open(t, dir)
	r := reader(t, dir)
	var wait sync.WaitGroup
	for w := range writers {
		wait.Go(func() {
			for i := range each {
				add(t, l, KindLicense, fmt.Appendf(nil, "%d/%d", w, i))
				if i%3 == 0 {
					settle(t, l)
				}
			}
			settle(t, l)
		})
	}
	for range 20 {
		page, err := r.Entries(0, 1000)
		if err != nil {
			t.Error(err)
		}
		head, err := r.Head()
		if err != nil || head.Size < int64(len(page)) {
			t.Errorf("%d entries under a head over %d, %v", len(page), head.Size, err)
		}
		report, err := r.Verify()
		if err != nil && core.CodeOf(err) != core.CodeWrong {
			t.Error(err)
		}
		for _, p := range report.Problems {
			if report.Size > 0 && !isWords(p) {
				t.Error(p)
			}
		}
	}
	wait.Wait()
	seen := map[string]bool{}
	for _, e := range all(t, r, 7) {
		seen[string(e.Envelope)] = true
	}
	if len(seen) != writers*each {
		t.Errorf("%d different entries, want %d", len(seen), writers*each)
	}
}

// isWords tells the complaint that an entry is no licence, which these are not, from any about the log.
func isWords(problem string) bool {
	var index int
	n, _ := fmt.Sscanf(problem, "entry %d: license:", &index)
	return n == 1
}
