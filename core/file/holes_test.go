// SPDX-License-Identifier: Apache-2.0

package file_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/file"
	"github.com/bkp-tool/bkp/core/manifest"
)

// sparse makes a file of the given size with content at some places only.
func sparse(t *testing.T, size int64, pieces map[int64][]byte) (path string, all []byte) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "sparse")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all = make([]byte, size)
	for at, piece := range pieces {
		if _, err := f.WriteAt(piece, at); err != nil {
			t.Fatal(err)
		}
		copy(all[at:], piece)
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return path, all
}

// Bad input 54, those that are OK: holes, and nothing but holes.
func TestHolesAreSkipped(t *testing.T) {
	const mib = 1 << 20
	for name, c := range map[string]struct {
		size   int64
		pieces map[int64][]byte
		holes  int // at least, where the file system has holes
	}{
		"nothing else": {64 * mib, nil, 1},
		"at the start": {10 * mib, map[int64][]byte{9 * mib: content(1, mib, false)}, 1},
		"at the end":   {10*mib + 7, map[int64][]byte{0: content(1, mib, false)}, 1},
		"between": {10 * mib, map[int64][]byte{0: content(1, mib+5, false),
			5*mib + 4096: content(2, 5*mib-4096, true)}, 1},
		"small ones": {3 * mib, map[int64][]byte{0: content(1, mib, false),
			mib + 8192: content(2, 2*mib-8192, false)}, 0},
		"none": {2 * mib, map[int64][]byte{0: content(1, 2*mib, false)}, 0},
		"many and pieces": {16 * mib, map[int64][]byte{mib: content(1, 100, false), 3 * mib: content(2, mib, false),
			9*mib + 12345: content(3, 70_000, true)}, 3},
	} {
		for _, method := range []string{chunk.MethodCDC, chunk.MethodFixed} {
			t.Run(name+" "+method, func(t *testing.T) {
				path, data := sparse(t, c.size, c.pieces)
				s := memory()
				r := split(t, file.SplitInput{Source: openSource(t, path), Params: chunk.DefaultParams(method, -1),
					Store: s, Digest: "sha256"})
				if r.Bytes != core.Size(c.size) {
					t.Errorf("%d bytes, want %d", r.Bytes, c.size)
				}
				holes, chunks := 0, 0
				for _, e := range entries(t, s, r.Root) {
					if e.Hole() {
						holes++
					} else {
						chunks++
					}
					if method == chunk.MethodFixed && e.Offset%chunk.FixedSize != 0 {
						t.Errorf("entry at %d stands beside the places of other versions", e.Offset)
					}
				}
				if chunks != r.Chunks {
					t.Errorf("counted %d chunks, want %d", r.Chunks, chunks)
				}
				if holes < c.holes && hasHoles(t) {
					t.Errorf("%d holes, want %d", holes, c.holes)
				}
				if !bytes.Equal(join(t, r.Root, s, int(c.size)), data) {
					t.Error("joined to something else")
				}
				info, err := manifest.Stat(r.Root, openerOf(s))
				if sum := sha256.Sum256(data); err != nil || info.DigestName != "sha256" ||
					!bytes.Equal(info.Digest, sum[:]) {
					t.Errorf("digest %s %x, %v", info.DigestName, info.Digest, err)
				}
			})
		}
	}
}

// hasHoles tells whether the file system of the tests has any.
func hasHoles(t *testing.T) bool {
	path, _ := sparse(t, 1<<20, nil)
	s := memory()
	r := split(t, file.SplitInput{Source: openSource(t, path), Params: chunk.DefaultParams(chunk.MethodCDC, -1),
		Store: s})
	return len(s.chunks) == 1 && r.Chunks == 0 // the root alone
}

// With many cores readers mark the file; the result is that of one scan.
func TestMarksMakeTheSameVersion(t *testing.T) {
	pieces := map[int64][]byte{0: content(1, 9<<20, false), 12 << 20: bytes.Repeat([]byte{7}, 5<<20),
		20 << 20: content(2, 3<<20+11, true)}
	path, _ := sparse(t, 30<<20, pieces)
	for _, p := range []chunk.Params{small, {Method: chunk.MethodCDC, Min: 1 << 10, Avg: 4 << 10, Max: 16 << 10},
		chunk.DefaultParams(chunk.MethodCDC, -1)} {
		in := file.SplitInput{Params: p, Store: memory(), Level: chunk.LevelOff}
		if p == small {
			path = writeFile(t, content(3, 300_000, false))
		}
		in.Source = openSource(t, path)
		want := split(t, in)
		in.Source = openSource(t, path)
		if got := split(t, file.WithMarks(in)); got.Root != want.Root || got.Chunks != want.Chunks {
			t.Errorf("%d bytes on the average: %d chunks, want %d", p.Avg, got.Chunks, want.Chunks)
		}
		path, _ = sparse(t, 30<<20, pieces)
	}
}

func TestUnknownDigest(t *testing.T) {
	_, err := file.Split(t.Context(), file.SplitInput{Source: file.NewReader(bytes.NewReader(nil)), Params: small,
		Level:   chunk.LevelOff,
		Secrets: testSecrets, Store: memory(), Digest: "md5"})
	if core.CodeOf(err) != core.CodeUsage {
		t.Error(err)
	}
}

// A split that was interrupted goes on behind its last checkpoint, and comes to what it would have come to.
func TestSplitResumes(t *testing.T) {
	data := content(9, 40<<20, false)
	path := writeFile(t, data)
	for _, digest := range []string{"", "blake3"} {
		in := file.SplitInput{Source: openSource(t, path), Params: chunk.DefaultParams(chunk.MethodCDC, -1),
			Store: memory(), Digest: digest}
		want := split(t, in)

		s := openStore(t)
		killed := errors.New("killed")
		ctx, cancel := context.WithCancelCause(t.Context())
		var reached []file.Checkpoint
		in = file.SplitInput{Source: openSource(t, path), Params: in.Params, Level: chunk.LevelFast,
			Secrets: testSecrets, Store: s, Digest: digest, Every: 6 << 20,
			Checkpoint: func(c file.Checkpoint) error { reached = append(reached, c); return nil },
			Progress: func(done core.Size) {
				if done > 30<<20 {
					cancel(killed)
				}
			}}
		if _, err := file.Split(ctx, in); !errors.Is(err, killed) {
			t.Fatal(err)
		}
		if len(reached) == 0 || !slices.IsSortedFunc(reached,
			func(a, b file.Checkpoint) int { return int(a.Bytes - b.Bytes) }) {
			t.Fatalf("checkpoints %v", reached)
		}
		last := reached[len(reached)-1]
		in.Progress = nil
		in.Source, in.Resume = openSource(t, path), &last
		got := split(t, in)
		if got.Root != want.Root || got.Chunks != want.Chunks || got.Bytes != want.Bytes || got.Resumed != last.Bytes {
			t.Errorf("resumed at %d: %+v, want %+v", last.Bytes, got, want)
		}
		// What is not as it was is split from its start.
		other := last
		other.Stamp = "another"
		in.Source, in.Resume = openSource(t, path), &other
		if got := split(t, in); got.Resumed != 0 || got.Root != want.Root {
			t.Errorf("with another stamp: %+v", got)
		}
		in.Source, in.Resume, in.Store = openSource(t, path), &last, memory()
		if got := split(t, in); got.Resumed != 0 || got.Root != want.Root {
			t.Errorf("with what it stands for gone: %+v", got)
		}
	}
}

func TestAFailedCheckpointEndsTheSplit(t *testing.T) {
	full := errors.New("disk is full")
	_, err := file.Split(t.Context(), file.SplitInput{Source: openSource(t, writeFile(t, content(1, 8<<20, false))),
		Params: small, Level: chunk.LevelOff,
		Secrets: testSecrets, Store: memory(), Every: 1 << 20, Checkpoint: func(file.Checkpoint) error { return full }})
	if !errors.Is(err, full) {
		t.Error(err)
	}
}

func TestHeadTakesNothingAway(t *testing.T) {
	data := content(5, 100_000, false)
	for _, n := range []int{0, 10, 100_000, 200_000} {
		for name, source := range map[string]*file.Source{"file": openSource(t, writeFile(t, data)),
			"reader": file.NewReader(bytes.NewReader(data))} {
			t.Run(fmt.Sprint(name, n), func(t *testing.T) {
				head, err := source.Head(t.Context(), n)
				if err != nil || !bytes.Equal(head, data[:min(n, len(data))]) {
					t.Fatalf("%d bytes, %v", len(head), err)
				}
				s := memory()
				r := split(t, file.SplitInput{Source: source, Params: small, Store: s})
				if !bytes.Equal(join(t, r.Root, s, len(data)), data) {
					t.Error("another file came back")
				}
			})
		}
	}
}
