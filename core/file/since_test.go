// SPDX-License-Identifier: Apache-2.0

package file_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/file"
	"pgregory.net/rapid"
)

var fixed = chunk.Params{Method: chunk.MethodFixed, Min: 256, Avg: 256, Max: 256}

// sparseFile writes content at some places of a file whose other places are holes.
func sparseFile(path string, data []byte, at []file.Extent) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	for _, e := range at {
		if _, err := f.WriteAt(data[e.Offset:e.End()], int64(e.Offset)); err != nil {
			return err
		}
	}
	if err := f.Truncate(int64(len(data))); err != nil {
		return err
	}
	return f.Close()
}

// TestSplitOfWhatChanged: for any file, any changes and any ranges that hold them, the new version is the file, and
// what no range touches is not read.
func TestSplitOfWhatChanged(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		params := rapid.SampledFrom([]chunk.Params{small, fixed}).Draw(t, "params")
		size := rapid.IntRange(1, 20_000).Draw(t, "size")
		data := make([]byte, size)
		extent := func(label string, size int) file.Extent {
			from := rapid.IntRange(0, size-1).Draw(t, label)
			return file.Extent{Offset: core.Size(from), Length: core.Size(rapid.IntRange(0, min(size-from, 4000)).Draw(t, "n"))}
		}
		var there []file.Extent
		for i := range rapid.IntRange(0, 5).Draw(t, "pieces") {
			e := extent("piece", size)
			copy(data[e.Offset:e.End()], content(uint64(i), int(e.Length), false))
			there = append(there, e)
		}
		path := filepath.Join(dir, "source")
		s := memory()
		before := func() file.SplitResult {
			check(t, sparseFile(path, data, there))
			return splitNow(t, path, params, s, nil)
		}()

		left := rapid.IntRange(1, size).Draw(t, "left")
		now := append(data[:left], make([]byte, rapid.IntRange(0, 3000).Draw(t, "more"))...)
		changed := []file.Extent{{Offset: core.Size(left), Length: core.Size(size - left)}}
		for i := range rapid.IntRange(0, 4).Draw(t, "changes") {
			e := extent("change", len(now))
			copy(now[e.Offset:e.End()], content(uint64(100+i), int(e.Length), false))
			there, changed = append(there, e), append(changed, e)
		}
		if n := core.Size(len(now)); n > core.Size(size) {
			there = append(there, file.Extent{Offset: core.Size(size), Length: n - core.Size(size)})
		}
		for i := range there { // of pieces that were cut off
			there[i].Offset = min(there[i].Offset, core.Size(len(now)))
			there[i].Length = min(there[i].Length, core.Size(len(now))-there[i].Offset)
		}
		check(t, sparseFile(path, now, there))
		if rapid.Bool().Draw(t, "a chunk is lost") {
			for hash := range s.chunks {
				if hash != before.Root.Hash {
					lose(t, s, before.Root, hash)
					break
				}
			}
		}
		after := splitNow(t, path, params, s, &file.Since{Root: before.Root, Changed: changed, Sample: 1})
		got := filepath.Join(dir, "joined")
		defer os.Remove(got)
		if _, err := restore(after.Root, s, got).Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		joined, err := os.ReadFile(got)
		check(t, err)
		if !bytes.Equal(joined, now) {
			t.Fatalf("the version of what changed is not the file")
		}
		if len(changed) == 1 && left == size && len(now) == size && after.Kept < core.Size(size)/2 && before.Chunks > 20 {
			t.Errorf("%d of %d bytes were kept, though nothing changed", after.Kept, size)
		}
	})
}

// lose takes a chunk of content out of a store.
func lose(t *rapid.T, s *memoryStore, root core.Sealed, hash core.Hash) {
	for _, e := range entries(t, s, root) {
		if e.Chunk.Hash == hash {
			delete(s.chunks, hash)
			for id, c := range s.ids {
				if c.Hash == hash {
					delete(s.ids, id)
				}
			}
			return
		}
	}
}

func splitNow(t *rapid.T, path string, params chunk.Params, s file.Store, since *file.Since) file.SplitResult {
	source, err := file.Open(path)
	check(t, err)
	defer source.Close()
	r, err := file.Split(t.Context(), file.SplitInput{Source: source, Params: params, Level: chunk.LevelOff, Workers: 1,
		Secrets: testSecrets, Store: s, Since: since})
	check(t, err)
	return r
}

// TestWrongRangesAreFound: what changed beside the ranges is found by a sample of all, in content and in holes; a split
// that leans on nothing is refused.
func TestWrongRangesAreFound(t *testing.T) {
	for name, test := range map[string]struct {
		at   int
		want string
	}{"content": {1000, "bytes 768 to 1023 changed"}, "a hole": {7000, "changed since the version before"}} {
		t.Run(name, func(t *testing.T) {
			data := content(1, 8192, false)
			clear(data[4096:])
			path := filepath.Join(t.TempDir(), "source")
			check(t, sparseFile(path, data, []file.Extent{{Offset: 0, Length: 4096}}))
			s := memory()
			in := file.SplitInput{Source: openSource(t, path), Params: fixed, Level: chunk.LevelFast, Secrets: testSecrets,
				Store: s}
			r, err := file.Split(t.Context(), in)
			check(t, err)
			data[test.at] ^= 1
			check(t, os.WriteFile(path, data, 0o600))
			in.Source = openSource(t, path)
			in.Since = &file.Since{Root: r.Root, Changed: []file.Extent{{Offset: 0, Length: 5}}, Sample: 1}
			if _, err = file.Split(t.Context(), in); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
			in.Since.Sample = 0
			if r, err = file.Split(t.Context(), in); err != nil || r.Kept != 8192-256 {
				t.Errorf("kept %s, %v", r.Kept, err)
			}
		})
	}
	data := writeFile(t, content(1, 10, false))
	for _, in := range []file.SplitInput{
		{Source: file.NewReader(strings.NewReader("x"))},
		{Source: openSource(t, data), Digest: "sha256"},
		{Source: openSource(t, data)}, // no manifest of that root
	} {
		in.Params, in.Level, in.Secrets, in.Store, in.Since = fixed, chunk.LevelFast, testSecrets, memory(), &file.Since{}
		in.Since.Root.Hash = core.Hash{1}
		if _, err := file.Split(t.Context(), in); err == nil {
			t.Errorf("%+v is split", in)
		}
	}
}

// TestResumedSplitOfOtherRanges: an interrupted split is gone on with only by one that reads the same.
func TestResumedSplitOfOtherRanges(t *testing.T) {
	data := content(1, 40_000, false)
	path := writeFile(t, data)
	s := memory()
	before := split(t, file.SplitInput{Source: openSource(t, path), Params: fixed, Store: s})
	since := func(at core.Size) *file.Since {
		return &file.Since{Root: before.Root, Changed: []file.Extent{{Offset: at, Length: 20_000}}}
	}
	var reached *file.Checkpoint
	split(t, file.SplitInput{Source: openSource(t, path), Params: fixed, Store: s, Since: since(0), Every: 1000,
		Checkpoint: func(c file.Checkpoint) error {
			if reached == nil {
				reached = &c
			}
			return nil
		}})
	for _, test := range []struct {
		since   *file.Since
		resumes bool
	}{{since(0), true}, {since(1), false}, {nil, false}} {
		t.Run(fmt.Sprint(test.resumes), func(t *testing.T) {
			r := split(t, file.SplitInput{Source: openSource(t, path), Params: fixed, Store: s, Since: test.since,
				Resume: reached})
			if r.Root != before.Root || (r.Resumed > 0) != test.resumes {
				t.Errorf("resumed %s of %s", r.Resumed, r.Bytes)
			}
		})
	}
}

// TestFileAgainstItsVersion: the chunks that differ are named, holes too, and what one of both has more.
func TestFileAgainstItsVersion(t *testing.T) {
	data := content(1, 4<<20, false)
	clear(data[1<<20 : 3<<20])
	path := filepath.Join(t.TempDir(), "source")
	check(t, sparseFile(path, data, []file.Extent{{Offset: 0, Length: 1 << 20}, {Offset: 3 << 20, Length: 1 << 20}}))
	s := memory()
	params := chunk.Params{Method: chunk.MethodFixed, Min: 4096, Avg: 4096, Max: 4096}
	r := split(t, file.SplitInput{Source: openSource(t, path), Params: params, Store: s})
	for name, test := range map[string]struct {
		change func(b []byte) []byte
		want   string
	}{
		"the same":  {func(b []byte) []byte { return b }, "[]"},
		"a byte":    {func(b []byte) []byte { b[5000]++; return b }, "[{4096 4096}]"},
		"two":       {func(b []byte) []byte { b[8191]++; b[8192]++; return b }, "[{4096 8192}]"},
		"in a hole": {func(b []byte) []byte { b[2<<20]++; return b }, "[{2097152 1048576}]"},
		"longer":    {func(b []byte) []byte { return append(b, 7) }, "[{4194304 1}]"},
		"shorter":   {func(b []byte) []byte { return b[:len(b)-1] }, "[{4190208 4096}]"},
	} {
		t.Run(name, func(t *testing.T) {
			other := openSource(t, writeFile(t, test.change(bytes.Clone(data))))
			differ, err := file.Against(t.Context(), r.Root, s, other, testSecrets, func(core.Size) {})
			if got := fmt.Sprint(differ); err != nil || got != test.want {
				t.Errorf("%s, %v; want %s", got, err, test.want)
			}
		})
	}
}
