// SPDX-License-Identifier: Apache-2.0

package file_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/file"
	"github.com/bkp-tool/bkp/core/manifest"
	"github.com/bkp-tool/bkp/core/storage/disk"
	"pgregory.net/rapid"
)

var testSecrets = chunk.NewSecrets([32]byte([]byte("a secret of thirty-two bytes....")))

// small makes many chunks of little content.
var small = chunk.Params{Method: chunk.MethodCDC, Min: 64, Avg: 256, Max: 1024}

// content is made-up bytes: compressible where text is set.
func content(seed uint64, size int, text bool) []byte {
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	b := make([]byte, size)
	r.Read(b)
	if text {
		for i := range b {
			b[i] = "the quick brown fox "[b[i]%20]
		}
	}
	return b
}

func openStore(t testing.TB) *disk.Store {
	t.Helper()
	s, err := disk.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func writeFile(t testing.TB, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "source")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func openSource(t testing.TB, path string) *file.Source {
	t.Helper()
	s, err := file.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func split(t testing.TB, in file.SplitInput) file.SplitResult {
	t.Helper()
	if in.Level == "" {
		in.Level = chunk.LevelFast
	}
	in.Secrets = testSecrets
	r, err := file.Split(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// join brings a file back from the store.
func join(t testing.TB, root core.Sealed, s file.Chunks, size int) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "joined")
	if _, err := restore(root, s, path).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// Bad input 54, those that are OK: an empty file, one byte; and sizes around every edge of the pipeline.
func TestSplitAndJoinAreInverse(t *testing.T) {
	const block = 4 << 20
	for _, size := range []int{0, 1, 2, 63, 64, 65, 1023, 1024, 1025, 100_000, block - 1, block, block + 1,
		2*block + 7} {
		for _, params := range []chunk.Params{small, chunk.DefaultParams(chunk.MethodCDC, -1),
			chunk.DefaultParams(chunk.MethodFixed, -1)} {
			if (size > 200_000) == (params == small) {
				continue // few bytes in large chunks, or many in small ones, teach nothing new
			}
			t.Run(fmt.Sprintf("%d %s %d", size, params.Method, params.Avg), func(t *testing.T) {
				data := content(uint64(size), size, size%2 == 1)
				s := openStore(t)
				var progress core.Size
				in := file.SplitInput{Source: openSource(t, writeFile(t, data)), Params: params, Store: s,
					Recheck: true, Empty: true,
					Progress: func(done core.Size) { progress = done }}
				r := split(t, in)
				if r.Bytes != core.Size(size) || progress != r.Bytes {
					t.Errorf("%d bytes, progress %d, want %d", r.Bytes, progress, size)
				}
				if used, err := s.Used(t.Context()); err != nil || r.StoredBytes != used {
					t.Errorf("stored %d bytes, the store says %d, %v", r.StoredBytes, used, err)
				}
				if !bytes.Equal(join(t, r.Root, s, size), data) {
					t.Error("joined to something else")
				}
				in.Source = file.NewReader(iotest.HalfReader(bytes.NewReader(data)))
				again := split(t, in)
				if again.Root != r.Root || again.NewChunks != 0 || again.StoredBytes != 0 || again.Chunks != r.Chunks {
					t.Errorf("again, from a reader: %+v, first %+v", again, r)
				}
			})
		}
	}
}

// What is split does not depend on how many workers there are, nor on how the bytes arrive.
func TestSplitIsDeterministic(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		data := content(rapid.Uint64().Draw(rt, "seed"), rapid.IntRange(0, 60_000).Draw(rt, "size"),
			rapid.Bool().Draw(rt, "text"))
		params := rapid.SampledFrom([]chunk.Params{small, {Method: chunk.MethodFixed, Min: 100, Avg: 100,
			Max: 100}}).Draw(rt, "params")
		var roots []core.Sealed
		for _, workers := range []int{1, 3} {
			in := file.SplitInput{Source: file.NewReader(iotest.OneByteReader(bytes.NewReader(data))), Params: params,
				Workers: workers,
				Store:   memory(), Level: chunk.LevelFast, Secrets: testSecrets, Empty: true}
			if workers == 3 {
				in.Source = file.NewReader(bytes.NewReader(data))
			}
			r, err := file.Split(context.Background(), in)
			if err != nil {
				rt.Fatal(err)
			}
			roots = append(roots, r.Root)
		}
		if roots[0] != roots[1] {
			rt.Fatalf("roots %v", roots)
		}
	})
}

func TestAChangedVersionStoresWhatIsNew(t *testing.T) {
	s := openStore(t)
	data := content(1, 8<<20, false)
	first := split(t, file.SplitInput{Source: file.NewReader(bytes.NewReader(data)),
		Params: chunk.DefaultParams(chunk.MethodCDC, -1), Store: s})
	changed := append(append(bytes.Clone(data[:3<<20]), "an insertion"...), data[3<<20:]...)
	second := split(t, file.SplitInput{Source: file.NewReader(bytes.NewReader(changed)),
		Params: chunk.DefaultParams(chunk.MethodCDC, -1), Store: s})
	if second.NewChunks == 0 || second.NewChunks > 3 {
		t.Errorf("%d of %d chunks are new after one insertion", second.NewChunks, second.Chunks)
	}
	if !bytes.Equal(join(t, first.Root, s, len(data)), data) ||
		!bytes.Equal(join(t, second.Root, s, len(changed)), changed) {
		t.Error("a version does not come back")
	}
}

func TestTheRootTellsHowTheFileWasCut(t *testing.T) {
	s := openStore(t)
	r := split(t, file.SplitInput{Source: file.NewReader(strings.NewReader("hello")), Params: small, Store: s})
	info, err := manifest.Stat(r.Root, openerOf(s))
	want := manifest.Info{Size: 5, Method: small.Method, Min: small.Min, Avg: small.Avg, Max: small.Max,
		Digest: []byte{}}
	if err != nil || fmt.Sprint(info) != fmt.Sprint(want) {
		t.Errorf("got %v, %v, want %v", info, err, want)
	}
}

// Bad input 54, those that are refused.
func TestWhatCannotBeSplit(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	makeFIFO(t, fifo)
	for _, c := range []struct{ path, say, hint string }{
		{dir, "a directory", "tar -c"},
		{"/dev/zero", "a character device", "head -c"},
		{fifo, "a FIFO", "cat"},
		{filepath.Join(dir, "missing"), "no such file", "--name"},
	} {
		_, err := file.Open(c.path)
		if err == nil || !strings.Contains(err.Error(), c.say) || !strings.Contains(err.Error(), c.path) ||
			!strings.Contains(core.HintOf(err), c.hint) {
			t.Errorf("%s: %v, hint %q", c.path, err, core.HintOf(err))
		}
	}
}

// Bad input 50: the file changes, grows or shrinks while it is split.
func TestTheFileChangesDuringSplit(t *testing.T) {
	const size = 24 << 20 // more than the blocks hold, so that reading has not ended at the first chunk
	for say, change := range map[string]func(f *os.File) error{
		"it grew beyond its 25165824 bytes": func(f *os.File) error {
			_,
				err := f.WriteAt([]byte("more"), size)
			return err
		},
		"it ended after 25165823 of 25165824 bytes": func(f *os.File) error { return f.Truncate(size - 1) },
		"it was modified at": func(f *os.File) error {
			_,
				err := f.WriteAt([]byte("other"), 0)
			return err
		},
	} {
		t.Run(say, func(t *testing.T) {
			path := writeFile(t, content(1, size, false))
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			source := openSource(t, path)
			time.Sleep(20 * time.Millisecond) // modification times count in ticks
			changed := false
			_, err = file.Split(t.Context(), file.SplitInput{
				Source: source, Params: chunk.DefaultParams(chunk.MethodFixed, -1), Level: chunk.LevelOff,
				Secrets: testSecrets, Workers: 1,
				Store: &hooked{memoryStore: memory(), onPut: func() error {
					if changed {
						return nil
					}
					changed = true
					return change(f)
				}},
			})
			if err == nil || !strings.Contains(err.Error(), "changed while it was split: "+say) ||
				core.HintOf(err) == "" {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestFailuresEndASplit(t *testing.T) {
	disk, wire := errors.New("disk is full"), errors.New("cable is cut")
	data := content(1, 6<<20, false)
	for name, c := range map[string]struct {
		want   error
		store  file.Store
		reader io.Reader
	}{
		"put": {disk, &hooked{memoryStore: memory(), onPut: func() error { return disk }}, bytes.NewReader(data)},
		"barrier": {disk, &hooked{memoryStore: memory(), onBarrier: func() error { return disk }},
			bytes.NewReader(data)},
		"read": {wire, memory(), io.MultiReader(bytes.NewReader(data), iotest.ErrReader(wire))},
	} {
		_, err := file.Split(t.Context(), file.SplitInput{Source: file.NewReader(c.reader), Params: small,
			Level:   chunk.LevelOff,
			Secrets: testSecrets, Store: c.store, Workers: 2})
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestCancelEndsASplitThatWaitsForItsInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stop := errors.New("the user said stop")
		ctx, cancel := context.WithCancelCause(t.Context())
		r, w := io.Pipe()
		defer w.Close() // lets the goroutine that stayed behind go
		go func() {
			w.Write([]byte("a little"))
			time.Sleep(time.Hour)
			cancel(stop)
		}()
		_, err := file.Split(ctx, file.SplitInput{Source: file.NewReader(r), Params: small, Level: chunk.LevelFast,
			Secrets: testSecrets, Store: memory()})
		if !errors.Is(err, stop) {
			t.Errorf("got %v", err)
		}
	})
}

// Memory does not grow with the file: what is in use at the end of a split is what was in use at its start.
func TestSplitMemoryIsBounded(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(20))
	var peak uint64
	measure := func(size int64) uint64 {
		peak = 0
		source := file.NewReader(io.LimitReader(rand.NewChaCha8([32]byte{1}), size))
		split(t, file.SplitInput{Source: source, Params: chunk.DefaultParams(chunk.MethodFixed, -1),
			Store: forgetting{}, Level: chunk.LevelFast,
			Recheck: true, Progress: func(core.Size) {
				var m runtime.MemStats
				if runtime.ReadMemStats(&m); m.HeapInuse > peak {
					peak = m.HeapInuse
				}
			}})
		return peak
	}
	little, much := measure(16<<20), measure(128<<20)
	if much > little+little/2 || much > 150<<20 {
		t.Errorf("heap of %d MiB for 16 MiB, %d MiB for 128 MiB", little>>20, much>>20)
	}
}

// Bad input 50, between two tries: a file that is written to and set back to its old time is not the one that a
// checkpoint knows.
func TestAStampSeesThroughASetBackClock(t *testing.T) {
	path := writeFile(t, noise(1, 1000))
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	before := openSource(t, path).Stamp()
	if again := openSource(t, path).Stamp(); again != before {
		t.Errorf("nothing was changed: %s, then %s", before, again)
	}
	time.Sleep(20 * time.Millisecond) // file systems count in ticks
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt([]byte("another"), 500)
		err = errors.Join(err, f.Close(), os.Chtimes(path, info.ModTime(), info.ModTime()))
	}
	if err != nil {
		t.Fatal(err)
	}
	if after := openSource(t, path).Stamp(); after == before {
		t.Errorf("still %s", after)
	}
}
