// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"cmp"
	"container/heap"
	"time"
)

// queue is what is to happen, in order of time; what happens at one moment, in the order in which it was put in.
type queue struct {
	now    time.Duration
	serial uint64
	events events
}

type event struct {
	at     time.Duration
	serial uint64
	do     func()
}

// after lets something happen when some time has passed.
func (q *queue) after(d time.Duration, do func()) {
	q.serial++
	heap.Push(&q.events, event{q.now + max(0, d), q.serial, do})
}

// step lets the next thing happen; false when there is none.
func (q *queue) step() bool {
	if len(q.events) == 0 {
		return false
	}
	e := heap.Pop(&q.events).(event)
	q.now = e.at
	e.do()
	return true
}

// events is a heap.
type events []event

func (h events) Len() int { return len(h) }
func (h events) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(h[i].at, h[j].at), cmp.Compare(h[i].serial, h[j].serial)) < 0
}
func (h events) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *events) Push(x any)   { *h = append(*h, x.(event)) }
func (h *events) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = event{}
	*h = (*h)[:last]
	return e
}
