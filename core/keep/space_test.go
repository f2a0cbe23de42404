// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bkp-tool/bkp/core"
	"pgregory.net/rapid"
)

// I4: whatever sources offer, send, give up and let go of, what is used and what is promised fit into the capacity, and
// what is promised is what segments were promised. The packs' own descriptions are allowed for: they come unasked.
func TestUsedAndReservedStayWithinCapacity(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		// what happens is drawn outside the bubble, where rapid may look at its clock
		move := rapid.Custom(func(rt *rapid.T) move {
			return move{rapid.SampledFrom(moves).Draw(rt, "move"), rapid.IntRange(0, 99).Draw(rt, "a"),
				rapid.IntRange(0, 99).Draw(rt, "b")}
		})
		script := rapid.SliceOfN(move, 1, 40).Draw(rt, "script")
		var wrong string
		synctest.Test(t, func(t *testing.T) {
			m := &spaceMachine{w: newStage(t, nil)}
			for i, next := range script {
				m.do(next)
				if wrong = m.wrong(); wrong != "" {
					wrong = fmt.Sprintf("after move %d, %s: %s", i, next.what, wrong)
					return
				}
			}
		})
		if wrong != "" {
			rt.Fatal(wrong)
		}
	})
}

// move is something that happens; a and b choose among what there is to choose from.
type move struct {
	what string
	a, b int
}

var moves = []string{"offer", "offer", "apply", "apply", "bring", "bring", "bring", "abort", "release", "rest",
	"restarted", "trouble"}

// spaceMachine plays moves.
type spaceMachine struct {
	w      *stage
	offers []offered
	flows  []opened
}

// opened is a flow with the runs that were applied for.
type opened struct {
	o    offered
	runs core.Range
}

var runNames = []string{"a:100", "b:200+50", "c:330", "d:10", "e:60+60", "f:500"}

func (m *spaceMachine) do(next move) {
	w := m.w
	pick := func(size int) int { return next.a % max(1, size) }
	switch {
	case next.what == "offer":
		task := 1 + next.a%5
		at := slices.IndexFunc(m.offers, func(o offered) bool { return o.Task[0] == byte(task) })
		if at < 0 {
			at = len(m.offers)
			first := next.b % len(runNames)
			m.offers = append(m.offers, w.offer(task, runNames[first:min(len(runNames), first+1+next.b%3)], nil))
		}
		w.Ask(func(s *State) { s.Offer(w.id("source"), true, m.offers[at].StorageTask) })
	case next.what == "rest":
		time.Sleep([]time.Duration{1, 20, 100, 700}[next.a%4] * time.Second)
		w.Ask((*State).DropOutlived)
	case next.what == "restarted":
		w.Ask(func(s *State) { s.Restarted(w.id("source")) })
	case next.what == "trouble":
		w.store.Fail([]string{"put", "barrier"}[next.a%2], []error{nil, errDown}[next.b%2])
	case next.what == "apply" && len(m.offers) > 0:
		o := m.offers[pick(len(m.offers))]
		first := next.b % len(o.pieces)
		f := opened{o, core.Range{Start: first, Length: 1 + next.b%(len(o.pieces)-first)}}
		m.flows = append(m.flows, f)
		w.apply(uint64(len(m.flows)), "source", o, f.runs)
	case next.what == "release" && len(m.offers) > 0:
		w.release(m.offers[pick(len(m.offers))].Task, "owner", "source")
	case next.what == "bring" && len(m.flows) > 0:
		at := pick(len(m.flows))
		f := m.flows[at]
		w.bring(uint64(at+1), f.o, f.runs.Start+next.b%f.runs.Length)
	case next.what == "abort" && len(m.flows) > 0:
		w.abort(uint64(1 + pick(len(m.flows))))
	}
	synctest.Wait()
}

// wrong is what does not hold.
func (m *spaceMachine) wrong() string {
	used, reserved, _ := m.w.space()
	if data := m.data(); data+reserved > m.w.config.Capacity {
		return fmt.Sprintf("%d used for runs, %d for descriptions, %d reserved, of %d", data, used-data, reserved,
			m.w.config.Capacity)
	}
	var promised core.Size
	text := ""
	m.w.Ask(func(s *State) {
		for _, seg := range s.segments {
			promised += seg.promised
			if seg.promised < 0 {
				text = fmt.Sprintf("%d promised to t%d", seg.promised, seg.Task[0])
			}
		}
	})
	if text == "" && promised != reserved {
		text = fmt.Sprintf("%d promised to segments, %d reserved", promised, reserved)
	}
	return text
}

// data is the bytes of runs in the store.
func (m *spaceMachine) data() (bytes core.Size) {
	for _, name := range runNames {
		for _, c := range run(name, 0).Chunks {
			if there, _ := m.w.store.Has(m.w.ctx, c.Hash); there {
				bytes += c.Size
			}
		}
	}
	return bytes
}

// sharedDisk is one that others write to as well.
type sharedDisk struct {
	mu   sync.Mutex
	room core.Size
	err  error
}

func (d *sharedDisk) set(room core.Size, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.room, d.err = room, err
}

func (d *sharedDisk) Room() (core.Size, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.room, d.err
}

// TestHonestSpace: what is offered follows the disk, which others write to as well.
func TestHonestSpace(t *testing.T) {
	for _, c := range []struct {
		name     string
		room     core.Size
		err      error
		used     error
		want     core.Size
		degraded bool
	}{
		{"more than the capacity", 5e6, nil, nil, 1e6, false},
		{"less", 3e5, nil, nil, 3e5, false},
		{"none", 0, nil, nil, 0, false},
		{"a disk that cannot tell", 0, errDown, nil, 0, true},
		{"a system that cannot tell", 0, fmt.Errorf("statfs: %w", errors.ErrUnsupported), nil, 1e6, false},
		{"a store that cannot tell", 5e6, nil, errDown, 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &sharedDisk{room: 1e6}
				w := newStage(t, func(conf *Config) { conf.Room = d.Room })
				d.set(c.room, c.err)
				w.store.Fail("used", c.used)
				time.Sleep(lookAtDisk + time.Second)
				var offered core.Size
				w.Ask(func(s *State) { offered = s.Offered() })
				if _, degraded := w.Refuses(); offered != c.want || degraded != c.degraded {
					t.Errorf("it offers %s, degraded %v; want %s, %v", offered, degraded, c.want, c.degraded)
				}
				d.set(4e5, nil)
				w.store.Fail("used", nil)
				time.Sleep(lookAtDisk + time.Second)
				w.Ask(func(s *State) { offered = s.Offered() })
				if _, degraded := w.Refuses(); offered != 4e5 || degraded {
					t.Errorf("when all is well again it offers %s, degraded %v", offered, degraded)
				}
			})
		})
	}
}

// A question after the room waits for what was released to be freed, but not for ever.
func TestQuestionAfterTheRoomWaitsForWhatWasReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var slow atomic.Int64
		w := newStage(t, func(c *Config) {
			c.Freeing = func(do func() error) error { time.Sleep(time.Duration(slow.Load())); return do() }
		})
		asked := func() (remaining core.Size, took time.Duration) {
			began, done := time.Now(), make(chan core.Size)
			w.Ask(func(s *State) {
				s.AfterReleases(func(s *State) { go func(r core.Size) { done <- r }(s.Offered()) })
			})
			return <-done, time.Since(began)
		}
		keep := func(number int) {
			o := w.offer(number, []string{"a:600"}, nil)
			w.Ask(func(s *State) { s.Offer(w.id("source"), true, o.StorageTask) })
			synctest.Wait()
			w.apply(uint64(number), "source", o, core.Range{Start: 0, Length: 1})
			check(t, w.bring(uint64(number), o, 0))
			time.Sleep(2 * time.Second)
			w.release(o.Task, "owner", "source")
			synctest.Wait()
		}
		keep(1)
		if remaining, took := asked(); remaining != 1e6 || took != 0 {
			t.Errorf("%s remain after %s", remaining, took)
		}
		keep(2)
		slow.Store(int64(time.Minute))
		if remaining, took := asked(); remaining > 4e5 || took != questionPatience {
			t.Errorf("%s remain after %s, while a collection takes a minute", remaining, took)
		}
	})
}
