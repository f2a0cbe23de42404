// SPDX-License-Identifier: Apache-2.0

package disk_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable/durabletest"
	"github.com/bkp-tool/bkp/core/storage/disk"
	"github.com/bkp-tool/bkp/core/storage/disk/check"
)

// What a store told somebody about its n-th piece, see powered.piece.
type (
	kept   int // it is durable
	unkept int // it may be there or not
	gone   int // a collection said that it went

	indexed struct{} // the index is on disk
)

const (
	powerPack   = 8 << 10 // of a store under test, so that its states are small
	powerPieces = 80      // numbers of pieces are below
)

func powerPiece(n int) piece { return makePiece(n, 700+n) }

// powered is a store that is written to while a recorder looks on.
type powered struct {
	*testing.T
	r   *durabletest.Recorder
	dir string
}

func power(t *testing.T, dir string) *powered {
	return &powered{t, durabletest.Record(t, dir), filepath.Join(dir, "store")}
}

func (p *powered) open() *disk.Store {
	p.Helper()
	s, err := disk.OpenSized(p.dir, powerPack)
	if err != nil {
		p.Fatal(err)
	}
	return s
}

// put puts pieces, and promises them after a barrier.
func (p *powered) put(s *disk.Store, from, to int) {
	p.Helper()
	for n := from; n < to; n++ {
		p.r.Promise(unkept(n)) // it may have been told to be gone
		put(p, s, powerPiece(n))
	}
	barrier(p, s)
	for n := from; n < to; n++ {
		p.r.Promise(kept(n))
	}
}

// finished waits until there are so many finished packs.
func (p *powered) finished(n int) {
	p.Helper()
	for end := time.Now().Add(10 * time.Second); len(packFiles(p, p.dir, ".pack")) < n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			p.Fatalf("there are not %d finished packs", n)
		}
	}
}

// check holds every state against what had been told.
func (p *powered) check(share int) {
	p.Helper()
	p.r.Check(p.T, durabletest.Budget(share), func(roots []string, promises []any) error {
		return recovered(filepath.Join(roots[0], "store"), promises)
	})
}

// recovered opens a store that a power loss left and goes on with it.
func recovered(dir string, promises []any) error {
	err := wholeFiles(dir)
	if _, missing := os.Stat(filepath.Join(dir, "index", "CURRENT")); err == nil &&
		slices.Contains(promises, any(indexed{})) {
		err = missing
	}
	if err != nil {
		return fmt.Errorf("as it was left: %w", err)
	}
	for again := range 2 {
		s, err := disk.OpenSized(dir, powerPack)
		if err != nil {
			return err
		}
		err = errors.Join(asPromised(s, promises), goesOn(s, powerPieces+again), s.Close(), wholeFiles(dir))
		if err == nil {
			if left, _ := filepath.Glob(filepath.Join(dir, "packs", "*.open")); len(left) > 0 {
				err = fmt.Errorf("left behind: %v", left)
			}
		}
		if err != nil {
			return fmt.Errorf("opened for the %d. time: %w", again+1, err)
		}
	}
	return nil
}

// wholeFiles looks through every finished pack and the index: what has its final name is whole.
func wholeFiles(dir string) error {
	every := func(core.Hash) bool { return true }
	err := check.Packs(context.Background(), dir, "", every, func(c check.Checked) error {
		if len(c.Damage) > 0 {
			return fmt.Errorf("%+v", c.Damage[0])
		}
		return nil
	})
	if err != nil {
		return err
	}
	damage, _, err := check.Index(context.Background(), dir, true)
	if len(damage) > 0 {
		return fmt.Errorf("%+v", damage[0])
	}
	return err
}

// asPromised looks for every piece: nothing wrong is returned, and what was promised is there.
func asPromised(s *disk.Store, promises []any) error {
	told := map[int]any{}
	for _, p := range promises {
		switch p := p.(type) {
		case kept:
			told[int(p)] = p
		case unkept:
			told[int(p)] = p
		case gone:
			told[int(p)] = p
		}
	}
	for n := range powerPieces {
		want := powerPiece(n)
		got, err := s.Get(bg, want.Hash, nil)
		_, must := told[n].(kept)
		_, mustNot := told[n].(gone)
		switch {
		case err == nil && !bytes.Equal(got, want.data):
			return fmt.Errorf("piece %d comes back as other bytes", n)
		case err != nil && !errors.Is(err, core.ErrNotFound):
			return fmt.Errorf("piece %d: %w", n, err)
		case must && err != nil:
			return fmt.Errorf("piece %d was acknowledged: %w", n, err)
		case mustNot && err == nil:
			return fmt.Errorf("piece %d came back from the dead", n)
		}
	}
	return nil
}

func goesOn(s *disk.Store, n int) error {
	p := powerPiece(n)
	if _, err := s.Put(bg, p.Chunk, p.id, p.data); err != nil {
		return err
	}
	if err := s.Barrier(bg); err != nil {
		return err
	}
	got, err := s.Get(bg, p.Hash, nil)
	if err == nil && !bytes.Equal(got, p.data) {
		err = errors.New("what was put comes back as other bytes")
	}
	return err
}

// TestPowerLossPut fills several packs under several barriers, in a store that it makes.
func TestPowerLossPut(t *testing.T) {
	p := power(t, t.TempDir())
	s := p.open()
	p.put(s, 0, 2)
	p.put(s, 2, 3)
	p.put(s, 3, 14)  // the second pack, too
	p.put(s, 14, 30) // a pack that is finished before its first barrier
	p.put(s, 29, 31)
	closeStore(t, s)
	p.check(4)
}

// TestPowerLossWriters has three writers put for long without a barrier, so that much is on its way at a time.
func TestPowerLossWriters(t *testing.T) {
	p := power(t, t.TempDir())
	writers := []*disk.Store{p.open(), p.open(), p.open()}
	for round := range 3 {
		for n := 24 * round; n < 24*round+24; n++ {
			put(t, writers[n%3], powerPiece(n))
		}
		for i, s := range writers {
			barrier(t, s)
			for n := 24*round + i; n < 24*round+24; n += 3 {
				p.r.Promise(kept(n))
			}
		}
	}
	for _, s := range writers {
		closeStore(t, s)
	}
	p.check(6)
}

// TestPowerLossClose closes a store without a barrier before.
func TestPowerLossClose(t *testing.T) {
	p := power(t, t.TempDir())
	s := p.open()
	for n := range 3 {
		p.r.Promise(unkept(n))
		put(p, s, powerPiece(n))
	}
	closeStore(t, s)
	for n := range 3 {
		p.r.Promise(kept(n))
	}
	p.check(1)
}

// TestPowerLossOfWhatAnotherWrote leans on chunks that another writer has finished and made nothing durable of.
func TestPowerLossOfWhatAnotherWrote(t *testing.T) {
	p := power(t, t.TempDir())
	s, other := p.open(), p.open()
	p.put(s, 0, 1)
	for n := 1; n < 12; n++ {
		put(t, other, powerPiece(n))
	}
	p.finished(1)
	if !has(s, powerPiece(1).Hash) || put(t, s, powerPiece(1)) {
		t.Fatal("the other's piece is not found")
	}
	barrier(t, s)
	p.r.Promise(kept(1))
	for n := 12; n < 22; n++ {
		put(t, other, powerPiece(n))
	}
	p.finished(2)
	if !has(s, powerPiece(12).Hash) || !finds(s, powerPiece(12)) {
		t.Fatal("the other's piece is not found")
	}
	barrier(t, s) // nothing was put: it is for what was found
	p.r.Promise(kept(12))
	third := p.open()
	for n := 22; n < 42; n++ {
		put(t, third, powerPiece(n))
	}
	p.finished(3)
	if err := third.Compact(); err != nil {
		t.Fatal(err)
	}
	if !has(s, powerPiece(22).Hash) { // by that one's table
		t.Fatal("the third one's piece is not found")
	}
	barrier(t, s)
	p.r.Promise(kept(22))
	barrier(t, third)
	if !has(s, powerPiece(41).Hash) {
		t.Fatal("the pack that the other is writing is not seen")
	}
	p.put(s, 41, 42) // so that it must be put anew
	closeStore(t, other)
	closeStore(t, third)
	closeStore(t, s)
	p.check(4)
}

// TestPowerLossRescue records how the packs of a dead writer are taken over.
func TestPowerLossRescue(t *testing.T) {
	dir := t.TempDir()
	left := &powered{T: t, dir: dir}
	dead, other := left.open(), left.open()
	for n := range 14 {
		put(t, dead, powerPiece(n))
	}
	barrier(t, dead)
	for n := 14; n < 18; n++ {
		put(t, other, powerPiece(n))
	}
	barrier(t, other)
	left.finished(1)
	crashed := t.TempDir()
	copyTo(t, dir, filepath.Join(crashed, "store"))
	closeStore(t, other)
	closeStore(t, dead)

	p := power(t, crashed)
	for n := range 18 {
		p.r.Promise(kept(n))
	}
	s := p.open()
	if left := packFiles(t, p.dir, ".open"); len(left) > 1 {
		t.Errorf("packs of dead writers are left: %v", left)
	}
	p.put(s, 18, 21)
	closeStore(t, s)
	p.check(4)
}

// TestPowerLossIndex merges tables again and again.
func TestPowerLossIndex(t *testing.T) {
	p := power(t, t.TempDir())
	for i := range 3 {
		s := p.open()
		p.put(s, 12*i, 12*i+12)
		closeStore(t, s)
		s = p.open()
		if err := s.Compact(); err != nil {
			t.Fatal(err)
		}
		p.r.Promise(indexed{})
		closeStore(t, s)
	}
	p.check(5)
}

// collect has a store drop what is not live, and says what went.
func (p *powered) collect(s *disk.Store, live func(n int) bool) {
	p.Helper()
	hashes, dead := map[core.Hash]bool{}, []int(nil)
	for n := range powerPieces {
		if h := powerPiece(n).Hash; live(n) {
			hashes[h] = true
		} else if has(s, h) {
			dead = append(dead, n)
			p.r.Promise(unkept(n))
		}
	}
	if _, err := s.Collect(bg, asked(func(h core.Hash) bool { return hashes[h] }), nil); err != nil {
		p.Fatal(err)
	}
	for _, n := range dead {
		if !has(s, powerPiece(n).Hash) {
			p.r.Promise(gone(n))
		}
	}
}

// TestPowerLossCollect drops packs that are dead, rewrites those that are half dead, and lets others wait.
func TestPowerLossCollect(t *testing.T) {
	p := power(t, t.TempDir())
	s := p.open()
	p.put(s, 0, 30)
	p.collect(s, func(n int) bool { return n >= 12 && n%2 == 0 })
	p.put(s, 30, 36)
	other := p.open()
	p.collect(s, func(n int) bool { return n >= 24 })
	p.put(other, 12, 14) // what is condemned is put anew
	closeStore(t, other)
	p.collect(s, func(n int) bool { return n >= 30 || n == 12 || n == 13 })
	closeStore(t, s)
	if strings.Contains(fmt.Sprint(packFiles(t, p.dir, "")), ".open") {
		t.Error("packs are left open")
	}
	p.check(4)
}

// TestPowerLossMerge makes one pack out of many small ones, while a chunk that another writer left goes with them.
func TestPowerLossMerge(t *testing.T) {
	dir := t.TempDir()
	small := &powered{T: t, dir: filepath.Join(dir, "store")}
	for n := range 12 {
		s := small.open()
		put(t, s, makePiece(n, 60+n))
		closeStore(t, s)
	}
	r := durabletest.Record(t, dir)
	s := small.open()
	s.SetPackSize(64 << 10)
	report := sweep(t, s, func(core.Hash) bool { return true })
	if report.Rewritten == 0 || report.Removed != 12 {
		t.Fatalf("nothing was merged: %+v", report)
	}
	r.Promise("merged")
	closeStore(t, s)
	r.Check(t, durabletest.Budget(3), func(roots []string, promises []any) error {
		dir := filepath.Join(roots[0], "store")
		if err := wholeFiles(dir); err != nil {
			return err
		}
		s, err := disk.OpenSized(dir, powerPack)
		if err != nil {
			return err
		}
		for n := range 12 {
			want := makePiece(n, 60+n)
			got, err := s.Get(bg, want.Hash, nil)
			if err != nil || !bytes.Equal(got, want.data) {
				return fmt.Errorf("piece %d comes back as %d bytes, %w", n, len(got), err)
			}
		}
		if packs, _ := filepath.Glob(filepath.Join(dir, "packs", "*")); len(promises) > 0 && len(packs) > 1 {
			return fmt.Errorf("the small packs are there again: %d packs", len(packs))
		}
		return errors.Join(goesOn(s, powerPieces), s.Close())
	})
}

// TestPowerLossAway has every chunk here or noted, at every moment of a collection.
func TestPowerLossAway(t *testing.T) {
	p := power(t, t.TempDir())
	s := p.open()
	notesIn := func(dir string) string { return filepath.Join(filepath.Dir(dir), "away") }
	a := openAway(t, notesIn(p.dir))
	p.put(s, 0, 24)
	live := func(h core.Hash) bool { return h == powerPiece(3).Hash || h == powerPiece(20).Hash }
	for range 2 {
		_, err := s.Collect(bg, asked(live), noteFor{a, func(core.Hash) bool { return true }})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range []error{a.Close(), s.Close()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	p.r.Check(t, durabletest.Budget(2), func(roots []string, promises []any) error {
		dir := filepath.Join(roots[0], "store")
		s, err := disk.OpenSized(dir, powerPack)
		if err != nil {
			return err
		}
		defer s.Close()
		a, err := disk.OpenAway(notesIn(dir))
		if err != nil {
			return err
		}
		defer a.Close()
		for _, promise := range promises {
			n, ok := promise.(kept)
			if !ok {
				continue
			}
			want := powerPiece(int(n))
			if got, err := s.Get(bg, want.Hash, nil); err == nil && bytes.Equal(got, want.data) {
				continue
			}
			if live(want.Hash) || !want.isNoted(a) {
				return fmt.Errorf("piece %d is neither here nor noted", n)
			}
		}
		return nil
	})
}
