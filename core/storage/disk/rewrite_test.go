// SPDX-License-Identifier: Apache-2.0

package disk_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/storage/disk"
)

// scattered is a store of packs of four pieces of 1000 bytes each, and what refers to every keep-th piece.
func scattered(t testing.TB, packs, keep int) (dir string, referred refs) {
	dir, referred = t.TempDir(), refs{}
	for i := range packs {
		s := open(t, dir)
		for n := 4 * i; n < 4*i+4; n++ {
			put(t, s, makePiece(n, 1000))
			if n%keep == 0 {
				referred[n] = true
			}
		}
		closeStore(t, s)
	}
	return dir, referred
}

func wantOnly(t testing.TB, s *disk.Store, referred refs, of int) {
	t.Helper()
	for n := range of {
		p := makePiece(n, 1000)
		if referred[n] {
			wantPiece(t, s, p)
		} else if has(s, p.Hash) {
			t.Errorf("piece %d is still there", n)
		}
	}
}

func TestAPackIsRewrittenOnceHalfOfItIsDead(t *testing.T) {
	for keep, want := range map[int]disk.SweepReport{
		1: {Packs: 6},
		2: {Packs: 6, Removed: 6, Chunks: 12, Collected: core.Collected{Freed: 12000, Rewritten: 12000}},
		3: {Packs: 6, Removed: 6, Chunks: 16, Collected: core.Collected{Freed: 16000, Rewritten: 8000}},
		4: {Packs: 6, Removed: 6, Chunks: 18, Collected: core.Collected{Freed: 18000, Rewritten: 6000}},
		9: {Packs: 6, Removed: 6, Chunks: 21, Collected: core.Collected{Freed: 21000, Rewritten: 3000}},
	} {
		t.Run(fmt.Sprintf("one in %d is needed", keep), func(t *testing.T) {
			dir, referred := scattered(t, 6, keep)
			reader, err := disk.OpenRead(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer closeStore(t, reader)
			s := open(t, dir)
			defer closeStore(t, s)
			if got := sweep(t, s, referred.live(1000)); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
			wantOnly(t, s, referred, 24)
			for n := range referred {
				if !finds(s, makePiece(n, 1000)) {
					t.Errorf("piece %d lost its id", n)
				}
			}
			if used(s) != core.Size(1000*len(referred)) {
				t.Errorf("used %d", used(s))
			}
			if packs := packFiles(t, dir, ".pack"); keep > 1 && len(packs) != 1 {
				t.Errorf("%d packs are left", len(packs))
			}
			for n := range referred {
				wantPiece(t, reader, makePiece(n, 1000)) // it finds the new place
			}
		})
	}
}

// One piece of three is dead: to free it twice as much would have to be written.
func TestALittleDeadIsLeft(t *testing.T) {
	pieces := makePieces(3, 1000)
	dir, _ := finishedStore(t, pieces)
	s := open(t, dir)
	defer closeStore(t, s)
	report := sweep(t, s, func(h core.Hash) bool { return h != pieces[0].Hash })
	if report.Removed != 0 || report.Rewritten != 0 || report.Dead != 1000 {
		t.Errorf("%+v", report)
	}
}

// Whoever reads all the while never misses a chunk.
func TestReadersGoOnWhilePacksAreRewritten(t *testing.T) {
	dir, referred := scattered(t, 12, 3)
	s := open(t, dir)
	s.SetPackSize(2500) // two pieces: many batches
	defer closeStore(t, s)
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		reader, err := disk.OpenRead(dir)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			defer closeStore(t, reader)
			for round := 0; ; round++ {
				for n := range referred {
					if _, err := reader.Get(bg, makePiece(n, 1000).Hash, nil); err != nil {
						t.Errorf("piece %d: %v", n, err)
						return
					}
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	report := sweep(t, s, referred.live(1000))
	close(done)
	wg.Wait()
	if report.Removed != 12 || report.Rewritten != 16000 {
		t.Errorf("%+v", report)
	}
	wantOnly(t, s, referred, 48)
}

// While others write nothing is copied: what is copied could not go.
func TestRewritingWaitsForWriters(t *testing.T) {
	dir, referred := scattered(t, 2, 4)
	s, other := open(t, dir), open(t, dir)
	defer closeStore(t, s)
	if report := sweep(t, s, referred.live(1000)); report.Rewritten != 0 || report.Dead != 6000 {
		t.Errorf("%+v", report)
	}
	closeStore(t, other)
	if report := sweep(t, s, referred.live(1000)); report.Rewritten != 2000 || report.Freed != 6000 {
		t.Errorf("%+v", report)
	}
}

// A record that is needed and damaged cannot be copied: its pack stays for a person to look at, with all that is in it.
func TestADamagedPackIsNotRewritten(t *testing.T) {
	dir, _ := finishedStore(t, makePieces(4, 300))
	flipBit(t, packFiles(t, dir, ".pack")[0], 16+80+300+80+20) // in the second
	pieces := makePieces(4, 300)
	live := func(h core.Hash) bool { return h == pieces[0].Hash || h == pieces[1].Hash }
	s := open(t, dir)
	defer closeStore(t, s)
	for range 3 {
		report := sweep(t, s, live)
		if report.Removed != 0 || report.Dead != 605 {
			t.Errorf("%+v", report)
		}
		if packs := packFiles(t, dir, ".pack"); len(packs) > 2 {
			t.Fatalf("it is copied again and again: %d packs", len(packs))
		}
	}
	wantPiece(t, s, pieces[0])
	if _, err := s.Get(bg, pieces[1].Hash, nil); core.CodeOf(err) != core.CodeWrong {
		t.Errorf("got %v", err)
	}
}

// The machine stops at any step of a sweep: nothing that is needed is lost, and the next sweep ends what it began.
func TestASweepThatIsCutOff(t *testing.T) {
	const packs = 9
	dir, referred := scattered(t, packs, 3)
	for n := 16; n < 20; n++ {
		delete(referred, n) // one pack is dead as a whole
	}
	s := open(t, dir)
	s.SetPackSize(2500)
	steps := map[string]int{}
	var crashed []string
	s.SetStepped(func(step string) {
		steps[step]++
		crashed = append(crashed, afterCrash(t, dir))
	})
	whole := sweep(t, s, referred.live(1000))
	closeStore(t, s)
	if steps["copied"] < 3 || steps["condemned"] != steps["copied"]+1 || steps["removed"] != packs {
		t.Errorf("it took these steps: %v", steps)
	}
	if whole.Removed != packs {
		t.Errorf("%+v", whole)
	}
	for i, dir := range crashed {
		reader, err := disk.OpenRead(dir)
		if err != nil {
			t.Fatal(err)
		}
		for n := range referred {
			wantPiece(t, reader, makePiece(n, 1000))
		}
		closeStore(t, reader)
		s := open(t, dir)
		sweep(t, s, referred.live(1000))
		wantOnly(t, s, referred, 4*packs)
		if used(s) != core.Size(1000*len(referred)) {
			t.Errorf("cut off at step %d: %s are used in the end", i+1, used(s))
		}
		left, _ := os.ReadDir(filepath.Join(dir, "writers"))
		if len(left) > 3 { // the lock, CONDEMNED and its own
			t.Errorf("cut off at step %d: %d files are left of writers", i+1, len(left))
		}
		closeStore(t, s)
	}
}

// Many small packs become one, and each byte is copied a few times at most, however often somebody collects.
func TestSmallPacksAreMerged(t *testing.T) {
	const versions, size = 240, 1000
	dir := t.TempDir()
	all := func(core.Hash) bool { return true }
	var copied core.Size
	for n := range versions {
		s := open(t, dir)
		s.SetPackSize(64 << 10)
		put(t, s, makePiece(n, size))
		if n%3 == 2 {
			copied += sweep(t, s, all).Rewritten
		}
		closeStore(t, s)
	}
	if packs := packFiles(t, dir, ".pack"); len(packs) > versions/8 {
		t.Errorf("%d versions are %d packs", versions, len(packs))
	}
	if copied > 8*versions*size {
		t.Errorf("%d bytes were copied for %d", copied, versions*size)
	}
	s := open(t, dir)
	defer closeStore(t, s)
	for n := range versions {
		wantPiece(t, s, makePiece(n, size))
		if !finds(s, makePiece(n, size)) {
			t.Errorf("piece %d lost its id", n)
		}
	}
	if used(s) != versions*size {
		t.Errorf("used %d", used(s))
	}
	other := open(t, dir)
	put(t, other, makePiece(versions, size))
	if report := sweep(t, s, all); report.Rewritten > 0 {
		t.Errorf("packs were merged beside another writer: %+v", report)
	}
	closeStore(t, other)
}
