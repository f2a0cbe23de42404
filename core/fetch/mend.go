// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/shard"
	"github.com/bkp-tool/bkp/core/spread"
)

// mendAtOnce bounds the bytes of stripes that are mended at a time: they are in memory.
const mendAtOnce = 64 << 20

// striped is a stripe, by the runs of an index.
type striped struct {
	runs []int // data first
	data int   // how many of them are
}

// bringing is chunks on their way.
type bringing struct {
	*Version
	need    needs
	deliver func(core.Hash, []byte) error
	there   []core.ID // connected
	mu      sync.Mutex
	came    map[place]bool // of runs in stripes, whose chunks may come in two ways
	missing []core.Hash
	why     error
}

// run brings what has a holder that is there, and mends what does not.
func (b *bringing) run(ctx context.Context) error {
	broken := map[int]bool{} // stripes of which a run is needed that nobody has
	for _, run := range b.need.order {
		if s := b.index.stripeOf(run); s >= 0 && b.gone(run) {
			broken[s] = true
		}
	}
	direct := needs{index: &b.index, chunks: b.need.chunks}
	for _, run := range b.need.order {
		if !broken[b.index.stripeOf(run)] {
			direct.order = append(direct.order, run)
		}
	}
	runs := direct.wanted()
	left, _, err := b.download(ctx, runs, "fetch", func(i, index int, data []byte) error {
		return b.hand(place{direct.order[i], index}, data)
	})
	if err != nil && len(left) == 0 {
		return err
	}
	lost := map[int]bool{}
	for _, i := range left {
		run := direct.order[i]
		if s := b.index.stripeOf(run); s >= 0 {
			broken[s], lost[run] = true, true
			continue
		}
		b.why = err
		runs[i].Needed.Each(func(at int) { b.missing = append(b.missing, runs[i].Chunks[at].Hash) })
	}
	return b.mendAll(ctx, broken, lost)
}

// gone reports whether no holder of a run is there.
func (b *bringing) gone(run int) bool {
	return !slices.ContainsFunc(b.index.holders[run], func(id core.ID) bool {
		return slices.Contains(b.there, id) && (b.known[id].Lost == "" || b.known[id].Away)
	})
}

// hand delivers a chunk, unless it came in another way before.
func (b *bringing) hand(at place, data []byte) error {
	b.mu.Lock()
	known := b.came[at]
	b.came[at] = b.index.stripeOf(at.run) >= 0
	b.mu.Unlock()
	if known {
		return nil
	}
	return b.deliver(b.index.runs[at.run].Chunks[at.chunk].Hash, data)
}

// mendAll mends stripes, as many at a time as memory is given to.
func (b *bringing) mendAll(ctx context.Context, broken, lost map[int]bool) error {
	var batch []*mending
	size := 0
	for _, run := range b.need.order { // in the order in which they are wanted
		s := b.index.stripeOf(run)
		if s < 0 || !broken[s] {
			continue
		}
		delete(broken, s)
		m, err := b.mending(s, lost)
		if err != nil {
			return err
		}
		if more := m.Size() * m.K(); size > 0 && size+more > mendAtOnce {
			if err := b.mend(ctx, batch); err != nil {
				return err
			}
			batch, size = nil, 0
		}
		batch, size = append(batch, m), size+m.Size()*m.K()
	}
	return b.mend(ctx, batch)
}

// mending is a stripe on its way.
type mending struct {
	*shard.Mend
	striped
	wanted []core.Bitmap // by its runs
	mu     sync.Mutex
	beyond bool // too many of its runs are lost
}

func (b *bringing) mending(stripe int, lost map[int]bool) (m *mending, err error) {
	m = &mending{striped: b.index.stripes[stripe]}
	var runs []core.Run
	var gone []bool
	for _, run := range m.runs {
		wanted := b.need.chunks[run]
		runs, m.wanted = append(runs, b.index.runs[run].Run), append(m.wanted, wanted)
		gone = append(gone, lost[run] || b.gone(run))
	}
	m.Mend, err = shard.NewMend(runs, m.data, m.wanted, gone, make([]bool, len(runs)))
	return m, err
}

// mend gets what stripes need, as often as holders are lost on the way, and hands out what is wanted of them.
func (b *bringing) mend(ctx context.Context, batch []*mending) error {
	for {
		var wanted []spread.Wanted
		var of []*mending
		var at []int // their runs, by place in the stripe
		for _, m := range batch {
			need, ok := m.Ask()
			if !ok && !m.beyond {
				b.giveUp(m)
			}
			for i, chunks := range need {
				if run := m.runs[i]; !chunks.Empty() {
					wanted = append(wanted, spread.Wanted{Run: b.index.runs[run].Run, Needed: chunks,
						Holders: b.index.holders[run]})
					of, at = append(of, m), append(at, i)
				}
			}
		}
		left, _, err := b.download(ctx, wanted, "fetch", func(i, index int, data []byte) error {
			m, run := of[i], of[i].runs[at[i]]
			m.mu.Lock()
			m.Put(at[i], index, data)
			m.mu.Unlock()
			if !m.wanted[at[i]].Has(index) {
				return nil
			}
			return b.hand(place{run, index}, data)
		})
		if err != nil && len(left) == 0 {
			return err
		}
		for _, i := range left {
			of[i].Lose(at[i])
			b.why = err
		}
		if len(left) == 0 {
			break
		}
	}
	for _, m := range batch {
		if m.beyond {
			continue
		}
		err := m.Rebuilt(func(i, index int, data []byte) error {
			run := m.runs[i]
			if want := b.index.runs[run].Chunks[index].Hash; chunk.Hash(data) != want {
				return core.Fail(core.CodeWrong, "chunk %s does not match what its stripe rebuilds: its parity is wrong", want)
			}
			return b.hand(place{run, index}, data)
		})
		if err != nil {
			return err
		}
	}
	if b.why != nil && len(b.missing) == 0 {
		b.why = nil // it could be done without them
	}
	return nil
}

// giveUp notes what is missing of a stripe that lost too many runs, and why.
func (b *bringing) giveUp(m *mending) {
	m.beyond = true
	var who []string
	for i, run := range m.runs {
		if !m.IsLost(i) {
			continue
		}
		for _, id := range b.index.holders[run] {
			who = append(who, id.Short())
		}
		m.wanted[i].Each(func(at int) {
			if !b.came[place{run, at}] {
				b.missing = append(b.missing, b.index.runs[run].Chunks[at].Hash)
			}
		})
	}
	slices.Sort(who)
	b.why = core.WithHint(core.Fail(core.CodeRedundant,
		"of a stripe's %d runs %d are at reachable holders, and any %d are needed; away or without theirs are %s",
		len(m.runs), m.Left(), m.K(), strings.Join(slices.Compact(who), ", ")),
		"start those nodes, or name them with --peers, and fetch again")
}

// learnStripes adds the stripes of a record whose runs were added last, the first of them as number first.
func (x *index) learnStripes(stripes []core.Stripe, first int) {
	for _, s := range stripes {
		known := striped{data: len(s.Data)}
		for _, run := range s.Runs() {
			known.runs = append(known.runs, first+run)
			x.in[first+run] = len(x.stripes)
		}
		x.stripes = append(x.stripes, known)
	}
}

// bears reports whether a run is in a stripe of which enough is at nodes that are there.
func (x *index) bears(run int, there []core.ID) bool {
	s := x.stripeOf(run)
	if s < 0 {
		return false
	}
	left := 0
	for _, run := range x.stripes[s].runs {
		if slices.ContainsFunc(x.holders[run], func(id core.ID) bool { return slices.Contains(there, id) }) {
			left++
		}
	}
	return left >= x.stripes[s].data
}

// stripeOf is the stripe that a run is in; -1 for none.
func (x *index) stripeOf(run int) int {
	if s, ok := x.in[run]; ok {
		return s
	}
	return -1
}
