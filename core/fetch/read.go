// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/spread"
)

// copied is what a holder is asked to show: chunks of a run.
type copied struct {
	run     int
	holder  core.ID
	chunks  []int // of the run
	corrupt bool  // its bytes there are wrong; else they did not come
}

// read brings a share of the runs from every holder that says it keeps them. Of a run with wrong bytes every chunk is
// asked for by itself, so that the wrong ones are told from those beside them.
func (v *verifying) read(ctx context.Context) error {
	broken, err := v.bringCopies(ctx, v.chosen())
	for len(broken) > 0 && err == nil {
		var single, rest []copied
		for _, c := range broken {
			if !c.corrupt {
				v.noteChunks(c, core.Damaged{Reason: "it did not come: " +
					cmp.Or(v.known[c.holder].Lost, "that holder does not have it whole")})
				continue
			}
			single = append(single, copied{run: c.run, holder: c.holder, chunks: c.chunks[:1]})
			if len(c.chunks) > 1 {
				rest = append(rest, copied{run: c.run, holder: c.holder, chunks: c.chunks[1:], corrupt: true})
			}
		}
		var wrong []copied
		if wrong, err = v.bringCopies(ctx, single); err != nil {
			break
		}
		for _, c := range wrong {
			// A holder that noticed says by now that it has the chunk no more.
			v.noteChunks(c, core.Damaged{Wrong: c.corrupt || v.known[c.holder].Lost == "",
				Reason: "its bytes there do not match its hash"})
		}
		broken = rest
	}
	for _, s := range v.known {
		v.report.Read += s.Got
	}
	return err
}

// chosen is the share of the copies that is read.
func (v *verifying) chosen() (all []copied) {
	for _, run := range slices.Sorted(slices.Values(v.need.order)) {
		if rand.Float64() >= v.look.Share {
			continue
		}
		var chunks []int
		v.need.chunks[run].Each(func(i int) { chunks = append(chunks, i) })
		for _, id := range v.index.holders[run] {
			if v.keeps[id][v.index.runs[run].Hash] {
				all = append(all, copied{run: run, holder: id, chunks: chunks})
			}
		}
	}
	return all
}

func (v *verifying) noteChunks(c copied, h core.Damaged) {
	h.Node = c.holder
	for _, i := range c.chunks {
		v.note(v.index.runs[c.run].Chunks[i].Hash, h)
	}
}

// bringCopies asks holders for chunks and throws them away once they are verified. What did not come is returned.
func (v *verifying) bringCopies(ctx context.Context, all []copied) (broken []copied, err error) {
	wanted, came := make([]spread.Wanted, len(all)), make([]core.Bitmap, len(all))
	for i, c := range all {
		run := v.index.runs[c.run].Run
		wanted[i] = spread.Wanted{Run: run, Needed: core.NewBitmap(len(run.Chunks)), Holders: []core.ID{c.holder}}
		for _, chunk := range c.chunks {
			wanted[i].Needed.Set(chunk)
		}
		came[i] = core.NewBitmap(len(run.Chunks))
	}
	var mu sync.Mutex
	v.judges = true
	left, wrong, err := v.download(ctx, wanted, "verify", func(run, index int, _ []byte) error {
		mu.Lock()
		defer mu.Unlock()
		came[run].Set(index)
		return nil
	})
	if err != nil && (len(left) == 0 || ctx.Err() != nil) {
		return nil, err
	}
	mu.Lock()
	defer mu.Unlock()
	corrupt := map[int]bool{}
	for _, i := range wrong {
		corrupt[i] = true
	}
	for i, c := range all {
		if rest := slices.DeleteFunc(slices.Clone(c.chunks),
			func(chunk int) bool { return came[i].Has(chunk) }); len(rest) > 0 {
			broken = append(broken, copied{c.run, c.holder, rest, corrupt[i]})
		}
	}
	return broken, nil
}
