// SPDX-License-Identifier: Apache-2.0

package content

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/manifest"
	"github.com/bkp-tool/bkp/core/version"
	"pgregory.net/rapid"
)

var a, b, c, d = core.ID{1}, core.ID{2}, core.ID{3}, core.ID{4}

func chunkOf(i int) core.Chunk {
	return core.Chunk{Hash: core.Hash{byte(i), byte(i >> 8), 1}, Size: 1000}
}

// TestSort draws records of earlier versions, a manifest and what is staged. Each chunk of the manifest is then in one
// place: in a run that is sent, or marked in a run that is reused, of those the one with the most holders. A run is
// reused where it has holders enough, or they or staging can send it whole.
func TestSort(t *testing.T) {
	index := map[core.ID]int{a: 0, b: 1, c: 2, d: 3}
	rapid.Check(t, func(t *rapid.T) {
		covered := Covered{}
		most := map[core.Hash]int{} // holders of a chunk, the source left out
		for number := range rapid.IntRange(0, 4).Draw(t, "records") {
			r := version.Record{Task: core.TaskID{byte(number + 1)}}
			for range rapid.IntRange(1, 3).Draw(t, "runs") {
				r.Runs = append(r.Runs, drawRun(t))
			}
			for _, id := range rapid.SliceOfDistinct(rapid.SampledFrom([]core.ID{a, b, c, d, {9}}),
				func(id core.ID) core.ID { return id }).Draw(t, "holders") {
				r.Spans = append(r.Spans, core.Span{Node: id, Length: len(r.Runs)})
			}
			covered.Add(r, index)
			holders := 0
			for _, s := range r.Spans {
				if index[s.Node] > 0 {
					holders++
				}
			}
			for _, run := range r.Runs {
				for i, c := range run.Chunks {
					if run.Used.Has(i) && holders > 0 {
						most[c.Hash] = max(most[c.Hash], holders)
					}
				}
			}
		}
		content := rapid.SliceOf(rapid.IntRange(0, 20)).Draw(t, "manifest")
		staged := rapid.SliceOf(rapid.IntRange(0, 20)).Draw(t, "staged")
		replicas := rapid.IntRange(1, 3).Draw(t, "replicas")
		here := func(chunks []core.Chunk) (bool, error) {
			return !slices.ContainsFunc(chunks, func(c core.Chunk) bool {
				return !slices.ContainsFunc(staged, func(i int) bool { return chunkOf(i) == c })
			}), nil
		}
		walk := func(visit func(manifest.Entry) error) error {
			for _, i := range content {
				e := manifest.Entry{Type: core.TypeFile}
				e.Chunk.Hash, e.Chunk.Size = chunkOf(i).Hash, chunkOf(i).Size
				if err := visit(e); err != nil {
					return err
				}
			}
			return visit(manifest.Entry{Type: core.TypeFile}) // a hole
		}
		got, err := Sort(walk, covered, replicas, true, here)
		if err != nil {
			t.Fatal(err)
		}
		got.Group("x.1")
		found := map[core.Hash]int{} // −1: sent; else the holders of the run
		for _, run := range got.Fresh {
			for _, c := range run.Chunks {
				found[c.Hash]--
			}
		}
		for class, runs := range got.Reused {
			for _, r := range runs {
				whole, _ := here(r.Chunks)
				of := got.Classes[class].Holders
				if len(r.Holders) < replicas && !r.Whole && !whole || !slices.Equal(of, r.Holders) {
					t.Fatalf("run %s is reused, of class %d at %v: held by %v", r.Hash, class, of, r.Holders)
				}
				for i, c := range r.Chunks {
					if r.Used.Has(i) {
						if found[c.Hash] != 0 || len(r.Holders) != most[c.Hash] {
							t.Fatalf("chunk %s: %d and in a run held by %v, where %d is the most", c.Hash,
								found[c.Hash], r.Holders, most[c.Hash])
						}
						found[c.Hash] = len(r.Holders)
					}
				}
			}
		}
		slices.Sort(content)
		content = slices.Compact(content)
		for _, i := range content {
			at := found[chunkOf(i).Hash]
			if at == 0 || at < -1 || at == -1 && most[chunkOf(i).Hash] >= replicas {
				t.Fatalf("chunk %d, at %d holders, is found %d", i, most[chunkOf(i).Hash], at)
			}
			delete(found, chunkOf(i).Hash)
		}
		if len(found) > 0 || got.Bytes != core.Size(1000*len(content)) {
			t.Fatalf("%d chunks that the manifest has not; %s of %d chunks", len(found), got.Bytes, len(content))
		}
	})
}

// drawRun draws a run of a record that its version uses in part.
func drawRun(t *rapid.T) version.Run {
	r := version.Run{}
	for _, i := range rapid.SliceOfNDistinct(rapid.IntRange(0, 20), 1, 5, rapid.ID[int]).Draw(t, "chunks") {
		r.Chunks = append(r.Chunks, chunkOf(i))
		r.Size += chunkOf(i).Size
	}
	r.Type, r.Hash, r.Used = core.TypeFile, chunk.RunHash(r.Chunks), core.NewBitmap(len(r.Chunks))
	for i := range r.Chunks {
		if rapid.Bool().Draw(t, "used") {
			r.Used.Set(i)
		}
	}
	return r
}

// TestRunsOfContent: content first, tree nodes last, in order, and none larger than the size for the job.
func TestRunsOfContent(t *testing.T) {
	content := &Runs{}
	for i := range 3000 {
		kind := core.TypeFile
		if i%1000 == 0 {
			kind = core.TypeDirectory
		}
		content.add(kind, chunkOf(i))
	}
	content.Group("x.1")
	limit, kind, next := core.RunSize(3_000_000), core.TypeFile, 0
	for i, r := range content.Fresh {
		if r.Size > limit || r.Name != fmt.Sprintf("x.1.%d", i) || r.Order != i || r.Hash != chunk.RunHash(r.Chunks) ||
			kind == core.TypeDirectory && r.Type == core.TypeFile {
			t.Fatalf("run %d: %+v", i, r.File)
		}
		if kind = r.Type; kind == core.TypeDirectory {
			continue
		}
		for _, c := range r.Chunks {
			if next%1000 == 0 {
				next++
			}
			if c != chunkOf(next) {
				t.Fatalf("run %d has chunk %s, want number %d", i, c.Hash, next)
			}
			next++
		}
	}
	if kind != core.TypeDirectory || next != 3000 || content.Count() != len(content.Fresh) {
		t.Errorf("the last run is of type %s, %d chunks in %d runs", kind, next, content.Count())
	}
}

// TestRunOfTinyChunksIsBounded: a run never has more chunks than an announcement can list.
func TestRunOfTinyChunksIsBounded(t *testing.T) {
	g := grouper{prefix: "x.1", limit: core.MaxRun}
	for i := range maxRunChunks + 1 {
		g.add(core.TypeFile, core.Chunk{Hash: core.Hash{byte(i), byte(i >> 8)}, Size: 1})
	}
	g.close()
	if len(g.runs) != 2 || len(g.runs[0].Chunks) != maxRunChunks {
		t.Errorf("%d runs, the first of %d chunks", len(g.runs), len(g.runs[0].Chunks))
	}
}

// TestSortTellsWhatWentWrong: a manifest that cannot be read, a store that cannot be asked.
func TestSortTellsWhatWentWrong(t *testing.T) {
	broken := errors.New("broken")
	unread := func(func(manifest.Entry) error) error { return broken }
	if _, err := Sort(unread, nil, 1, true, nil); !errors.Is(err, broken) {
		t.Errorf("a manifest that cannot be read: %v", err)
	}
	covered := Covered{}
	run := version.Run{Run: core.Run{Chunks: []core.Chunk{chunkOf(1), chunkOf(2)}}, Used: core.NewBitmap(2)}
	run.Used.Set(0)
	covered.Add(version.Record{Runs: []version.Run{run}, Spans: []core.Span{{Node: b, Length: 1}}},
		map[core.ID]int{b: 1})
	walk := func(visit func(manifest.Entry) error) error {
		e := manifest.Entry{Type: core.TypeFile}
		e.Chunk.Hash, e.Chunk.Size = chunkOf(1).Hash, 1000
		return visit(e)
	}
	staged := func([]core.Chunk) (bool, error) { return false, broken }
	if _, err := Sort(walk, covered, 2, true, staged); !errors.Is(err, broken) {
		t.Errorf("a store that cannot be asked: %v", err)
	}
}

// TestSortWithoutParts: a run of which something is not used is sent anew as far as it is; one that is used whole is
// not.
func TestSortWithoutParts(t *testing.T) {
	run := func(from int) version.Run {
		chunks := []core.Chunk{chunkOf(from), chunkOf(from + 1)}
		r := version.Run{Run: core.Run{Chunks: chunks}, Used: core.FullBitmap(2)}
		r.Hash, r.Size = chunk.RunHash(r.Chunks), 2000
		return r
	}
	for parts, fresh := range map[bool]int{true: 0, false: 1} {
		covered := Covered{}
		covered.Add(version.Record{Runs: []version.Run{run(1), run(3)}, Spans: []core.Span{{Node: b, Length: 2}}},
			map[core.ID]int{b: 1})
		got, err := Sort(func(visit func(manifest.Entry) error) error {
			for i := 1; i <= 3; i++ { // all of one run, and a chunk of the other
				e := manifest.Entry{Type: core.TypeFile}
				e.Chunk.Hash, e.Chunk.Size = chunkOf(i).Hash, 1000
				if err := visit(e); err != nil {
					return err
				}
			}
			return nil
		}, covered, 1, parts, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got.Group("x.1"); len(got.Fresh) != fresh || got.Count() != 2 {
			t.Errorf("parts %v: %d of %d runs are new", parts, len(got.Fresh), got.Count())
		}
	}
}
