// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"cmp"
	"math/rand/v2"
	"slices"

	"github.com/bkp-tool/bkp/core"
)

// Enough is how many ranges prove the runs of a segment at one holder, as long as they are drawn after the receipt.
const Enough = 16

// Part is a run that a holder is to have, as far as it is to have it.
type Part struct {
	Number int // in the segment
	Chunks []core.Chunk
	Kept   core.Bitmap // the chunks of it that the holder keeps
}

// Draw draws count ranges: one of every part where there are no more parts than that, the others by bytes, so that
// each kept byte is as likely as any other. They are in order, and none is drawn twice.
func Draw(rnd *rand.Rand, parts []Part, count int) []core.AuditedRange {
	var all pool
	for _, p := range parts {
		all.add(p)
	}
	if all.bytes == 0 {
		return nil
	}
	var drawn []core.AuditedRange
	if len(parts) <= count {
		for _, p := range parts {
			var one pool
			if one.add(p); one.bytes > 0 {
				drawn = append(drawn, one.draw(rnd))
			}
		}
	}
	for len(drawn) < count {
		drawn = append(drawn, all.draw(rnd))
	}
	slices.SortFunc(drawn, func(a, b core.AuditedRange) int {
		return cmp.Or(cmp.Compare(a.Run, b.Run), cmp.Compare(a.Chunk, b.Chunk), cmp.Compare(a.Offset, b.Offset))
	})
	return slices.Compact(drawn)
}

// Every is one range of every kept chunk, which the holder then reads whole: what it has lost is among them.
func Every(parts []Part) (ranges []core.AuditedRange) {
	for _, p := range parts {
		var one pool
		one.add(p)
		ranges = append(ranges, one.at...)
	}
	return ranges
}

// pool is chunks to draw from.
type pool struct {
	at    []core.AuditedRange // the chunks
	ends  []core.Size         // where each of them ends, all laid end to end
	bytes core.Size
}

func (p *pool) add(part Part) {
	for i, c := range part.Chunks {
		if part.Kept.Has(i) && c.Size > 0 {
			p.bytes += c.Size
			p.at, p.ends = append(p.at, core.AuditedRange{Run: part.Number, Chunk: i}), append(p.ends, p.bytes)
		}
	}
}

func (p *pool) draw(rnd *rand.Rand) core.AuditedRange {
	at := core.Size(rnd.Int64N(int64(p.bytes)))
	i, found := slices.BinarySearch(p.ends, at)
	if found { // the end of a chunk is where the next begins
		i++
	}
	r, begin := p.at[i], core.Size(0)
	if i > 0 {
		begin = p.ends[i-1]
	}
	r.Offset = (at - begin) / core.AuditLength * core.AuditLength
	return r
}
