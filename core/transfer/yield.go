// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/account"
	"github.com/bkp-tool/bkp/core/spread"
)

// yields is the most that a transfer may send a target while it yields to others, and whether it may send there at all:
// it sends to one target at a time then, so that it takes neither their bandwidth nor their place among the flows.
func (t *Transfer) yields(to core.ID, share float64) (most core.Rate, ok bool) {
	if at := t.all.yielding(); len(at) > 0 && (at[0].target != to || at[0].of != t) {
		return 0, false
	}
	most = core.Rate(share * float64(t.all.Book.Nominal(account.Up, account.Out(to))))
	return max(1, most), true
}

// yielding is the senders that hold a lease of transfers that yield to others, in the order of their targets.
func (ts *Transfers) yielding() (all []*sender) {
	for _, t := range ts.open {
		if ts.node.Share(t.task) == 1 {
			continue
		}
		for _, s := range t.senders {
			if s.flow != nil && s.Flow != nil && s.Flow.Holds() {
				all = append(all, s)
			}
		}
	}
	slices.SortFunc(all, func(a, b *sender) int { return a.target.Compare(b.target) })
	return all
}

// within bounds a way by what a transfer that yields may use of it.
func (t *Transfer) within(way spread.Way, to core.ID) (spread.Way, bool) {
	share := t.all.node.Share(t.task)
	if share == 1 {
		return way, true
	}
	most, ok := t.yields(to, share)
	if way.Free = min(way.Free, most); way.Rate == 0 || way.Rate > most {
		way.Rate = most
	}
	return way, ok
}

// Yield has transfers that yield to others give back what they hold beyond their share.
func (ts *Transfers) Yield() {
	for _, s := range ts.yielding() {
		share := ts.node.Share(s.of.task)
		most := max(1, core.Rate(share*float64(ts.Book.Nominal(account.Up, account.Out(s.target)))))
		if s.Flow.Rate > most {
			ts.Flows.Lower(s.flow, most)
		}
	}
}
