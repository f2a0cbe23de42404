// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"cmp"
	"maps"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan"
)

// Live is a job on a network as its nodes report it: each is called by its label "name", its address, or the start of
// its ID.
func Live(s core.Snapshot, g plan.Goal) Topology {
	nodes := make([]core.NodeState, len(s.Nodes))
	for i, n := range s.Nodes {
		labels := maps.Clone(n.Labels)
		if labels == nil {
			labels = map[string]string{}
		}
		name := cmp.Or(labels["name"], n.Address, n.ID.Short())
		if i == s.Source {
			name = cmp.Or(labels["name"], "source")
		}
		labels["name"] = name
		n.Labels = labels
		nodes[i] = n
	}
	s.Nodes = nodes
	return Topology{Name: "live", Network: s, Goal: g}
}
