// SPDX-License-Identifier: Apache-2.0

package place

import (
	"context"
	"io"
	"testing"
	"testing/synctest"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
)

// TestStrategyRaisesReplicas: what has fewer copies than it wants is sent again, also by a backup.
func TestStrategyRaisesReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, "b", "c")
		w.split("disk.img", 1, 0, 40)
		_, err := w.place(t.Context(), Args{Replicas: 1})
		check(t, err)
		once := w.Strategy
		w.Strategy = func(ctx context.Context, name string) (core.Strategy, io.Closer, error) {
			s, closer, err := once(ctx, name)
			return careful{s}, closer, err
		}
		r, err := w.place(t.Context(), Args{Name: "disk.img", Replicas: 1})
		check(t, err)
		if r.Args.Replicas != 2 || len(w.record().Holders(0)) != 2 || r.Plan.Raised == "" {
			t.Errorf("%d replicas, on record at %d nodes", r.Args.Replicas, len(w.record().Holders(0)))
		}
		windows, err := w.Windows(t.Context(), Args{Name: "other.img", Replicas: 1}, func(Status) {})
		check(t, err)
		c := core.Chunk{Hash: chunk.Hash(plain(50)), Size: 1024}
		check(t, windows.Keep(c, core.Hash{}, plain(50)))
		_, err = windows.Place(t.Context(), 1, &w.store, []core.Chunk{c})
		check(t, err)
		if windows.Sent() != 2048 {
			t.Errorf("sent %s of a window of 1 KiB", windows.Sent())
		}
		windows.Release()
	})
}

// careful is a strategy that wants two copies.
type careful struct{ core.Strategy }

func (s careful) Score(ctx context.Context, b core.Batch) (core.Scores, error) {
	scores, err := s.Strategy.Score(ctx, b)
	scores.Redundancy = core.Redundancy{Replicas: 2, Why: "one burns"}
	return scores, err
}
