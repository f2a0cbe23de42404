// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/core"
)

// TestStrategyRaisesReplicas: the more copies win; where there are too few nodes or too little room for them, the error
// says who wanted them.
func TestStrategyRaisesReplicas(t *testing.T) {
	for _, c := range []struct {
		what          string
		asked, wanted int
		replicas      int
		says          string
	}{
		{"more", 1, 2, 2, "the strategy wants 2 replicas instead of 1: they burn"},
		{"as many", 2, 2, 2, ""},
		{"fewer", 2, 1, 2, ""},
		{"no opinion", 2, 0, 2, ""},
		{"more than there are", 2, 4, 0, "the strategy wants 4 replicas instead of 2: they burn; there are 3 nodes beside the source"},
		{"more than there is room for", 2, 3, 0, "the strategy wants 3 replicas instead of 2: they burn; 3 replicas of 300 MiB need 3 nodes with room"},
		{"nonsense", 2, -1, 0, "must not be below 0"},
		{"nonsense", 2, 1 << 60, 0, "the strategy wants 1152921504606846976 replicas"},
	} {
		req := pricedNodes()
		req.Snapshot.Nodes[3].Free = 299 * core.MiB
		req.Replicas, req.Scores.Redundancy = c.asked, core.Redundancy{Replicas: c.wanted, Why: "they burn"}
		p, err := Place(req)
		if c.replicas == 0 {
			code := core.CodeRedundant
			if c.wanted < 0 {
				code = core.CodePlugin
			}
			if core.CodeOf(err) != code || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v (code %d)", c.what, err, core.CodeOf(err))
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		var copies core.Size
		for _, row := range p.Nodes {
			copies += row.Bytes
		}
		if p.Replicas != c.replicas || p.Raised != c.says || copies != core.Size(c.replicas)*300*core.MiB {
			t.Errorf("%s: %d replicas, %q, %s", c.what, p.Replicas, p.Raised, copies)
		}
	}
	req := pricedNodes() // shards have a redundancy of their own
	req.Replicas, req.K, req.Scores.Redundancy = 2, 1, core.Redundancy{Replicas: 3}
	if p, err := Place(req); err != nil || p.Replicas != 2 || p.Raised != "" {
		t.Errorf("shards: %+v, %v", p, err)
	}
}
