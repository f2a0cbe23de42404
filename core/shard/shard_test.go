// SPDX-License-Identifier: Apache-2.0

package shard

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"pgregory.net/rapid"
)

func check(t interface {
	Helper()
	Fatal(...any)
}, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// stripe is data shards of the given sizes, added in parts, and their parity; all padded to the longest.
func stripe(t interface {
	Helper()
	Fatal(...any)
}, c *Coder, seed uint64, sizes []int, part int) (shards [][]byte) {
	t.Helper()
	var random [32]byte
	random[0], random[1] = byte(seed), byte(seed>>8)
	source := rand.NewChaCha8(random)
	longest := slices.Max(sizes)
	p := c.Parity(longest)
	for i, size := range sizes {
		data := make([]byte, longest)
		source.Read(data[:size])
		for from := 0; from < size; from += part {
			check(t, p.Add(i, from, data[from:min(from+part, size)]))
		}
		shards = append(shards, data)
	}
	return append(shards, p.Shards()...)
}

// lossesOf calls f with every set of at most m of n shards.
func lossesOf(n, m int, f func(lost []int)) {
	var next func(from int, lost []int)
	next = func(from int, lost []int) {
		f(lost)
		for i := from; i < n && len(lost) < m; i++ {
			next(i+1, append(slices.Clone(lost), i))
		}
	}
	next(0, nil)
}

// TestAllLossesThatACodeBearsAreRebuilt loses every set of at most m shards, and rebuilds a range of the lost from the
// same range of the others.
func TestAllLossesThatACodeBearsAreRebuilt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		code := core.Erasure{K: rapid.IntRange(1, 6).Draw(t, "k"), M: rapid.IntRange(1, 3).Draw(t, "m")}
		sizes := rapid.SliceOfN(rapid.IntRange(1, 300), code.K, code.K).Draw(t, "sizes")
		c, err := New(code)
		check(t, err)
		whole := stripe(t, c, rapid.Uint64().Draw(t, "seed"), sizes, rapid.IntRange(1, 99).Draw(t, "part"))
		from := rapid.IntRange(0, slices.Max(sizes)-1).Draw(t, "from")
		to := rapid.IntRange(from+1, slices.Max(sizes)).Draw(t, "to")
		lossesOf(code.K+code.M, code.M, func(lost []int) {
			left := make([][]byte, len(whole))
			for i, s := range whole {
				if !slices.Contains(lost, i) {
					left[i] = slices.Clone(s[from:to])
				}
			}
			check(t, c.Rebuild(left, lost))
			for _, i := range lost {
				if !bytes.Equal(left[i], whole[i][from:to]) {
					t.Fatalf("%s without %v: shard %d is another", code, lost, i)
				}
			}
		})
	})
}

// TestChunksAreRebuiltFromWhatOverlaps loses runs of chunks of all sizes and rebuilds every chunk of them from no more
// chunks than overlap it.
func TestChunksAreRebuiltFromWhatOverlaps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		code := core.Erasure{K: rapid.IntRange(1, 5).Draw(t, "k"), M: rapid.IntRange(1, 3).Draw(t, "m")}
		var runs []core.Run
		var sizes []int
		for range code.K {
			var r core.Run
			for _, size := range rapid.SliceOfN(rapid.IntRange(1, 90), 1, 5).Draw(t, "chunks") {
				r.Chunks, r.Size = append(r.Chunks, core.Chunk{Size: core.Size(size)}), r.Size+core.Size(size)
			}
			runs, sizes = append(runs, r), append(sizes, int(r.Size))
		}
		for range code.M {
			size := core.Size(slices.Max(sizes))
			runs = append(runs, core.Run{File: core.File{Size: size}, Chunks: []core.Chunk{{Size: size}}})
		}
		c, err := New(code)
		check(t, err)
		whole := stripe(t, c, 7, sizes, 10)
		order := rapid.Permutation(slices.Collect(func(yield func(int) bool) {
			for i := 0; i < len(runs) && yield(i); i++ {
			}
		})).Draw(t, "order")
		lost, from := order[:code.M], order[code.M:]
		for _, run := range lost {
			for chunk := range runs[run].Chunks {
				s, err := NewStripe(runs, code.K)
				check(t, err)
				for _, other := range from {
					for _, i := range s.Overlapping(other, run, chunk) {
						a, b := s.at(other, i)
						s.Put(other, i, whole[other][a:b])
					}
				}
				got, err := s.Rebuild(run, chunk, from)
				check(t, err)
				if a, b := s.at(run, chunk); !bytes.Equal(got, whole[run][a:b]) {
					t.Fatalf("chunk %d of run %d is another", chunk, run)
				}
			}
		}
	})
}

func TestTooManyLosses(t *testing.T) {
	c, err := New(core.Erasure{K: 4, M: 2})
	check(t, err)
	shards := stripe(t, c, 1, []int{10, 10, 10, 10}, 10)
	shards[0], shards[3], shards[5] = nil, nil, nil
	if err := c.Rebuild(shards, []int{0}); core.CodeOf(err) != core.CodeRedundant {
		t.Errorf("three of six are lost: %v", err)
	}
}

func TestAPartBeyondTheLongestShardIsRefused(t *testing.T) {
	c, err := New(core.Erasure{K: 2, M: 1})
	check(t, err)
	if err := c.Parity(10).Add(1, 5, make([]byte, 6)); err == nil {
		t.Error("it was taken in")
	}
}

// The bytes of parity are stored at peers for years: what is encoded today has to be rebuilt by every version to come.
const golden = "11ae8c68 a05a51b3"

func TestParityIsAsItEverWas(t *testing.T) {
	c, err := New(core.Erasure{K: 4, M: 2})
	check(t, err)
	p := c.Parity(4)
	for i, s := range []string{"aaaa", "bkp", "4+2!", "\x00\xff\x01\x80"} {
		check(t, p.Add(i, 0, []byte(s)))
	}
	if got := fmt.Sprintf("%x %x", p.Shards()[0], p.Shards()[1]); got != golden {
		t.Errorf("parity is %s, was %s", got, golden)
	}
}

func BenchmarkParity(b *testing.B) {
	c, err := New(core.Erasure{K: 4, M: 2})
	check(b, err)
	data := make([]byte, core.MaxRun)
	b.SetBytes(4 * int64(len(data)))
	for range b.N {
		p := c.Parity(len(data))
		for i := range 4 {
			for from := 0; from < len(data); from += 256 << 10 {
				check(b, p.Add(i, from, data[from:from+256<<10]))
			}
		}
	}
}
