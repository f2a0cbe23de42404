// SPDX-License-Identifier: Apache-2.0

package reliable_test

import (
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins/strategies/reliable"
)

// Copies are raised until a run on the nodes that fail most is safe, and never lowered.
func TestCopiesEnough(t *testing.T) {
	for _, c := range []struct {
		what     string
		asked    int
		failures []float64
		uptimes  []float64
		want     int // 0: as asked
		why      string
	}{
		{"good disks", 2, []float64{0.01, 0.03, 0.02}, nil, 0, ""},
		{"nobody says anything", 1, []float64{0, 0, 0}, nil, 0, ""},
		{"one copy on good disks", 1, []float64{0.01, 0.03, 0.02}, nil, 2,
			"on any 1 of the nodes that it allows is lost with a chance of up to 3 % a year, on any 2 of 0.06 %"},
		{"two that fail often", 2, []float64{0.01, 0.2, 0.1, 0.01}, nil, 3,
			"up to 2 % a year, on any 3 of 0.02 %; wanted is 0.1 %"},
		{"those that are seldom up do not count", 2, []float64{0.01, 0.2, 0.1, 0.01}, []float64{1, 0.5, 0.5, 1}, 0, ""},
		{"more than enough is asked for", 4, []float64{0.01, 0.2, 0.1, 0.01}, nil, 0, ""},
		{"all together do not do", 2, []float64{0.5, 0.5, 0.5}, nil, 4,
			"each of the 3 nodes that it allows would still be lost with a chance of 12 % a year"},
	} {
		n := core.NodeColumns{AnnualFailure: c.failures, Uptime: c.uptimes, ID: make([]string, len(c.failures))}
		for range c.failures {
			if len(c.uptimes) == 0 {
				n.Uptime = append(n.Uptime, 1)
			}
		}
		scores, err := reliable.New().Score(t.Context(), core.Batch{Replicas: c.asked, Nodes: n})
		if err != nil {
			t.Fatal(err)
		}
		if got := scores.Redundancy; got.Replicas != c.want || !strings.Contains(got.Why, c.why) ||
			(c.want == 0) != (got.Why == "") {
			t.Errorf("%s: %+v, want %d replicas, %q", c.what, got, c.want, c.why)
		}
	}
}
