// SPDX-License-Identifier: Apache-2.0

package disk_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/storage/disk"
	"github.com/zeebo/blake3"
	"pgregory.net/rapid"
)

// piece is made-up stored bytes with their names.
type piece struct {
	core.Chunk
	id   core.Hash
	data []byte
}

// makePiece makes the n-th piece of the given size.
func makePiece(n, size int) piece {
	data := make([]byte, size)
	h := blake3.New()
	fmt.Fprintf(h, "piece %d", n)
	h.Digest().Read(data)
	return piece{
		Chunk: core.Chunk{Hash: blake3.Sum256(data), Size: core.Size(size)},
		id:    blake3.Sum256(fmt.Appendf(nil, "id of %d", n)), data: data,
	}
}

func makePieces(n, size int) (all []piece) {
	for i := range n {
		all = append(all, makePiece(i, size+i))
	}
	return all
}

// long is said by tests that take more than ten seconds under the race detector, and have nothing for it to find.
func long(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long: runs without -short")
	}
}

func open(t testing.TB, dir string) *disk.Store {
	t.Helper()
	s, err := disk.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t testing.TB, s *disk.Store, p piece) (isNew bool) {
	t.Helper()
	isNew, err := s.Put(bg, p.Chunk, p.id, p.data)
	if err != nil {
		t.Fatal(err)
	}
	return isNew
}

func barrier(t testing.TB, s *disk.Store) {
	t.Helper()
	if err := s.Barrier(bg); err != nil {
		t.Error(err)
	}
}

// fataler is a testing.TB or a rapid.T.
type fataler interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

func wantPiece(t fataler, s *disk.Store, p piece) {
	t.Helper()
	got, err := s.Get(bg, p.Hash, []byte("before"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "before" + string(p.data); string(got) != want {
		t.Fatalf("chunk %s came back as %d other bytes", p.Hash, len(got))
	}
}

func closeStore(t testing.TB, s *disk.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// packFiles lists the store's packs with the given ending.
func packFiles(t testing.TB, dir, ending string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "packs", "*"+ending))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// afterCrash copies the store as a crash at this moment would leave it.
func afterCrash(t testing.TB, dir string) string {
	t.Helper()
	to := t.TempDir()
	copyTo(t, dir, to)
	return to
}

func TestChunksComeBack(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	pieces := append(makePieces(20, 1000), makePiece(99, 0), makePiece(100, 16<<20+30))
	var total core.Size
	for _, p := range pieces {
		if !put(t, s, p) {
			t.Fatal("a new chunk was not new")
		}
		if put(t, s, p) {
			t.Fatal("a chunk was new twice")
		}
		wantPiece(t, s, p)
		total += p.Chunk.Size
	}
	if used(s) != total {
		t.Errorf("used %d, want %d", used(s), total)
	}
	closeStore(t, s)

	for name, open := range map[string]func(string) (*disk.Store, error){"Open": disk.Open, "OpenRead": disk.OpenRead} {
		s, err := open(dir)
		if err != nil {
			t.Fatal(name, err)
		}
		for _, p := range pieces {
			wantPiece(t, s, p)
			if found, ok := found(s, p.id); !ok || found != p.Chunk {
				t.Errorf("%s: find %s: %v, %v", name, p.id, found, ok)
			}
		}
		if used(s) != total {
			t.Errorf("%s: used %d, want %d", name, used(s), total)
		}
		closeStore(t, s)
	}
}

func TestWhatIsNotThere(t *testing.T) {
	s := open(t, t.TempDir())
	defer closeStore(t, s)
	p := makePiece(1, 100)
	if _, err := s.Get(bg, p.Hash, nil); !errors.Is(err, core.ErrNotFound) {
		t.Errorf("get: %v", err)
	}
	if has(s, p.Hash) {
		t.Error("an empty store has something")
	}
	if _, ok := found(s, p.id); ok {
		t.Error("an empty store finds something")
	}
	if _, err := s.Put(bg, p.Chunk, p.id, p.data[1:]); err == nil {
		t.Error("a chunk of the wrong size was taken")
	}
	if err := s.Barrier(bg); err != nil {
		t.Error(err)
	}
}

func TestAChunkWithoutAnIDIsNotFoundByZero(t *testing.T) {
	s := open(t, t.TempDir())
	defer closeStore(t, s)
	p := makePiece(1, 100)
	p.id = core.Hash{}
	put(t, s, p)
	if _, ok := found(s, core.Hash{}); ok {
		t.Error("the zero id finds a chunk")
	}
}

func TestAReaderOnlyReads(t *testing.T) {
	if _, err := disk.OpenRead(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a store that is not there was opened")
	}
	dir := t.TempDir()
	closeStore(t, open(t, dir))
	s, err := disk.OpenRead(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, s)
	p := makePiece(1, 100)
	if _, err := s.Put(bg, p.Chunk, p.id, p.data); err == nil {
		t.Error("a reader put a chunk")
	}
	if _, err := s.Sweep(bg, asked(func(core.Hash) bool { return false })); err == nil {
		t.Error("a reader swept")
	}
}

func TestReadersSeeWhatOthersWrite(t *testing.T) {
	dir := t.TempDir()
	writer := open(t, dir)
	reader, err := disk.OpenRead(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, reader)
	second := open(t, dir)
	defer closeStore(t, second)
	writer.SetPackSize(50_000)
	for n := range 100 { // through several packs
		p := makePiece(n, 4000)
		put(t, writer, p)
		barrier(t, writer)
		wantPiece(t, reader, p)
		if n%25 == 0 {
			wantPiece(t, second, p)
		}
	}
	closeStore(t, writer)
	if packs := len(packFiles(t, dir, ".pack")); packs < 5 {
		t.Errorf("%d packs are too few for this test", packs)
	}
	for n := range 100 {
		wantPiece(t, second, makePiece(n, 4000))
	}
}

// While the directory itself does not change, records still come to a pack that is being written.
func TestReadersFollowAPack(t *testing.T) {
	dir := t.TempDir()
	writer := open(t, dir)
	defer closeStore(t, writer)
	put(t, writer, makePiece(0, 1000))
	barrier(t, writer)
	reader, err := disk.OpenRead(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, reader)
	time.Sleep(150 * time.Millisecond) // until the directory's modification time proves something
	if has(reader, makePiece(1, 1000).Hash) {
		t.Fatal("has what was not written yet")
	}
	put(t, writer, makePiece(1, 1000))
	barrier(t, writer)
	wantPiece(t, reader, makePiece(1, 1000))
}

// A reader sees a chunk whole or not at all, at whatever moment it looks.
func TestReadersSeeNothingHalfWritten(t *testing.T) {
	dir := t.TempDir()
	writer := open(t, dir)
	defer closeStore(t, writer)
	reader, err := disk.OpenRead(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, reader)
	for n := range 15 {
		p := makePiece(n, 3<<20)
		var wg sync.WaitGroup
		wg.Go(func() { put(t, writer, p); barrier(t, writer) })
		for deadline := time.Now().Add(10 * time.Second); ; {
			if time.Now().After(deadline) {
				t.Fatalf("piece %d is never seen", n)
			}
			got, err := reader.Get(bg, p.Hash, nil)
			if err == nil && bytes.Equal(got, p.data) {
				break
			}
			if !errors.Is(err, core.ErrNotFound) {
				t.Errorf("piece %d: %d bytes, %v", n, len(got), err)
				break
			}
		}
		wg.Wait()
	}
}

// A chunk that another process put and has not made durable must not count as kept.
func TestAnothersUnfinishedChunkIsPutAgain(t *testing.T) {
	dir := t.TempDir()
	other, s := open(t, dir), open(t, dir)
	p := makePiece(1, 5000)
	put(t, other, p)
	barrier(t, other)
	wantPiece(t, s, p)
	if _, ok := found(s, p.id); ok {
		t.Error("found a chunk that the next barrier does not cover")
	}
	if !put(t, s, p) {
		t.Error("relied on a chunk that the next barrier does not cover")
	}
	if err := s.Barrier(bg); err != nil {
		t.Fatal(err)
	}
	closeStore(t, other)
	closeStore(t, s)
}

func TestManyGoroutinesStoreAChunkOnce(t *testing.T) {
	s := open(t, t.TempDir())
	s.SetPackSize(100_000)
	pieces := makePieces(300, 4000)
	var fresh atomic.Int64
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range pieces {
				p := pieces[(i*7+worker)%len(pieces)]
				isNew, err := s.Put(bg, p.Chunk, p.id, p.data)
				if err != nil {
					t.Error(err)
					return
				}
				if isNew {
					fresh.Add(1)
				}
				if i%40 == 0 {
					if err := s.Barrier(bg); err != nil {
						t.Error(err)
					}
				}
				if got, err := s.Get(bg, p.Hash, nil); err != nil || !bytes.Equal(got, p.data) {
					t.Error("a chunk that was put is not there", err)
				}
			}
		})
	}
	wg.Wait()
	if int(fresh.Load()) != len(pieces) {
		t.Errorf("%d chunks were new, want %d", fresh.Load(), len(pieces))
	}
	closeStore(t, s)
}

// A store follows a map through puts, look-ups, sweeps, crashes and openings.
func TestStoreIsAMap(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		s := open(t, dir)
		defer func() { s.Close() }()
		model := map[core.Hash]piece{}
		some := rapid.IntRange(0, 12)
		rt.Repeat(map[string]func(*rapid.T){
			"put": func(rt *rapid.T) {
				n := some.Draw(rt, "piece")
				p := makePiece(n, 100*n)
				if _, known := model[p.Hash]; put(t, s, p) == known {
					rt.Fatalf("piece %d: new is %v", n, !known)
				}
				model[p.Hash] = p
			},
			"reopen": func(rt *rapid.T) {
				closeStore(t, s)
				s = open(t, dir)
				s.SetMaxLoose(rapid.IntRange(1, 20).Draw(rt, "rows in memory"))
			},
			"compact": func(rt *rapid.T) {
				if err := s.Compact(); err != nil {
					rt.Fatal(err)
				}
			},
			"barrier and crash": func(rt *rapid.T) {
				if err := s.Barrier(bg); err != nil {
					rt.Fatal(err)
				}
				crashed := afterCrash(t, dir)
				closeStore(t, s)
				dir = crashed
				s = open(t, dir)
			},
			"sweep": func(rt *rapid.T) {
				n := some.Draw(rt, "live from")
				live := map[core.Hash]bool{}
				for i := n; i <= 12; i++ {
					live[makePiece(i, 100*i).Hash] = true
				}
				if _, err := s.Sweep(bg, asked(func(h core.Hash) bool { return live[h] })); err != nil {
					rt.Fatal(err)
				}
				for h := range model {
					if !live[h] && !has(s, h) {
						delete(model, h) // its whole pack was dead
					}
				}
			},
			"": func(rt *rapid.T) {
				for n := range 13 {
					p := makePiece(n, 100*n)
					_, want := model[p.Hash]
					if has(s, p.Hash) != want {
						rt.Fatalf("piece %d: has is %v", n, !want)
					}
					if _, found := found(s, p.id); found != want {
						rt.Fatalf("piece %d: found is %v", n, found)
					}
					if want {
						wantPiece(t, s, p)
					}
				}
			},
		})
	})
}

func TestSweep(t *testing.T) {
	dir := t.TempDir()
	pieces := makePieces(6, 1000)
	pieces[3] = makePiece(3, 999) // less than half of its pack
	for i := range 3 {            // two chunks a pack
		s := open(t, dir)
		put(t, s, pieces[2*i])
		put(t, s, pieces[2*i+1])
		closeStore(t, s)
	}
	s := open(t, dir)
	defer closeStore(t, s)
	put(t, s, makePiece(99, 10)) // nobody needs it, and its pack is still being written
	live := []core.Hash{pieces[0].Hash, pieces[1].Hash, pieces[2].Hash}
	report, err := s.Sweep(bg, asked(func(h core.Hash) bool { return slices.Contains(live, h) }))
	if err != nil {
		t.Fatal(err)
	}
	want := disk.SweepReport{Packs: 4, Removed: 2, Chunks: 3,
		Collected: core.Collected{Freed: 1004 + 1005 + 10, Dead: 999}}
	if !reflect.DeepEqual(report, want) {
		t.Errorf("got %+v, want %+v", report, want)
	}
	for i, p := range pieces {
		if has(s, p.Hash) != (i < 4) {
			t.Errorf("piece %d: has is %v", i, has(s, p.Hash))
		}
	}
	if used(s) != 1000+1001+1002+999 {
		t.Errorf("used %d", used(s))
	}
	put(t, s, pieces[5]) // and on it goes
	wantPiece(t, s, pieces[5])
}

func TestUnreadableStore(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := disk.Open(file); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a file as a store: %v", err)
	}
}

func TestStoreInABubble(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := open(t, dir)
		s.SetPackSize(100_000)
		var wg sync.WaitGroup
		for n := range 70 {
			wg.Go(func() { put(t, s, makePiece(n, 5000)) })
		}
		wg.Wait()
		if err := s.Barrier(bg); err != nil {
			t.Fatal(err)
		}
		wantPiece(t, s, makePiece(3, 5000))
		closeStore(t, s)
	})
	if len(packFiles(t, dir, ".pack")) < 3 {
		t.Error("want several packs")
	}
}

var bg = context.Background()

func has(s *disk.Store, hash core.Hash) bool {
	ok, err := s.Has(bg, hash)
	if err != nil {
		panic(err)
	}
	return ok
}

func found(s *disk.Store, id core.Hash) (core.Chunk, bool) {
	c, ok, err := s.Find(bg, id)
	if err != nil {
		panic(err)
	}
	return c, ok
}

func used(s *disk.Store) core.Size {
	n, err := s.Used(bg)
	if err != nil {
		panic(err)
	}
	return n
}

// asked is who is asked what is live, and can always tell.
func asked(live func(core.Hash) bool) func(core.Hash) (bool, error) {
	return func(h core.Hash) (bool, error) { return live(h), nil }
}

// copyTo copies a directory as a crash at this moment would leave it.
func copyTo(t testing.TB, dir, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
}
