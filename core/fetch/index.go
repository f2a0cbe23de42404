// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/spread"
	"github.com/bkp-tool/bkp/core/version"
)

// index is the runs of records, and where chunks stand in them.
type index struct {
	runs    []version.Run
	holders [][]core.ID // by run
	where   map[core.Hash]place
	stripes []striped
	in      map[int]int // the stripes of runs that are in one
}

// place is where a chunk stands: its run, and its place in that.
type place struct{ run, chunk int }

// learn adds the runs of a record; of two that have a chunk the one with more holders counts.
func (x *index) learn(r version.Record) {
	if x.where == nil {
		x.where, x.in = map[core.Hash]place{}, map[int]int{}
	}
	x.learnStripes(r.Stripes, len(x.runs))
	for number, run := range r.Runs {
		holders := r.Holders(number)
		x.runs, x.holders = append(x.runs, run), append(x.holders, holders)
		for i, c := range run.Chunks {
			if old, ok := x.where[c.Hash]; run.Kept().Has(i) && (!ok || len(x.holders[old.run]) < len(holders)) {
				x.where[c.Hash] = place{len(x.runs) - 1, i}
			}
		}
	}
}

// needs is chunks to be brought, run by run.
type needs struct {
	index  *index
	order  []int // runs, as they were added
	chunks map[int]core.Bitmap
}

// add adds a chunk; false where it was there.
func (n *needs) add(at place) bool {
	if n.chunks == nil {
		n.chunks = map[int]core.Bitmap{}
	}
	if n.chunks[at.run] == nil {
		n.chunks[at.run] = core.NewBitmap(len(n.index.runs[at.run].Chunks))
		n.order = append(n.order, at.run)
	}
	if n.chunks[at.run].Has(at.chunk) {
		return false
	}
	n.chunks[at.run].Set(at.chunk)
	return true
}

// wanted is them as a download wants them.
func (n *needs) wanted() (all []spread.Wanted) {
	for _, run := range n.order {
		all = append(all, spread.Wanted{Run: n.index.runs[run].Run, Needed: n.chunks[run],
			Holders: n.index.holders[run]})
	}
	return all
}
