// SPDX-License-Identifier: Apache-2.0

package content

import (
	"fmt"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/manifest"
	"github.com/bkp-tool/bkp/core/version"
	"pgregory.net/rapid"
)

// TestStripe draws chunks and a code. Every run of content is in one stripe of K, or the last of fewer, behind which its M
// runs of parity stand, as long as the longest; tree nodes are in none; no segment cuts a stripe.
func TestStripe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		code := core.Erasure{K: rapid.IntRange(1, 6).Draw(t, "k"), M: rapid.IntRange(1, 3).Draw(t, "m")}
		c := &Runs{}
		for i := range rapid.IntRange(0, 3000).Draw(t, "chunks") {
			c.add(core.TypeFile, core.Chunk{Hash: core.Hash{byte(i), byte(i >> 8), 1}, Size: core.Size(1<<20 + i*7919%(1<<20))})
		}
		c.add(core.TypeDirectory, core.Chunk{Hash: core.Hash{1, 1, 2}, Size: 500})
		c.Group("x.1")
		before := len(c.Fresh)
		c.Stripe("x.1", code)
		in := core.StripeOf(c.Stripes, len(c.Fresh))
		parity, next := 0, 0
		for i, s := range c.Stripes {
			longest := core.Size(0)
			for _, run := range s.Runs() {
				if run != next {
					t.Fatalf("run %d of stripe %d stands at %d", next, i, run)
				}
				next++
			}
			for _, run := range s.Data {
				longest = max(longest, c.Fresh[run].Size)
			}
			for _, run := range s.Parity {
				if r := c.Fresh[run]; r.Size != longest || r.Name != fmt.Sprintf("x.1.p%d", parity) || r.Type != core.TypeParity {
					t.Fatalf("parity %d is %+v, of runs of %d at most", parity, r.File, longest)
				}
				parity++
			}
			if len(s.Parity) != code.M || len(s.Data) != code.K && i < len(c.Stripes)-1 {
				t.Fatalf("stripe %d of %d: %+v", i, len(c.Stripes), s)
			}
		}
		seen := map[core.Hash]bool{}
		for run, r := range c.Fresh {
			if (in[run] < 0) != (r.Type == core.TypeDirectory) || r.Type != core.TypeParity && seen[r.Hash] {
				t.Fatalf("run %d, %s, is in stripe %d", run, r.Type, in[run])
			}
			seen[r.Hash] = true
		}
		if len(c.Fresh) != before+parity {
			t.Fatalf("%d runs and %d of parity became %d", before, parity, len(c.Fresh))
		}
		stripes := 0
		for _, s := range Cut(core.TaskID{1}, "x", 1, c) {
			stripes += len(s.Stripes)
			if len(s.Runs) > core.SegmentRuns {
				t.Fatalf("segment %d has %d runs", s.Number, len(s.Runs))
			}
			for _, x := range s.Stripes {
				for _, run := range x.Parity {
					if s.Runs[run].Type != core.TypeParity {
						t.Fatalf("segment %d: run %d is no parity", s.Number, run)
					}
				}
			}
		}
		if stripes != len(c.Stripes) {
			t.Fatalf("%d of %d stripes are in segments", stripes, len(c.Stripes))
		}
	})
}

// TestAStripeIsKeptWhereHalfOfItIsUsed has a stripe of four runs of one chunk each, some of which the next version uses.
func TestAStripeIsKeptWhereHalfOfItIsUsed(t *testing.T) {
	rec := version.Record{Task: core.TaskID{1}, Stripes: []core.Stripe{{Data: []int{0, 1, 2, 3}, Parity: []int{4, 5}}}}
	index := map[core.ID]int{a: 0}
	for i := range 6 {
		r := version.Run{Task: rec.Task, Used: core.FullBitmap(1)}
		r.Chunks, r.Size = []core.Chunk{chunkOf(i)}, 1000
		if r.Hash, r.Type = chunk.RunHash(r.Chunks), core.TypeFile; i >= 4 {
			r.Type = core.TypeParity
		}
		rec.Runs = append(rec.Runs, r)
		rec.Spans = append(rec.Spans, core.Span{Node: core.ID{byte(100 + i)}, Start: i, Length: 1})
		index[core.ID{byte(100 + i)}] = i + 1
	}
	for _, x := range []struct {
		uses, lost, replicas int
		kept                 bool
	}{{4, 0, 3, true}, {2, 0, 3, true}, {1, 0, 3, false}, {4, 0, 4, false}, {4, 2, 3, true}, {4, 3, 3, false}} {
		covered, there := Covered{}, map[core.ID]int{}
		for id, at := range index {
			if at == 0 || at > x.lost {
				there[id] = at
			}
		}
		covered.Add(rec, there)
		c, err := Sort(func(visit func(manifest.Entry) error) error {
			for i := range x.uses {
				e := manifest.Entry{Type: core.TypeFile}
				e.Chunk.Hash, e.Chunk.Size = chunkOf(i).Hash, 1000
				if err := visit(e); err != nil {
					return err
				}
			}
			return nil
		}, covered, x.replicas, true, func([]core.Chunk) (bool, error) { return false, nil })
		if err != nil {
			t.Fatal(err)
		}
		c.Group("x.2")
		segments := Cut(core.TaskID{2}, "x", 2, c)
		if kept := len(segments[0].Stripes) == 1; kept != x.kept || kept != (len(c.Fresh) == 0) {
			t.Fatalf("%+v: kept %v, %d runs are new", x, kept, len(c.Fresh))
		}
		if !x.kept {
			continue
		}
		for i, r := range segments[0].Runs {
			if !r.Whole() || r.Used.Has(0) != (i < x.uses) || segments[0].Message.Reused[i].Chunks.Empty() {
				t.Errorf("%+v: run %d is held %v, used %v", x, i, r.Held, r.Used)
			}
		}
	}
}
