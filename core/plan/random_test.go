// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/core/sim"
)

// random is networks that nobody tuned to, on which plans or bounds were once far off; each has its exact bound, found
// by linear programming over rationals.
func random(t *testing.T) (all []sim.Topology) {
	files, _ := filepath.Glob("testdata/random/*.json")
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		top, err := sim.Read(data, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, top)
	}
	if len(all) < 12 {
		t.Fatalf("%d topologies", len(all))
	}
	return all
}

// TestRandomBounds: the bound was up to 12 % too low for copies.
func TestRandomBounds(t *testing.T) {
	for _, top := range random(t) {
		b, err := plan.LeastTime(top.Network, top.Goal)
		if err != nil || math.Abs(b.Seconds-top.Bound) > 1e-6*top.Bound {
			t.Errorf("%s: bound %v s by %s, want %v s (%v)", top.Name, b.Seconds, b.Binding, top.Bound, err)
		}
	}
}
