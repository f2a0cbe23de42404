// SPDX-License-Identifier: Apache-2.0

package seed_test

import (
	"math"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins/strategies/seed"
)

// place_cost is (Alpha·4 MiB/bandwidth + Beta·delay + Gamma·used/total) / 4 MiB.
func TestFormula(t *testing.T) {
	for _, c := range []struct {
		what        string
		link, down  core.Rate
		delay       float64
		free, total core.Size
		want        float64 // seconds per run
	}{
		{"all three", 8 << 20, 0, 0.25, 25, 100, 0.5 + 0.25 + 0.75},
		{"the downlink is narrower", 8 << 20, 1 << 20, 0, 1, 1, 4},
		{"unlimited", 0, 0, 0.5, 1, 1, 0.5},
		{"no space at all", 0, 0, 0, 0, 0, 1},
		{"more free than there is", 0, 0, 0, 5, 1, 0},
	} {
		scores, err := seed.New().Score(t.Context(), core.Batch{Nodes: core.NodeColumns{ID: []string{"n"},
			Link:     []core.Rate{c.link},
			Downlink: []core.Rate{c.down}, Delay: []float64{c.delay}, Free: []core.Size{c.free},
			Total: []core.Size{c.total}}})
		if err != nil {
			t.Fatal(err)
		}
		if got := scores.PlaceCost[0] * float64(core.MaxRun); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%s: %v s per run, want %v", c.what, got, c.want)
		}
		if got, want := scores.FirstHolderWeight[0], 1/max(c.delay, 1e-4); got != want {
			t.Errorf("%s: first holder weight %v, want %v", c.what, got, want)
		}
	}
}
