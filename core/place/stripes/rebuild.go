// SPDX-License-Identifier: Apache-2.0

package stripes

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/placements"
	"github.com/bkp-tool/bkp/core/shard"
	"github.com/bkp-tool/bkp/core/spread"
	"github.com/bkp-tool/bkp/core/version"
)

// Rebuilder puts runs together that nobody has any more, from the others of their stripes.
type Rebuilder struct {
	Near  version.Chunks                                               // what is at hand
	Has   func(ctx context.Context, chunks []core.Chunk) (bool, error) // reports whether all of some are in Near
	Bring func(ctx context.Context, wanted []spread.Wanted, keep func(run, index int, data []byte) error) (left []int, err error)
	Keep  func(ctx context.Context, c core.Chunk, data []byte) error // takes a chunk that was rebuilt
	Tell  func(text string)
}

// mendAtOnce bounds the bytes of stripes that are rebuilt at a time: they are in memory.
const mendAtOnce = 64 << 20

// mending is a stripe of which runs are rebuilt.
type mending struct {
	*shard.Mend
	runs    []core.Run
	near    []bool      // by run: it is at hand
	holders [][]core.ID // by run
	mu      sync.Mutex
}

// Rebuild does so. lost is those runs by segment; holders has who has a run.
func (r Rebuilder) Rebuild(ctx context.Context, segments []*placements.Segment, lost map[int]map[int]bool,
	holders func(s *placements.Segment, run int) []core.ID) error {
	var batch []*mending
	size := 0
	for _, seg := range segments {
		for _, s := range seg.Stripes {
			if !slices.ContainsFunc(s.Runs(), func(run int) bool { return lost[seg.Number][run] }) {
				continue
			}
			m, err := r.mending(ctx, seg, s, lost[seg.Number], holders)
			if err != nil {
				return err
			}
			if more := m.Size() * len(m.runs); size > 0 && size+more > mendAtOnce {
				if err := r.mend(ctx, batch); err != nil {
					return err
				}
				batch, size = nil, 0
			}
			batch, size = append(batch, m), size+m.Size()*len(m.runs)
		}
	}
	return r.mend(ctx, batch)
}

func (r Rebuilder) mending(ctx context.Context, seg *placements.Segment, s core.Stripe, lost map[int]bool,
	holders func(s *placements.Segment, run int) []core.ID) (*mending, error) {
	m := &mending{}
	var wanted []core.Bitmap
	var gone []bool
	for _, run := range s.Runs() {
		one := seg.Runs[run].Run
		near, err := r.Has(ctx, one.Chunks)
		if err != nil {
			return nil, err
		}
		chunks := core.Bitmap(nil)
		if lost[run] {
			chunks = core.FullBitmap(len(one.Chunks))
		}
		who := holders(seg, run)
		m.runs, m.near, m.holders = append(m.runs, one), append(m.near, near), append(m.holders, who)
		wanted, gone = append(wanted, chunks), append(gone, !near && len(who) == 0)
	}
	var err error
	m.Mend, err = shard.NewMend(m.runs, len(s.Data), wanted, gone, m.near)
	return m, err
}

// mend gets what stripes are rebuilt from, out of what is at hand or from holders, as often as some of those fail.
func (r Rebuilder) mend(ctx context.Context, batch []*mending) error {
	if len(batch) > 0 {
		r.Tell(fmt.Sprintf("%d stripes, to rebuild what is lost of them", len(batch)))
	}
	for {
		var wanted []spread.Wanted
		var of []*mending
		var at []int
		for _, m := range batch {
			need, ok := m.Ask()
			if !ok {
				return core.WithHint(core.Fail(core.CodeRedundant, "of the %d runs of a stripe %d are left, and any %d are needed",
					len(m.runs), m.Left(), m.K()),
					"start more of its holders; or, if the file is still there: bkp split FILE --whole, and place that")
			}
			for i, chunks := range need {
				switch {
				case chunks.Empty():
				case m.near[i]:
					if err := r.readInto(ctx, m, i, chunks); err != nil {
						return err
					}
				default:
					wanted = append(wanted, spread.Wanted{Run: m.runs[i], Needed: chunks, Holders: m.holders[i]})
					of, at = append(of, m), append(at, i)
				}
			}
		}
		left, err := r.Bring(ctx, wanted, func(i, index int, data []byte) error {
			m := of[i]
			m.mu.Lock()
			defer m.mu.Unlock()
			m.Put(at[i], index, data)
			return nil
		})
		if err != nil && len(left) == 0 {
			return fmt.Errorf("recall: %w", err)
		}
		for _, i := range left {
			of[i].Lose(at[i])
		}
		if len(left) == 0 {
			break
		}
	}
	for _, m := range batch {
		if err := m.Rebuilt(func(i, index int, data []byte) error { return r.rebuilt(ctx, m.runs[i].Chunks[index], data) }); err != nil {
			return err
		}
	}
	return nil
}

// readInto puts chunks of a run into a stripe that are at hand.
func (r Rebuilder) readInto(ctx context.Context, m *mending, run int, chunks core.Bitmap) (err error) {
	chunks.Each(func(i int) {
		if err != nil {
			return
		}
		var data []byte
		if data, err = r.Near.Get(ctx, m.runs[run].Chunks[i].Hash, nil); err == nil {
			m.Put(run, i, data)
		}
	})
	return err
}

// rebuilt keeps a chunk that was computed.
func (r Rebuilder) rebuilt(ctx context.Context, c core.Chunk, data []byte) error {
	if chunk.Hash(data) != c.Hash {
		return core.Fail(core.CodeWrong, "chunk %s does not match what its stripe rebuilds: its parity is wrong", c.Hash)
	}
	return r.Keep(ctx, c, data)
}
