// SPDX-License-Identifier: Apache-2.0

package content

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/version"
)

// alikeWithin is the bytes of runs that are put in order of their size before stripes are made of them: parity is as long
// as the longest run of its stripe, so that runs of one size cost least. More would part the runs of a stripe further
// than what a fetch puts together at a time, and it would get them twice where some are lost.
const alikeWithin = 32 * core.MiB

// Stripe makes stripes of the new runs of content: K of about one size, and M runs of parity behind them, whose bytes
// nobody has computed yet. The last has fewer where they do not come out even. Tree nodes stay copies, behind all.
// prefix is ALIAS.V.
func (c *Runs) Stripe(prefix string, code core.Erasure) {
	content := slices.IndexFunc(c.Fresh, func(r core.Run) bool { return r.Type != core.TypeFile })
	if content < 0 {
		content = len(c.Fresh)
	}
	trees := c.Fresh[content:]
	var runs []core.Run
	parity := 0
	for _, some := range alike(c.Fresh[:content], code.K) {
		slices.SortStableFunc(some, func(a, b core.Run) int { return cmp.Compare(b.Size, a.Size) })
		for data := range slices.Chunk(some, code.K) {
			s := core.Stripe{}
			for _, r := range data {
				s.Data, runs = append(s.Data, len(runs)), append(runs, r)
			}
			for range code.M {
				s.Parity = append(s.Parity, len(runs))
				runs = append(runs, core.Run{
					File: core.File{Name: fmt.Sprintf("%s.p%d", prefix, parity), Type: core.TypeParity, Order: parity,
						Size: data[0].Size},
					Chunks: []core.Chunk{{Size: data[0].Size}},
				})
				parity++
			}
			c.Stripes = append(c.Stripes, s)
		}
	}
	c.Fresh = append(runs, trees...)
	c.Classes[0].Runs = nil
	for _, r := range c.Fresh {
		c.Classes[0].Runs = append(c.Classes[0].Runs, r.Size)
	}
}

// alike cuts runs where as many bytes are together as are put in order, and whole stripes.
func alike(runs []core.Run, k int) (parts [][]core.Run) {
	var part []core.Run
	bytes := core.Size(0)
	for _, r := range runs {
		if len(part) >= k && len(part)%k == 0 && bytes+core.Size(k)*r.Size > alikeWithin {
			parts, part, bytes = append(parts, part), nil, 0
		}
		part, bytes = append(part, r), bytes+r.Size
	}
	return append(parts, part)
}

// stripesIn is the stripes whose runs all stand from first to end, counted from first. A stripe is of one segment.
func stripesIn(stripes []core.Stripe, first, end int) (in []core.Stripe) {
	shift := func(runs []int) (all []int) {
		for _, run := range runs {
			all = append(all, run-first)
		}
		return all
	}
	for _, s := range stripes {
		if s.Data[0] >= first && s.Data[0] < end {
			in = append(in, core.Stripe{Data: shift(s.Data), Parity: shift(s.Parity)})
		}
	}
	return in
}

// stripe is a stripe that an earlier task brought, and who keeps its runs.
type stripe struct {
	core.Stripe
	runs []*Reused // data first
	left int       // losses that it bears yet, and one
}

// stripesOf is the stripes of a record by its runs, nil for a run that is in none. runs is the record's.
func stripesOf(r version.Record, runs []*Reused) []*stripe {
	of := make([]*stripe, len(r.Runs))
	for _, s := range r.Stripes {
		x := &stripe{Stripe: s}
		for _, run := range s.Runs() {
			x.runs = append(x.runs, runs[run])
			of[run] = x
		}
		x.left = 1 + s.Bears(func(run int) bool { return len(runs[run].Holders) > 0 })
	}
	return of
}

// used is the bytes that are used of a stripe's data, and all of them.
func (s *stripe) used(uses map[core.Hash]*Reused) (used, all core.Size) {
	for i, r := range s.runs[:len(s.Data)] {
		all += s.runs[i].Size
		if u := uses[r.Hash]; u != nil {
			for at, c := range r.Chunks {
				if u.Used.Has(at) {
					used += c.Size
				}
			}
		}
	}
	return used, all
}

// keepWhole keeps a stripe with all its runs, where enough of it is used and it bears what is wanted once its lost runs
// are rebuilt.
func (c *Runs) keepWhole(s *stripe, uses map[core.Hash]*Reused, replicas int) bool {
	if used, all := s.used(uses); 2*used < all || s.left < 1 || len(s.Parity)+1 < replicas {
		return false
	}
	c.whole = append(c.whole, s)
	for _, r := range s.runs {
		x := &Reused{Run: r.Run, Holders: r.Holders, Whole: true, stripe: s}
		x.Used, x.Held = core.NewBitmap(len(r.Chunks)), core.FullBitmap(len(r.Chunks))
		if u := uses[r.Hash]; u != nil {
			x.Used = u.Used
		}
		c.kept = append(c.kept, x)
	}
	return true
}
