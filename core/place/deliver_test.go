// SPDX-License-Identifier: Apache-2.0

package place

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestOthersTakeOver(t *testing.T) {
	for name, test := range map[string]func(w *town, p *peer){
		"it goes away": func(w *town, p *peer) {
			w.mu.Lock()
			defer w.mu.Unlock()
			p.away = true
			w.inboxes["task"].Gone(p.ID())
		},
		"it keeps nothing": func(w *town, p *peer) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.inboxes["task"].Fails(p.ID(), "it fails to keep what it is sent")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newTown(t, "b", "c", "d")
				w.split("disk.img", 1, 0, 40)
				lost := w.named("b")
				lost.signs = -1
				time.AfterFunc(500*time.Millisecond, func() { test(w, lost) })
				r, err := w.place(t.Context(), Args{Replicas: 2})
				check(t, err)
				rec := w.record()
				for run := range rec.Runs {
					if got := rec.Holders(run); len(got) != 2 || slices.Contains(got, lost.ID()) {
						t.Errorf("run %d is on record at %v", run, got)
					}
				}
				if w.licenses != 2 || w.tables != 1 || !r.Standing.Dealt || len(w.told) == 0 {
					t.Errorf("%d licences; told %q", w.licenses, w.told)
				}
				if asked := len(lost.released) > 0; asked == lost.away {
					t.Errorf("it was asked to let go: %v, and is away: %v", asked, lost.away)
				}
				w.rest()
			})
		})
	}
}

// TestJoinerIsHeard: a peer that comes while the data moves is asked for its state, once.
func TestJoinerIsHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, "b", "c")
		w.split("disk.img", 1, 0, 40)
		w.named("b").signs = 5 * time.Second
		time.AfterFunc(time.Second, func() {
			w.join("d", rand.NewChaCha8([32]byte{2}))
			w.join("e", rand.NewChaCha8([32]byte{3}), func(p *peer) { p.mute = true })
		})
		r, err := w.place(t.Context(), Args{Replicas: 2})
		check(t, err)
		if len(r.Survey.Nodes) != 4 || r.Survey.Address(w.named("d").ID()) != "d:8001" ||
			!slices.ContainsFunc(w.told, func(s string) bool { return strings.HasPrefix(s, "d:8001 (") }) {
			t.Errorf("%d nodes, told %q", len(r.Survey.Nodes), w.told)
		}
		if got := w.named("e").asked; got != 1 {
			t.Errorf("one that says nothing was asked %d times", got)
		}
	})
}

// TestTargetIsAskedForReceiptsThatItOwes: as it comes back, the placement says what it waits for.
func TestTargetIsAskedForReceiptsThatItOwes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, "b")
		w.split("disk.img", 1, 0, 40)
		b := w.named("b")
		b.signs = 5 * time.Second
		w.split("disk.img", 1, 0, 40)
		gone := func(away bool) func() {
			return func() {
				w.mu.Lock()
				defer w.mu.Unlock()
				if b.away = away; away {
					w.inboxes["task"].Gone(b.ID())
				} else {
					w.inboxes["task"].Came(b.ID())
				}
			}
		}
		time.AfterFunc(time.Second, gone(true))
		time.AfterFunc(3*time.Second, gone(false))
		_, err := w.place(t.Context(), Args{Replicas: 1})
		check(t, err)
		if len(b.wants) != 1 || len(b.wants[0].Wanted) != 1 || b.wants[0].Wanted[0].Length < 40 {
			t.Errorf("it was asked for %+v", b.wants)
		}
	})
}
