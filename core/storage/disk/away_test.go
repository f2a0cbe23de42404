// SPDX-License-Identifier: Apache-2.0

package disk_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/storage/disk"
)

// noteFor notes what only some pieces go for, as a node does that knows what its peers keep.
type noteFor struct {
	*disk.Away
	kept func(core.Hash) bool
}

func (n noteFor) Note(ctx context.Context, c core.Chunk, id core.Hash) error {
	if !n.kept(c.Hash) {
		return nil
	}
	return n.Away.Note(ctx, c, id, 2)
}

func openAway(t *testing.T, dir string) *disk.Away {
	t.Helper()
	a, err := disk.OpenAway(dir)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (p piece) isNoted(a *disk.Away) bool {
	c, copies, ok, err := a.Find(bg, p.id)
	return err == nil && ok && c == p.Chunk && copies == 2
}

func TestWhatGoesIsNotedBeforeItGoes(t *testing.T) {
	live, kept, dead := makePiece(1, 1000), makePiece(2, 1000), makePiece(3, 1000)
	dir, _ := finishedStore(t, []piece{live, kept, dead})
	away := filepath.Join(t.TempDir(), "away")
	s, a := open(t, dir), openAway(t, away)
	defer closeStore(t, s)
	isLive := func(h core.Hash) bool { return h == live.Hash }
	if _, err := s.Collect(bg, asked(isLive), noteFor{a, func(h core.Hash) bool { return h == kept.Hash }}); err != nil {
		t.Fatal(err)
	}
	if finds(s, kept) || finds(s, dead) || !finds(s, live) {
		t.Error("the collection itself did not do its work")
	}
	if !kept.isNoted(a) || live.isNoted(a) || dead.isNoted(a) {
		t.Error("want a note of what is kept elsewhere, and of nothing else")
	}
	// Notes outlive the process without another word: Collect made them durable before a byte went.
	reader, err := disk.OpenAwayRead(away)
	if err != nil {
		t.Fatal(err)
	}
	if !kept.isNoted(reader) {
		t.Error("the note was not durable")
	}
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	a = openAway(t, away)
	defer a.Close()
	for _, still := range []bool{true, false} {
		if _, err := a.Collect(bg, func(h core.Hash) bool { return still && h == kept.Hash }); err != nil {
			t.Fatal(err)
		}
		if kept.isNoted(a) != still {
			t.Errorf("kept elsewhere: %v, noted: %v", still, !still)
		}
	}
}

// A pack that must wait for another writer is condemned: from then on nobody finds its chunks there, but in the notes.
func TestWhatWaitsIsNotedToo(t *testing.T) {
	p := makePiece(1, 1000)
	dir, _ := finishedStore(t, []piece{p})
	other, s := open(t, dir), open(t, dir)
	defer closeStore(t, other)
	defer closeStore(t, s)
	a := openAway(t, filepath.Join(t.TempDir(), "away"))
	defer a.Close()
	done, err := s.Collect(bg, asked(nothing), noteFor{a, func(core.Hash) bool { return true }})
	if err != nil || done.Waiting != 1000 || !p.isNoted(a) {
		t.Errorf("%+v, %v, noted: %v", done, err, p.isNoted(a))
	}
}
