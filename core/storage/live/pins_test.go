// SPDX-License-Identifier: Apache-2.0

package live

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/bkp-tool/bkp/core"
	"pgregory.net/rapid"
)

// A chunk is pinned as long as it was pinned more often than released.
func TestPinsAreCounted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var p Pins
		count := map[core.Hash]int{}
		chunk := rapid.Map(rapid.IntRange(0, 5), func(i int) core.Chunk { return core.Chunk{Hash: numbered(i)} })
		t.Repeat(map[string]func(*rapid.T){
			"while": func(t *rapid.T) {
				c, failed := chunk.Draw(t, "chunk"), errors.New("the disk is full")
				if err := p.While(c, func() error { return failed }); err != failed {
					t.Fatalf("while: %v", err)
				}
				count[c.Hash]++
			},
			"if": func(t *rapid.T) {
				chunks := rapid.SliceOfN(chunk, 1, 4).Draw(t, "chunks")
				gone := chunk.Draw(t, "gone").Hash
				want := true
				for _, c := range chunks {
					want = want && c.Hash != gone
				}
				there, err := p.If(t.Context(), chunks, func(_ context.Context, h core.Hash) (bool, error) {
					return h != gone, nil
				})
				if there != want || err != nil {
					t.Fatalf("if: %v, %v; want %v", there, err, want)
				}
				if there {
					for _, c := range chunks {
						count[c.Hash]++
					}
				}
			},
			"release": func(t *rapid.T) {
				c := chunk.Draw(t, "chunk")
				p.Release([]core.Chunk{c})
				count[c.Hash] = max(0, count[c.Hash]-1)
			},
			"": func(t *rapid.T) {
				pinned := p.Pinned()
				for i := range 6 {
					if h := numbered(i); pinned.Has(h) != (count[h] > 0) {
						t.Fatalf("chunk %d is pinned: %v, after %d pins", i, pinned.Has(h), count[h])
					}
				}
			},
		})
	})
}

func TestPinsThatCannotLook(t *testing.T) {
	var p Pins
	down := errors.New("input/output error")
	there, err := p.If(t.Context(), []core.Chunk{{Hash: numbered(1)}},
		func(context.Context, core.Hash) (bool, error) { return true, down })
	if there || err != down || p.Pinned().Has(numbered(1)) {
		t.Errorf("pinned %v, %v", there, err)
	}
}

func TestNothingIsPinnedWhileACollectionSweeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p Pins
		var put atomic.Bool
		sweep := make(chan bool)
		go p.Sweep(func() error { <-sweep; return nil })
		synctest.Wait()
		go p.While(core.Chunk{}, func() error { put.Store(true); return nil })
		sweep <- true
		if put.Load() {
			t.Error("a chunk was put while the sweep went on")
		}
		synctest.Wait()
		if !put.Load() {
			t.Error("the chunk was not put after the sweep")
		}
	})
}
