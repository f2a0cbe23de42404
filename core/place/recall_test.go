// SPDX-License-Identifier: Apache-2.0

package place

import (
	"context"
	"maps"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/version"
)

// lose takes a chunk of content out of staging.
func (w *town) lose(i int) {
	before := maps.Clone(w.store.chunks)
	clear(w.store.chunks)
	w.split("scratch", 1, i, i+1)
	w.refs = w.refs[:len(w.refs)-1]
	for hash := range w.store.chunks {
		delete(before, hash)
	}
	w.store.chunks = before
}

// TestLostCopiesAreBroughtBack: what is to be sent from here and is here no more comes from who has it: chunks of a run
// that nobody has whole, and runs that their holders have no link to send over.
func TestLostCopiesAreBroughtBack(t *testing.T) {
	for _, test := range []struct {
		name    string
		first   int  // chunk of the second version
		apart   bool // the peers have no links to each other
		brought [2]int
	}{{"in part", 1, false, [2]int{1, 1}}, {"no link", 0, true, [2]int{1, 4}}, {"neither", 0, false, [2]int{}}} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newTown(t, "b", "c")
				w.apart = test.apart
				w.named("c").away = true
				w.split("disk.img", 1, 0, 2000) // so many that a run has some
				_, err := w.place(t.Context(), Args{Replicas: 1})
				check(t, err)
				w.split("disk.img", 2, test.first, 2000)
				_, err = w.place(t.Context(), Args{Replicas: 1})
				check(t, err)
				w.refs = slices.DeleteFunc(w.refs, func(r version.Found) bool { return r.Ref.Version == 1 })
				w.named("c").away = false
				w.lose(1)
				dry, err := w.place(t.Context(), Args{Name: "disk.img", Replicas: 2, DryRun: true})
				check(t, err)
				if w.brought[0] > 0 {
					t.Errorf("%d runs were brought to be told about", w.brought[0])
				}
				w.Sweep = func(context.Context) (core.Collected, error) {
					w.unclaimed()
					return core.Collected{}, nil
				}
				r, err := w.place(t.Context(), Args{Name: "disk.img", Replicas: 2})
				check(t, err)
				if w.brought != test.brought || r.Content.NewBytes != dry.Content.NewBytes {
					t.Errorf("runs and chunks brought back: %d, want %d; %s sent anew", w.brought, test.brought,
						r.Content.NewBytes)
				}
				w.rest()
			})
		})
	}
}
