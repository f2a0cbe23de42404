// SPDX-License-Identifier: Apache-2.0

package repair

import (
	"cmp"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core/reconcile"
)

const (
	// firstRetry is how long after an attempt that failed the next one is made; each further failure doubles it.
	firstRetry = 30 * time.Second
	// longestRetry bounds that.
	longestRetry = 15 * time.Minute
	// lookOften is how often it is looked where nothing happens.
	lookOften = time.Minute
)

// Case is a placement as Next sees it.
type Case struct {
	reconcile.Verdict
	Failed int       // attempts that failed since something changed
	Tried  time.Time // when the last of them ended
}

// retry is when the next attempt may be made.
func (c Case) retry() time.Time {
	if c.Failed == 0 {
		return time.Time{}
	}
	wait := longestRetry
	if c.Failed < 6 {
		wait = min(wait, firstRetry<<(c.Failed-1))
	}
	return c.Tried.Add(wait)
}

// Next is whose turn it is: of those that can be helped now the one of which the least is left. It is -1 where it is
// nobody's; wake is when to look again then.
func Next(now time.Time, cases []Case) (turn int, wake time.Time) {
	wake = now.Add(lookOften)
	var due []int
	for i, c := range cases {
		switch {
		case !c.Act:
			if !c.Until.IsZero() && c.Until.Before(wake) {
				wake = c.Until
			}
		case c.retry().After(now):
			if c.retry().Before(wake) {
				wake = c.retry()
			}
		default:
			due = append(due, i)
		}
	}
	if len(due) == 0 {
		return -1, wake
	}
	return slices.MinFunc(due, func(i, j int) int {
		a, b := cases[i], cases[j]
		return cmp.Or(cmp.Compare(a.Reached, b.Reached), cmp.Compare(a.Copies, b.Copies), a.Tried.Compare(b.Tried),
			cmp.Compare(i, j))
	}), now
}
