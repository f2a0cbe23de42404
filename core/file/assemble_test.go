// SPDX-License-Identifier: Apache-2.0

package file_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/file"
)

// noise is bytes that do not repeat, the same for the same seed.
func noise(seed byte, size int) []byte {
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

func splitBytes(t *testing.T, s file.Store, data []byte) core.Sealed {
	t.Helper()
	return split(t, file.SplitInput{Source: file.NewReader(bytes.NewReader(data)), Params: small, Store: s}).Root
}

// other is a machine that has chunks which this one lacks.
type other struct {
	*memoryStore
	asked int
}

func (o *other) Bring(ctx context.Context, wanted []core.Sealed,
	deliver func(core.Hash, []byte) error) (missing []core.Hash, why error) {
	for _, w := range wanted {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		o.asked++
		stored, err := o.Get(ctx, w.Hash, nil)
		if err != nil {
			missing, why = append(missing, w.Hash), errors.New("the other machine lost it")
			continue
		}
		if err := deliver(w.Hash, stored); err != nil {
			return nil, err
		}
	}
	return missing, why
}

// nodesOnly leaves a store with the tree nodes of a manifest and puts its content into another.
func nodesOnly(t *testing.T, s *memoryStore, root core.Sealed) *other {
	t.Helper()
	away := &other{memoryStore: memory()}
	for _, e := range entries(t, s, root) {
		if e.Type == core.TypeFile && !e.Hole() {
			away.chunks[e.Chunk.Hash] = s.chunks[e.Chunk.Hash]
			delete(s.chunks, e.Chunk.Hash)
		}
	}
	return away
}

func run(t *testing.T, r file.Restore) file.Assembled {
	t.Helper()
	done, err := r.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return done
}

func TestWhatIsNotHereIsBrought(t *testing.T) {
	s, data := memory(), noise(1, 300_000)
	root := splitBytes(t, s, data)
	away := nodesOnly(t, s, root)
	path := filepath.Join(t.TempDir(), "out")
	r := restore(root, s, path)
	r.Remote = away
	run(t, r)
	wantFile(t, path, string(data))
}

func TestARangeIsExact(t *testing.T) {
	s, data := memory(), noise(2, 300_000)
	root := splitBytes(t, s, data)
	for _, span := range [][2]core.Size{{0, 1}, {1, 2}, {100_000, 250_001}, {299_999, 300_000}, {300_000, 300_000}} {
		path := filepath.Join(t.TempDir(), "out")
		r := restore(root, s, path)
		r.Start, r.End = span[0], span[1]
		run(t, r)
		wantFile(t, path, string(data[span[0]:span[1]]))
	}
	r := restore(root, s, filepath.Join(t.TempDir(), "out"))
	r.Start, r.End = 5, 300_001
	if _, err := r.Run(t.Context()); core.CodeOf(err) != core.CodeUsage {
		t.Errorf("beyond the end: %v", err)
	}
}

func TestASeedSparesTheNetwork(t *testing.T) {
	s, data := memory(), noise(3, 300_000)
	root := splitBytes(t, s, data)
	away := nodesOnly(t, s, root)
	dir := t.TempDir()
	seed := filepath.Join(dir, "older")
	if err := os.WriteFile(seed, append([]byte("something new in front"), data[:200_000]...), 0o600); err != nil {
		t.Fatal(err)
	}
	r := restore(root, s, filepath.Join(dir, "out"))
	r.Remote, r.Seed = away, seed
	done := run(t, r)
	wantFile(t, r.Path, string(data))
	if done.Seeded < 150_000 || away.asked == 0 {
		t.Errorf("%d bytes came from the seed and %d chunks from elsewhere", done.Seeded, away.asked)
	}
}

func TestAnInterruptedRestoreGoesOn(t *testing.T) {
	s, data := memory(), noise(4, 20<<20)
	root := splitBytes(t, s, data)
	away := nodesOnly(t, s, root)
	dir := t.TempDir()
	r := restore(root, s, filepath.Join(dir, "out"))
	ctx, cancel := context.WithCancel(t.Context())
	r.Remote, r.Progress = away, func(done core.Size) {
		if done > 17<<20 {
			cancel()
		}
	}
	if _, err := r.Run(ctx); !errors.Is(err, context.Canceled) ||
		!strings.Contains(err.Error(), filepath.Join(dir, ".bkp-out-")) {
		t.Fatalf("got %v, want an interruption, and where what came is kept", err)
	}
	before := away.asked
	r.Progress = nil
	done := run(t, r)
	wantFile(t, r.Path, string(data))
	wantAlone(t, dir, "out")
	if done.Resumed < 16<<20 || away.asked-before > before/4 {
		t.Errorf("took up %d bytes and asked for %d chunks again after %d", done.Resumed, away.asked-before, before)
	}
}

func TestBytesThatWereDamagedMeanwhileAreNotTakenUp(t *testing.T) {
	s, data := memory(), noise(5, 20<<20)
	root := splitBytes(t, s, data)
	dir := t.TempDir()
	part, err := file.Create(filepath.Join(dir, "out"), root.Hash.String()[:8], 20<<20, false)
	if err != nil {
		t.Fatal(err)
	}
	damaged := bytes.Clone(data)
	damaged[5<<20] ^= 1
	if _, err := part.WriteAt(damaged, 0); err != nil {
		t.Fatal(err)
	}
	part.Abort(true)
	done := run(t, restore(root, s, filepath.Join(dir, "out")))
	wantFile(t, filepath.Join(dir, "out"), string(data))
	if done.Resumed == 0 || done.Stored == 0 {
		t.Errorf("took up %d bytes and read %d from the store, want some of both", done.Resumed, done.Stored)
	}
}

func TestLostChunksAreAnErrorOrHoles(t *testing.T) {
	s, data := memory(), noise(6, 300_000)
	root := splitBytes(t, s, data)
	var lost []core.Range
	for i, e := range entries(t, s, root) {
		if e.Type == core.TypeFile && (i == 3 || i == 4 || i == 9) {
			delete(s.chunks, e.Chunk.Hash)
			lost = append(lost, core.Range{Start: int(e.Offset), Length: int(e.Span)})
		}
	}
	dir := t.TempDir()
	r := restore(root, s, filepath.Join(dir, "out"))
	if _, err := r.Run(t.Context()); core.CodeOf(err) != core.CodeRedundant ||
		!strings.Contains(core.HintOf(err), "--partial") {
		t.Errorf("got %v (hint %q), want code 13", err, core.HintOf(err))
	}
	wantAlone(t, dir)
	r.Partial = true
	done := run(t, r)
	want := bytes.Clone(data)
	bytesLost := 0
	for _, l := range lost {
		clear(want[l.Start : l.Start+l.Length])
		bytesLost += l.Length
	}
	wantFile(t, r.Path, string(want))
	told := 0
	for _, h := range done.Holes {
		told += h.Length
	}
	if told != bytesLost || len(done.Holes) > len(lost) {
		t.Errorf("told of holes %v, want %v", done.Holes, lost)
	}
}

func TestAStreamIsInOrder(t *testing.T) {
	data := noise(7, 200_000)
	var out bytes.Buffer
	s := file.NewStream(t.Context(), &out)
	for _, piece := range rand.New(rand.NewPCG(1, 2)).Perm(10) {
		if piece == 3 {
			continue // a hole
		}
		if _, err := s.WriteAt(data[piece*20_000:][:20_000], int64(piece*20_000)); err != nil {
			t.Fatal(err)
		}
	}
	clear(data[60_000:80_000])
	if err := s.Flush(110_000); err != nil || !bytes.Equal(out.Bytes(), data[:110_000]) {
		t.Errorf("after the first flush: %d bytes, %v", out.Len(), err)
	}
	if _, err := s.WriteAt([]byte("late"), 50); err == nil {
		t.Error("wrote where the stream has been")
	}
	if err := s.Flush(200_000); err != nil || !bytes.Equal(out.Bytes(), data) {
		t.Errorf("at the end: %d bytes, %v", out.Len(), err)
	}
}

func TestWrongBytesAreRefused(t *testing.T) {
	s := memory()
	root := splitBytes(t, s, noise(8, 100_000))
	if _, err := restore(root, flipping{s}, filepath.Join(t.TempDir(),
		"out")).Run(t.Context()); core.CodeOf(err) != core.CodeWrong {
		t.Errorf("got %v, want code 14", err)
	}
}

func TestAFullDiskIsReported(t *testing.T) {
	s := memory()
	root := splitBytes(t, s, noise(9, 100_000))
	full := errors.New("disk is full")
	_, err := file.Assemble(t.Context(), file.Assembly{Root: root, Secrets: testSecrets, Local: s,
		Output: failing{full}, End: 100_000})
	if !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
}

// failing is an output that takes nothing.
type failing struct{ err error }

func (f failing) WriteAt([]byte, int64) (int, error) { return 0, f.err }
func (f failing) ReadAt([]byte, int64) (int, error)  { return 0, f.err }
func (f failing) Window() core.Size                  { return core.MiB }
func (f failing) Flush(core.Size) error              { return nil }
