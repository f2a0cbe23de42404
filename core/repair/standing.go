// SPDX-License-Identifier: Apache-2.0

package repair

import (
	"context"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/placements"
	"github.com/bkp-tool/bkp/core/reconcile"
)

// Standing is how a placement stands.
type Standing struct {
	*placements.Record
	reconcile.Verdict
	Placing bool                  // somebody is placing it now
	Began   time.Time             // when what is under way for it began; zero where nothing is
	Done    core.Size             // that it moved
	Total   core.Size             // that it is to move; 0 while that is not known
	Next    time.Time             // when it is tried again; zero where that is not waited for
	Problem error                 // of the last attempt
	Away    map[core.ID]time.Time // since when nodes on record cannot be reached, or do not answer audits
}

// Standings is how all placements stand.
func (k *Keeper) Standings() (all []Standing, err error) {
	found, err := k.records.All()
	if err != nil {
		return nil, err
	}
	watched, err := k.watched()
	if err != nil {
		return nil, err
	}
	kept := map[*placements.Record]bool{}
	for _, rec := range watched {
		kept[rec] = true
	}
	network, now := k.network(found), time.Now()
	for _, rec := range found {
		under := k.records.UnderWay(rec) && !rec.Window
		if rec.IsOver() || !kept[rec] && !under && rec.Shipment.IsZero() && (rec.Coordinator.IsZero() || !rec.Taken) {
			continue
		}
		s := Standing{Record: rec, Placing: under, Away: map[core.ID]time.Time{}}
		c := k.judge(rec, network, now)
		s.Verdict = c.Verdict
		for _, node := range network.Nodes {
			if !node.Away.IsZero() {
				s.Away[node.ID] = node.Away
			}
		}
		k.mu.Lock()
		if a := k.cases[rec.Task]; a != nil && s.Lacks {
			s.Began, s.Problem, s.Done, s.Total = a.began, a.err, a.done, a.total
			if s.Act && k.running {
				s.Next = c.retry()
			}
		}
		k.mu.Unlock()
		all = append(all, s)
	}
	return all, nil
}

// Handed reports whether another node sees to it.
func (s Standing) Handed() bool { return s.Taken && !s.Coordinator.IsZero() }

// OnDisk reports whether nothing is sent, since a disk with it is under way.
func (s Standing) OnDisk() bool { return !s.Shipment.IsZero() && !s.Placing }

// noWay is of a repair that failed and will again, as long as the network is what it is.
var noWay = []core.Code{core.CodeRedundant, core.CodeRefused, core.CodeNoName}

// Code is what the standing comes to for who asks; watched says whether anybody goes on by itself.
func (s Standing) Code(watched bool) core.Code {
	switch {
	case s.Handed() && s.Told >= s.Record.Copies, !s.Lacks:
		return core.CodeOK
	case s.Placing, s.Handed(), s.OnDisk():
		return core.CodePartial
	case !watched:
		return core.CodeRedundant
	case s.Problem != nil && s.Began.IsZero() && slices.Contains(noWay, core.CodeOf(s.Problem)):
		return core.CodeRedundant
	}
	return core.CodePartial
}

// Repair has every node that is there prove what it keeps by a record, and what is lacking then placed anew by do, also
// what is at nodes that are away, however short a time.
func (k *Keeper) Repair(ctx context.Context, rec *placements.Record, do Mender) (repaired bool, err error) {
	if k.records.UnderWay(rec) {
		return false, core.Fail(core.CodeBusy, "it is being placed")
	}
	k.network([]*placements.Record{rec})
	k.audit(ctx, rec, true)
	for k.auditInFull(ctx, rec) {
	}
	network := k.network([]*placements.Record{rec})
	w := reconcile.Wanted{Copies: rec.Copies, Proof: true, Now: true}
	v := reconcile.Judge(w, rec.Known(), without(network, rec), time.Now())
	if !v.Lacks {
		return false, ctx.Err()
	}
	if err := k.mend(ctx, rec, 0, do); err != nil {
		return true, err
	}
	if count := rec.Counting(); count < rec.Copies {
		return true, core.Fail(core.CodeRedundant, "%d of %d copies count", count, rec.Copies)
	}
	return true, nil
}
