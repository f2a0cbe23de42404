// SPDX-License-Identifier: Apache-2.0

package shard

import (
	"bytes"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"pgregory.net/rapid"
)

// TestMendGetsWhatIsWanted has runs lost from the start and on the way: as long as k are left all that is wanted comes,
// and no chunk is asked for twice; with fewer, that is said.
func TestMendGetsWhatIsWanted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const k, m, size = 3, 2, 40
		c, err := New(core.Erasure{K: k, M: m})
		check(t, err)
		whole := stripe(t, c, 3, []int{40, 40, 25}, 10)
		var runs []core.Run
		for i := range k + m {
			r := core.Run{File: core.File{Size: size}, Chunks: []core.Chunk{{Size: 15}, {Size: 10}, {Size: 15}}}
			if i == 2 {
				r.Chunks, r.Size = r.Chunks[:2], 25
			} else if i >= k {
				r.Chunks = []core.Chunk{{Size: size}}
			}
			runs = append(runs, r)
		}
		wanted, lost, near := make([]core.Bitmap, k+m), make([]bool, k+m), make([]bool, k+m)
		fails, left := make([]bool, k+m), k+m
		for i, r := range runs {
			lost[i], fails[i] = rapid.IntRange(0, 3).Draw(t, "lost") == 0, rapid.IntRange(0, 3).Draw(t, "fails") == 0
			if lost[i] || fails[i] {
				left--
			}
			if i < k && rapid.Bool().Draw(t, "wanted") {
				wanted[i] = core.FullBitmap(len(r.Chunks))
			}
		}
		mend, err := NewMend(runs, k, wanted, lost, near)
		check(t, err)
		asked := map[[2]int]bool{}
		got := map[[2]int]bool{}
		for {
			need, ok := mend.Ask()
			if !ok {
				if left >= k {
					t.Fatalf("%d runs are left, and it gives up", left)
				}
				return
			}
			open := false
			for run, chunks := range need {
				chunks.Each(func(i int) {
					open = true
					if asked[[2]int{run, i}] || mend.lost[run] {
						t.Fatalf("chunk %d of run %d is asked for twice, or of a lost run", i, run)
					}
					asked[[2]int{run, i}] = true
				})
				if fails[run] && !chunks.Empty() {
					mend.Lose(run)
					continue
				}
				chunks.Each(func(i int) {
					a, b := mend.at(run, i)
					mend.Put(run, i, whole[run][a:b])
					got[[2]int{run, i}] = true
				})
			}
			if !open {
				break
			}
		}
		check(t, mend.Rebuilt(func(run, i int, data []byte) error {
			if a, b := mend.at(run, i); !bytes.Equal(data, whole[run][a:b]) {
				t.Fatalf("chunk %d of run %d is another", i, run)
			}
			got[[2]int{run, i}] = true
			return nil
		}))
		for run, chunks := range wanted {
			chunks.Each(func(i int) {
				if !got[[2]int{run, i}] {
					t.Fatalf("chunk %d of run %d did not come", i, run)
				}
			})
		}
	})
}
