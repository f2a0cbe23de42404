// SPDX-License-Identifier: Apache-2.0

package holdings_test

import (
	"path/filepath"
	"reflect"
	"testing"

	"github.com/zeebo/blake3"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/storage/disk"
	"github.com/bkp-tool/bkp/core/storage/holdings"
)

// descriptions reads what the packs of a store describe, by hash.
func descriptions(t *testing.T, dir string) map[core.Hash]core.Description {
	t.Helper()
	all := map[core.Hash]core.Description{}
	steps := 0
	s, err := disk.OpenRead(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	err = holdings.Described(t.Context(), s, func(c core.Chunk, d core.Description) error {
		all[c.Hash] = d
		return nil
	}, func(done, packs int) { steps++ })
	if err != nil {
		t.Fatal(err)
	}
	if steps == 0 {
		t.Error("no pack was looked at")
	}
	return all
}

// TestDescriptionsAreFoundInPacks puts descriptions among chunks, and finds them again, in a pack that is being
// written, in a finished one, and after a collection; one that nothing holds any more goes, and a damaged one is passed
// over.
func TestDescriptionsAreFoundInPacks(t *testing.T) {
	dir := t.TempDir()
	s, err := disk.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	segment := aSegment(alice, first)
	ref := core.HeldRef{Owner: alice, Alias: "alias", Version: 1, Task: first, Envelope: []byte("ref"),
		Records: []core.Chunk{{Hash: core.Hash{3}, Size: 3}}}
	want := map[core.Hash]core.Description{}
	live := map[core.Hash]bool{}
	for i, d := range []core.Description{
		{Segment: &segment, Root: core.Hash{7}}, {Runs: []core.Holding{heldFor(aRun(0, 2), first),
			heldFor(aRun(1, 2), first, 1)}}, {Ref: &ref},
	} {
		c, id, data, err := holdings.Describe(d)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Put(t.Context(), c, id, data); err != nil {
			t.Fatal(err)
		}
		other := made(i, 5000)
		if _, err := s.Put(t.Context(), chunkOf(other), blake3.Sum256(other[1:]), other); err != nil {
			t.Fatal(err)
		}
		want[c.Hash], live[c.Hash] = d, i != 2
	}
	if err := s.Barrier(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := descriptions(t, dir); !reflect.DeepEqual(got, want) {
		t.Errorf("while the pack is written: %+v, want %+v", got, want)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := descriptions(t, dir); !reflect.DeepEqual(got, want) {
		t.Errorf("in a finished pack: %+v, want %+v", got, want)
	}
	if s, err = disk.Open(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Collect(t.Context(), func(h core.Hash) (bool, error) { return live[h], nil }, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for h := range want {
		if !live[h] {
			delete(want, h)
		}
	}
	if got := descriptions(t, dir); !reflect.DeepEqual(got, want) {
		t.Errorf("after a collection: %+v, want %+v", got, want)
	}
}

// TestDescribedLivesWithItsSegment: what is described of a segment is live until its task is released, and lost runs
// are dropped alone.
func TestDescribedLivesWithItsSegment(t *testing.T) {
	h := newHoldings(t)
	accept(t, h, aSegment(alice, first))
	id := core.SegmentID{Task: first}
	run, other, described := aRun(0, 3), aRun(1, 2), core.Chunk{Hash: core.Hash{5}, Size: 9}
	if err := h.PutRuns([]core.Holding{heldFor(run, first), heldFor(other, first)},
		core.Described{Segment: id, Chunk: described}); err != nil {
		t.Fatal(err)
	}
	if !liveChunks(t, h)[described.Hash] {
		t.Error("a description is not live")
	}
	for range 2 { // again: changes nothing
		if err := h.DropRuns(id, []int{run.Number, 77}); err != nil {
			t.Fatal(err)
		}
		wantState(t, h, alice, 201, other.File)
	}
	if _, _, err := h.ReleaseTask(alice, first); err != nil {
		t.Fatal(err)
	}
	if live := liveChunks(t, h); len(live) != 0 {
		t.Errorf("after the release %d chunks are live", len(live))
	}
	wantState(t, h, alice, 0)
}

func TestTheLedgerIsRemembered(t *testing.T) {
	path := filepath.Join(t.TempDir(), "holdings.db")
	h := openHoldings(t, path)
	if _, known, err := h.Remembered(); known || err != nil {
		t.Errorf("a new database remembers: %v, %v", known, err)
	}
	want := core.LedgerHead{Size: 7, Root: core.Hash{7}}
	if err := h.Remember(want); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	h = openHoldings(t, path)
	defer h.Close()
	if got, known, err := h.Remembered(); got != want || !known || err != nil {
		t.Errorf("%+v, %v, %v", got, known, err)
	}
}
