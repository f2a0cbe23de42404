// SPDX-License-Identifier: Apache-2.0

package repair

import (
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/placements"
)

// sumEvery is how long audits of a placement are summed up for one entry.
const sumEvery = 24 * time.Hour

// sum counts an audit for the placement's next entry; a failure gets one of its own at once.
func (k *Keeper) sum(rec *placements.Record, node core.ID, lost, err error) {
	now := time.Now().Unix()
	one := core.Audited{Owner: rec.Owner, Task: rec.Task, Since: now, Time: now}
	switch {
	case lost != nil:
		one.Failed, one.Target, one.Note = 1, node, lost.Error()
		k.enter(one)
		return
	case err != nil:
		one.Unanswered = 1
	default:
		one.Proved = 1
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if s, some := k.sums[rec.Task]; some {
		one.Since, one.Proved, one.Unanswered = s.Since, s.Proved+one.Proved, s.Unanswered+one.Unanswered
	}
	k.sums[rec.Task] = one
}

// enterSum enters what audits of a record came to, once a day.
func (k *Keeper) enterSum(rec *placements.Record) {
	now := time.Now()
	k.mu.Lock()
	s, some := k.sums[rec.Task]
	due := some && now.Sub(time.Unix(s.Since, 0)) >= sumEvery
	if due {
		delete(k.sums, rec.Task)
	}
	k.mu.Unlock()
	if due {
		s.Time = now.Unix()
		k.enter(s)
	}
}

func (k *Keeper) enter(word core.Audited) {
	if err := k.node.Enter(word); err != nil {
		k.log.Warn("enter audits in the ledger", "task", word.Task, "error", err)
	}
}
