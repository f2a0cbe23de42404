// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"pgregory.net/rapid"
)

// TestConverges has random things happen to a placement, and then none: it comes to what is wanted, or to an error
// where there is no room, and on the way no node is asked for more than it offers, and no copy that counts goes before
// as many others count as are wanted.
func TestConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := draw(t)
		now := time.Unix(1e9, 0)
		for range rapid.IntRange(0, 12).Draw(t, "events") {
			w.happen(t, now)
			w.step(t, now)
			now = now.Add(time.Minute)
		}
		w.Proof = w.Proof && rapid.Bool().Draw(t, "proof to the end")
		now = now.Add(time.Hour) // whoever is away is so for long
		for range 40 {
			if done, err := w.step(t, now); done {
				w.ended(t, err)
				return
			}
			now = now.Add(time.Minute)
		}
		d, err := Next(w.Wanted, w.known, w.network(), now, w.plan)
		t.Fatalf("it does not come to rest: %+v, %v", d.Moves, err)
	})
}

func draw(t *rapid.T) *world {
	w := &world{Wanted: Wanted{Copies: rapid.IntRange(1, 3).Draw(t, "copies"), Proof: rapid.Bool().Draw(t, "proof"),
		Partly: rapid.Bool().Draw(t, "partly"),
		Grace:  time.Duration(rapid.IntRange(0, 20).Draw(t, "grace")) * time.Minute}}
	w.nodes = []*member{{Node: Node{ID: id("self")}}}
	for i := range rapid.IntRange(1, 6).Draw(t, "nodes") {
		w.nodes = append(w.nodes, &member{Node: Node{ID: id(fmt.Sprint("n", i))},
			room: core.Size(rapid.SampledFrom([]int{0, 3, 8, 20, 100}).Draw(t, "room")) * core.MiB})
	}
	for range rapid.IntRange(1, 3).Draw(t, "segments") {
		s := Segment{At: map[core.ID]Copies{}}
		for range rapid.IntRange(1, 9).Draw(t, "runs") {
			s.Sizes = append(s.Sizes, core.Size(rapid.IntRange(1, 2).Draw(t, "size"))*core.MiB)
		}
		w.known = append(w.known, s)
	}
	if rapid.Bool().Draw(t, "striped") {
		w.stripe()
	}
	return w
}

// stripe has two of three runs and the third as their parity, the last of a segment as copies.
func (w *world) stripe() {
	w.code, w.Copies = core.Erasure{K: 2, M: 1}, 2
	for number := range w.known {
		s := &w.known[number]
		for run := 0; run+2 < len(s.Sizes); run += 3 {
			s.Stripes = append(s.Stripes, core.Stripe{Data: []int{run, run + 1}, Parity: []int{run + 2}})
		}
	}
}

// want is how many copies of a run are to count.
func (w *world) want(s Segment, run int) int {
	if core.StripeOf(s.Stripes, len(s.Sizes))[run] >= 0 {
		return 1
	}
	return w.Copies
}

// happen is one thing that may happen to a node.
func (w *world) happen(t *rapid.T, now time.Time) {
	m := w.nodes[rapid.IntRange(1, len(w.nodes)-1).Draw(t, "node")]
	switch what := rapid.SampledFrom([]string{"away", "back", "refuses", "drained", "wiped", "person",
		"rebalance"}).Draw(t, "what"); what {
	case "away":
		if m.Away.IsZero() {
			m.Away = now
		}
	case "back":
		m.Away = time.Time{}
	case "refuses":
		m.refuses = true
	case "drained":
		m.Drained = true
	case "wiped": // it said so
		for _, s := range w.known {
			for run := range s.Sizes {
				c := s.copies(m.ID)
				if c.Here(run) {
					m.room += s.Sizes[run]
				}
				c.lose(run)
				s.At[m.ID] = c
			}
		}
	case "person":
		w.Now = !w.Now
	case "rebalance":
		var offers []Offer
		for _, m := range w.nodes {
			offers = append(offers, Offer{Free: m.room, Total: core.Size(rapid.IntRange(0, 200).Draw(t, "total")) * core.MiB,
				Takes: true, Price: rapid.Float64Range(0, 4).Draw(t, "price")})
		}
		relieved, targets := Rebalance(w.known, w.network(), offers)
		for _, r := range relieved {
			w.named(name(r.Node)).Drained = true
		}
		for i, m := range w.nodes {
			if i > 0 && !targets[i] {
				m.Barred = "others take over"
			}
		}
	}
}

// step asks once, holds the answer to its promises, and carries it out; done where there is nothing left but to wait.
func (w *world) step(t *rapid.T, now time.Time) (done bool, err error) {
	d, err := Next(w.Wanted, w.known, w.network(), now, w.plan)
	asked := map[core.ID]core.Size{}
	done = true
	for _, m := range d.Moves {
		node := w.named(name(m.Node))
		done = done && m.Kind == Wait && len(m.Runs) == 0
		switch m.Kind {
		case Send:
			eachOf(m.Runs, func(run int) { asked[m.Node] += w.known[m.Segment].Sizes[run] })
			if node.Barred != "" || node.Drained || !node.Away.IsZero() || node == w.nodes[0] {
				t.Fatalf("%s is to get runs: %+v", name(m.Node), node.Node)
			}
		case Release:
			for number, s := range w.known {
				for run := range s.Sizes {
					others := 0
					for other := range s.At {
						if other != m.Node && w.counts(s, other, run) {
							others++
						}
					}
					if s.At[m.Node].Here(run) && others < w.want(s, run) {
						t.Fatalf("%s is to let go of run %d of segment %d, of which %d others count", name(m.Node), run,
							number, others)
					}
				}
			}
		case Prove, Wait:
		}
	}
	for id, bytes := range asked {
		if node := w.named(name(id)); bytes > node.room {
			t.Fatalf("%s is asked for %s and offers %s", name(id), bytes, node.room)
		}
	}
	released := map[core.ID]bool{}
	for _, m := range d.Moves {
		if m.Kind == Release {
			if released[m.Node] {
				t.Fatalf("%s is released twice", name(m.Node))
			}
			released[m.Node] = true
		}
		w.carry(m)
	}
	w.arrive()
	return done, errors.Join(err, d.Short)
}

// counts reports whether a node is there and its copy of a run counts.
func (w *world) counts(s Segment, id core.ID, run int) bool {
	c := s.At[id]
	return c.Receipted.Has(run) && (!w.Proof || c.Proved.Has(run)) && w.named(name(id)).Away.IsZero()
}

// apart is how many runs of a stripe can be at nodes of their own: by trying all, the last run first.
func (w *world) apart(s Segment, stripe int) int {
	var most func(runs []int, taken map[core.ID]bool) int
	most = func(runs []int, taken map[core.ID]bool) (best int) {
		if len(runs) == 0 {
			return 0
		}
		best = most(runs[1:], taken)
		for id, c := range s.At {
			if c.Receipted.Has(runs[0]) && !taken[id] {
				taken[id] = true
				best = max(best, 1+most(runs[1:], taken))
				delete(taken, id)
			}
		}
		return best
	}
	return most(s.Stripes[stripe].Runs(), map[core.ID]bool{})
}

// ended wants what the placement came to to be what was wanted, or the error to be right: too few nodes, or no room.
func (w *world) ended(t *rapid.T, err error) {
	if err != nil {
		if core.CodeOf(err) != core.CodeRedundant {
			t.Fatal(err)
		}
		return
	}
	for number, s := range w.known {
		for i := range s.Stripes {
			if nodes := w.apart(s, i); nodes < w.code.K+w.code.M {
				t.Fatalf("stripe %d of segment %d is at %d nodes", i, number, nodes)
			}
		}
		for run := range s.Sizes {
			copies := 0
			for id, c := range s.At {
				if m := w.named(name(id)); c.Receipted.Has(run) && (!w.Proof || c.Proved.Has(run)) && (!w.Now || m.Away.IsZero()) {
					copies++
				}
			}
			if copies < w.want(s, run) {
				t.Fatalf("run %d of segment %d has %d copies that count, and nothing is to be done", run, number, copies)
			}
		}
	}
}
