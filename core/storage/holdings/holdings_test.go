// SPDX-License-Identifier: Apache-2.0

package holdings_test

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/zeebo/blake3"
	"pgregory.net/rapid"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/durable/durabletest"
	"github.com/bkp-tool/bkp/core/storage/holdings"
)

// made is the bytes of the n-th chunk, made up.
func made(n, size int) []byte {
	data := make([]byte, size)
	h := blake3.New()
	fmt.Fprintf(h, "piece %d", n)
	h.Digest().Read(data)
	return data
}

func chunkOf(data []byte) core.Chunk {
	return core.Chunk{Hash: blake3.Sum256(data), Size: core.Size(len(data))}
}

func TestMain(m *testing.M) {
	flag.Set("rapid.checks", "20") // every check syncs a few dozen times; a flag on the command line overrules this
	os.Exit(m.Run())
}

func openHoldings(t testing.TB, path string) *holdings.Holdings {
	t.Helper()
	h, err := holdings.Open(path, true)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func newHoldings(t testing.TB) *holdings.Holdings {
	t.Helper()
	h := openHoldings(t, filepath.Join(t.TempDir(), "holdings.db"))
	t.Cleanup(func() { h.Close() })
	return h
}

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// aRun is made-up: the n-th run of count chunks, 100 bytes and some each.
func aRun(n, count int) core.Holding {
	h := core.Holding{Number: n, File: core.File{Name: fmt.Sprintf("alias.1.%d", n), Type: core.TypeFile, Order: n}}
	for i := range count {
		c := chunkOf(made(100*n+i, 100+i))
		h.Chunks = append(h.Chunks, c)
		h.File.Size += c.Size
	}
	h.File.Hash = chunk.RunHash(h.Chunks)
	return h
}

func bits(numbers ...int) core.Bitmap {
	b := core.NewBitmap(8)
	for _, n := range numbers {
		b.Set(n)
	}
	return b
}

// heldFor gives a run to a task with the chunks that the task needs; none are all.
func heldFor(h core.Holding, task core.TaskID, numbers ...int) core.Holding {
	h.Task = task
	if len(numbers) > 0 {
		h.Kept = bits(numbers...)
	}
	return h
}

func aSegment(owner core.ID, task core.TaskID) core.Segment {
	return core.Segment{Task: task, Owner: owner, Alias: "alias", Version: 1, LicenseID: core.LicenseID{1, task[0]},
		License:     []byte("license"),
		RetainUntil: 2_000_000_000, Locations: []core.Span{{Node: core.ID{9}, Length: 3}},
		Files:  []core.File{aRun(0, 2).File},
		Reused: []core.Reused{{File: aRun(1, 2).File, Task: core.TaskID{77}, Chunks: bits(1)}}}
}

func accept(t testing.TB, h *holdings.Holdings, s core.Segment) {
	t.Helper()
	if bound, err := h.PutSegment(s, core.Hash{s.Task[0]}); err != nil || !bound {
		t.Fatal(bound, err)
	}
}

var (
	alice, bob    = core.ID{0xa}, core.ID{0xb}
	first, second = core.TaskID{1}, core.TaskID{2}
)

func TestSegmentsComeBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "holdings.db")
	h := openHoldings(t, path)
	want := []core.Segment{aSegment(alice, first), aSegment(bob, second)}
	for _, s := range want {
		accept(t, h, s)
		accept(t, h, s) // again: changes nothing
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	h = openHoldings(t, path)
	defer h.Close()
	if got := must[[]core.Segment](t)(h.Segments()); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// A licence id is bound to the first root that it came with, also after its task was released.
func TestALicenseIsBoundToOneRoot(t *testing.T) {
	h := newHoldings(t)
	s := aSegment(alice, first)
	accept(t, h, s)
	replay := aSegment(alice, second)
	replay.LicenseID = s.LicenseID
	try := func(when string, segment core.Segment, root core.Hash, want bool) {
		t.Helper()
		if bound, err := h.PutSegment(segment, root); err != nil || bound != want {
			t.Errorf("%s: bound is %v, %v", when, bound, err)
		}
	}
	try("with another root", replay, core.Hash{2}, false)
	if n := len(must[[]core.Segment](t)(h.Segments())); n != 1 {
		t.Errorf("%d segments after a replay", n)
	}
	if _, _, err := h.ReleaseTask(alice, first); err != nil {
		t.Fatal(err)
	}
	try("with another root after a release", replay, core.Hash{2}, false)
	try("with the same root", replay, core.Hash{1}, true)

	further := s
	further.Task, further.LicenseID = second, core.LicenseID{99}
	try("a further licence", further, core.Hash{1}, true)
	further.Task = core.TaskID{3}
	try("a further licence with another root", further, core.Hash{3}, false)
}

func TestASegmentHasOneOwnerAndRoot(t *testing.T) {
	h := newHoldings(t)
	accept(t, h, aSegment(alice, first))
	if _, err := h.PutSegment(aSegment(bob, first), core.Hash{1}); core.CodeOf(err) != core.CodeRefused {
		t.Errorf("another owner: %v", err)
	}
	s := aSegment(alice, first)
	s.LicenseID = core.LicenseID{50}
	if _, err := h.PutSegment(s, core.Hash{50}); core.CodeOf(err) != core.CodeRefused {
		t.Errorf("another root: %v", err)
	}
}

func TestRunsOfSeveralTasks(t *testing.T) {
	h := newHoldings(t)
	accept(t, h, aSegment(alice, first))
	accept(t, h, aSegment(alice, second))
	shared, own := aRun(0, 3), aRun(1, 2) // 100+101+102 and 100+101 bytes
	if err := h.PutRuns([]core.Holding{heldFor(shared, first), heldFor(own, first)}); err != nil {
		t.Fatal(err)
	}
	if err := h.PutRuns([]core.Holding{heldFor(shared, second, 0, 2)}); err != nil {
		t.Fatal(err)
	}
	wantState(t, h, alice, 504, shared.File, own.File)
	kept := must[[]core.Holding](t)(h.Kept(second, 0))
	want := heldFor(shared, second, 0, 2)
	if len(kept) != 1 || !reflect.DeepEqual(kept[0].Chunks, want.Chunks) || kept[0].File != want.File ||
		kept[0].Task != second ||
		kept[0].Kept.Count(3) != 2 || kept[0].Kept.Has(1) {
		t.Errorf("kept for the second task: %+v", kept)
	}

	runs, bytes, err := h.ReleaseTask(alice, first)
	if err != nil || runs != 2 || bytes != 302 {
		t.Errorf("released %d runs, %d bytes, %v", runs, bytes, err)
	}
	wantState(t, h, alice, 202, shared.File)
	found := must[core.Holding](t)(h.Run(shared.File.Hash))
	if found.Task != second || found.Kept.Count(3) != 2 {
		t.Errorf("found %+v", found)
	}
	if _, err := h.Run(own.File.Hash); !errors.Is(err, core.ErrNotFound) {
		t.Errorf("a released run: %v", err)
	}
	if live := liveChunks(t, h); len(live) != 2 || !live[shared.Chunks[0].Hash] || live[shared.Chunks[1].Hash] {
		t.Errorf("live: %v", live)
	}

	if runs, bytes, err = h.ReleaseTask(alice, second); err != nil || runs != 1 || bytes != 202 {
		t.Errorf("released %d runs, %d bytes, %v", runs, bytes, err)
	}
	wantState(t, h, alice, 0)
	if _, _, err = h.ReleaseTask(alice, second); !errors.Is(err, core.ErrNotFound) {
		t.Errorf("released twice: %v", err)
	}
}

func wantState(t *testing.T, h *holdings.Holdings, owner core.ID, bytes core.Size, files ...core.File) {
	t.Helper()
	if got := must[core.Size](t)(h.OwnerBytes(owner)); got != bytes {
		t.Errorf("the owner has %d bytes, want %d", got, bytes)
	}
	if got := must[int](t)(h.Count()); got != len(files) {
		t.Errorf("%d runs, want %d", got, len(files))
	}
	if got := must[[]core.File](t)(h.Files(0, 0)); !slices.Equal(got, files) {
		t.Errorf("files %+v, want %+v", got, files)
	}
}

func liveChunks(t testing.TB, h *holdings.Holdings) map[core.Hash]bool {
	t.Helper()
	live := map[core.Hash]bool{}
	if err := h.Live(func(c core.Chunk) { live[c.Hash] = true }); err != nil {
		t.Fatal(err)
	}
	return live
}

func TestOnlyTheOwnerReleases(t *testing.T) {
	h := newHoldings(t)
	accept(t, h, aSegment(alice, first))
	if err := h.PutRuns([]core.Holding{heldFor(aRun(0, 2), first)}); err != nil {
		t.Fatal(err)
	}
	foreign := aSegment(bob, first) // the same task, another segment
	foreign.Number, foreign.LicenseID = 1, core.LicenseID{9}
	accept(t, h, foreign)
	if runs, _, err := h.ReleaseTask(bob, first); err != nil || runs != 0 {
		t.Errorf("released %d of another's runs, %v", runs, err)
	}
	if _, _, err := h.ReleaseTask(core.ID{0xc}, first); !errors.Is(err, core.ErrNotFound) {
		t.Errorf("a stranger: %v", err)
	}
	wantState(t, h, alice, 201, aRun(0, 2).File)
}

func TestBadRunsChangeNothing(t *testing.T) {
	h := newHoldings(t)
	accept(t, h, aSegment(alice, first))
	good := heldFor(aRun(0, 2), first)
	for name, spoil := range map[string]func(r *core.Holding){
		"no such segment": func(r *core.Holding) { r.Segment = 7 },
		"size":            func(r *core.Holding) { r.File.Size++ },
		"hash":            func(r *core.Holding) { r.File.Hash[0]++ },
		"a chunk less":    func(r *core.Holding) { r.Chunks = r.Chunks[1:] },
		"negative number": func(r *core.Holding) { r.Number = -1 },
		"number taken":    func(r *core.Holding) { *r = heldFor(aRun(1, 2), first); r.Number = 0 },
	} {
		bad := heldFor(aRun(0, 2), first)
		spoil(&bad)
		if err := h.PutRuns([]core.Holding{good, bad}); err == nil {
			t.Errorf("%s: taken", name)
		}
		wantState(t, h, alice, 0)
	}
}

func TestFilesByPages(t *testing.T) {
	h := newHoldings(t)
	accept(t, h, aSegment(alice, first))
	var want []core.File
	for n := range 10 {
		r := heldFor(aRun(9-n, 1), first) // the order is that of arrival
		if err := h.PutRuns([]core.Holding{r}); err != nil {
			t.Fatal(err)
		}
		want = append(want, r.File)
	}
	var got []core.File
	for {
		page := must[[]core.File](t)(h.Files(len(got), 3))
		if len(page) == 0 {
			break
		}
		got = append(got, page...)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestRefs(t *testing.T) {
	h := newHoldings(t)
	record := chunkOf(made(5, 10))
	var want []core.HeldRef
	for _, alias := range []string{"a", "aa", "b"} {
		for _, version := range []int{1, 2, 256} {
			want = append(want, core.HeldRef{Owner: alice, Alias: alias, Version: version, Task: first,
				Envelope: []byte(alias), Records: []core.Chunk{record}})
		}
	}
	for _, i := range []int{5, 3, 8, 0, 1, 7, 2, 6, 4, 5} {
		if err := h.PutRef(want[i]); err != nil {
			t.Fatal(err)
		}
	}
	other := core.HeldRef{Owner: bob, Alias: "a", Version: 1, Task: first, Envelope: []byte("bob's")}
	if err := h.PutRef(other); err != nil {
		t.Fatal(err)
	}
	if got := must[[]core.HeldRef](t)(h.Refs(alice)); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := must[core.HeldRef](t)(h.Ref(alice, "aa", 256)); !reflect.DeepEqual(got, want[5]) {
		t.Errorf("got %v", got)
	}
	if _, err := h.Ref(alice, "aa", 3); !errors.Is(err, core.ErrNotFound) {
		t.Errorf("no such ref: %v", err)
	}
	if live := liveChunks(t, h); !live[record.Hash] {
		t.Error("a ref's record is not live")
	}
	for _, bad := range []core.HeldRef{{Alias: ""}, {Alias: "a\x00b"}, {Alias: "a", Version: -1}} {
		if err := h.PutRef(bad); err == nil {
			t.Errorf("took %+v", bad)
		}
	}
	if _, _, err := h.ReleaseTask(alice, first); err != nil {
		t.Fatal(err)
	}
	if mine, theirs := must[[]core.HeldRef](t)(h.Refs(alice)), must[[]core.HeldRef](t)(h.Refs(bob)); len(mine) != 0 ||
		len(theirs) != 1 {
		t.Errorf("after the release: %d and %d refs", len(mine), len(theirs))
	}
}

func TestHoldingsHaveOneProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "holdings.db")
	h := openHoldings(t, path)
	defer h.Close()
	if _, err := holdings.Open(path, true); !errors.Is(err, durable.ErrLocked) || core.CodeOf(err) != core.CodeBusy {
		t.Errorf("opened twice: %v", err)
	}
}

func TestHoldingsInABubble(t *testing.T) {
	path := filepath.Join(t.TempDir(), "holdings.db")
	synctest.Test(t, func(t *testing.T) {
		h := openHoldings(t, path)
		accept(t, h, aSegment(alice, first))
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
}

// Through any puts and releases of overlapping tasks of two owners, bytes, runs and live chunks are what a slow obvious
// model says.
func TestHoldingsFollowTheirModel(t *testing.T) {
	type need struct {
		owner core.ID
		kept  map[int]bool
	}
	const chunks = 4
	tasks := map[core.TaskID]core.ID{{1}: alice, {2}: alice, {3}: bob}
	rapid.Check(t, func(rt *rapid.T) {
		h := newHoldings(t)
		model := map[int]map[core.TaskID]need{} // run → task → need
		drawTask := rapid.SampledFrom([]core.TaskID{{1}, {2}, {3}})
		rt.Repeat(map[string]func(*rapid.T){
			"put": func(rt *rapid.T) {
				task, run := drawTask.Draw(rt, "task"), rapid.IntRange(0, 2).Draw(rt, "run")
				kept := rapid.SliceOfNDistinct(rapid.IntRange(0, chunks-1), 1, chunks, rapid.ID[int]).Draw(rt, "kept")
				accept(t, h, aSegment(tasks[task], task))
				if err := h.PutRuns([]core.Holding{heldFor(aRun(run, chunks), task, kept...)}); err != nil {
					rt.Fatal(err)
				}
				if model[run] == nil {
					model[run] = map[core.TaskID]need{}
				}
				if model[run][task].kept == nil {
					model[run][task] = need{tasks[task], map[int]bool{}}
				}
				for _, i := range kept {
					model[run][task].kept[i] = true
				}
			},
			"release": func(rt *rapid.T) {
				task := drawTask.Draw(rt, "task")
				h.ReleaseTask(tasks[task], task)
				for _, needs := range model {
					delete(needs, task)
				}
			},
			"": func(rt *rapid.T) {
				bytes := map[core.ID]core.Size{alice: 0, bob: 0}
				runs, live := 0, map[core.Hash]bool{}
				for run, needs := range model {
					if len(needs) > 0 {
						runs++
					}
					for i, c := range aRun(run, chunks).Chunks {
						owners := map[core.ID]bool{}
						for _, n := range needs {
							if n.kept[i] {
								owners[n.owner], live[c.Hash] = true, true
							}
						}
						for owner := range owners {
							bytes[owner] += c.Size
						}
					}
				}
				for owner, want := range bytes {
					if got, err := h.OwnerBytes(owner); err != nil || got != want {
						rt.Fatalf("owner %x has %d bytes, want %d (%v)", owner[:1], got, want, err)
					}
				}
				if got, err := h.Count(); err != nil || got != runs {
					rt.Fatalf("%d runs, want %d (%v)", got, runs, err)
				}
				if got := liveChunks(t, h); !maps.Equal(got, live) {
					rt.Fatalf("%d chunks live, want %d", len(got), len(live))
				}
			},
		})
	})
}

// TestPowerLossHoldings makes a database below directories that it makes, and changes it: it is whole, and never
// behind.
func TestPowerLossHoldings(t *testing.T) {
	dir := t.TempDir()
	r := durabletest.Record(t, dir)
	h := openHoldings(t, filepath.Join(dir, "data", "holdings.db"))
	r.Promise(0)
	for n := 1; n <= 3; n++ {
		s := aSegment(alice, first)
		s.Number = n
		accept(t, h, s)
		r.Promise(n)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	r.Check(t, durabletest.Budget(2), func(roots []string, promises []any) error {
		h, err := holdings.Open(filepath.Join(roots[0], "data", "holdings.db"), len(promises) == 0)
		if err != nil {
			return err
		}
		defer h.Close()
		segments, err := h.Segments()
		if least := len(promises) - 1; len(segments) < least || len(segments) > least+1 {
			return fmt.Errorf("%d segments were acknowledged, and %d are there", least, len(segments))
		}
		return err
	})
}

// TestHoldingsAreNoBeginning: a database that is lost or empty is made only where that was asked for.
func TestHoldingsAreNoBeginning(t *testing.T) {
	path := filepath.Join(t.TempDir(), "holdings.db")
	if _, err := holdings.Open(path, false); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is none: %v", err)
	}
	db, err := durable.OpenDB(path, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := holdings.Open(path, false); core.CodeOf(err) != core.CodeWrong {
		t.Errorf("there is an empty one: %v", err)
	}
	h := openHoldings(t, path) // who made it was killed
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if h, err = holdings.Open(path, false); err != nil {
		t.Fatal(err)
	}
	h.Close()
}

// TestHoldingsEndWithAFailedCommit: nothing is answered after it, since nobody knows what is on the disk.
func TestHoldingsEndWithAFailedCommit(t *testing.T) {
	dir := t.TempDir()
	h := openHoldings(t, filepath.Join(dir, "holdings.db"))
	defer h.Close()
	r := durabletest.Record(t, dir)
	r.Fail(func(op durabletest.Op) error {
		if op.Kind == "commit" {
			return syscall.EIO
		}
		return nil
	})
	s := aSegment(alice, first)
	if _, err := h.PutSegment(s, core.Hash{1}); !errors.Is(err, syscall.EIO) {
		t.Errorf("a commit that fails: %v", err)
	}
	r.Fail(nil)
	if _, err := h.PutSegment(s, core.Hash{1}); !errors.Is(err, syscall.EIO) {
		t.Errorf("after it: %v", err)
	}
	if _, err := h.Segments(); !errors.Is(err, syscall.EIO) || !errors.Is(h.Broken(), syscall.EIO) {
		t.Errorf("after it: %v, broken %v", err, h.Broken())
	}
}
