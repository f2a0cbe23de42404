// SPDX-License-Identifier: Apache-2.0

package place

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/wire"
)

// further is a network in which d is behind b.
type further struct {
	*town
	via   *peer
	asked int
}

func (f *further) Beyond(reports map[core.ID]wire.StateReport, asked map[core.ID]bool) []core.ID {
	f.asked++
	if asked[f.via.ID()] {
		return nil
	}
	f.via.away = false
	return []core.ID{f.via.ID()}
}

// TestSurveyGoesFurther: where the connected peers are fewer than the copies that are wanted, and only there.
func TestSurveyGoesFurther(t *testing.T) {
	for _, test := range []struct {
		replicas, nodes, asked int
		far                    bool
	}{{1, 2, 0, false}, {2, 3, 1, true}, {3, 3, 2, true}} {
		synctest.Test(t, func(t *testing.T) {
			w := newTown(t, "b", "d")
			f := &further{town: w, via: w.named("d")}
			f.via.away, w.Network = true, f
			s, err := w.Look(t.Context(), core.ID{}, test.replicas, func(Status) {})
			check(t, err)
			if len(s.Nodes) != test.nodes || s.Far != test.far || f.asked != test.asked {
				t.Errorf("%d replicas: %d nodes, far %v, asked for more %d times", test.replicas, len(s.Nodes), s.Far,
					f.asked)
			}
		})
	}
}

// TestSurveyEndsWithItsContext rather than with what it has.
func TestSurveyEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, "b")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(context.DeadlineExceeded)
		if _, err := w.Look(ctx, core.ID{}, 1, func(Status) {}); err != context.DeadlineExceeded {
			t.Errorf("%v", err)
		}
	})
}
