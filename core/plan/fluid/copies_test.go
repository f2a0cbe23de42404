// SPDX-License-Identifier: Apache-2.0

package fluid

import (
	"testing"

	"github.com/bkp-tool/bkp/core"
)

// TestBoundNamesWhoReceivesLast: where every node is to have all, it is the slowest; it was nobody.
func TestBoundNamesWhoReceivesLast(t *testing.T) {
	s := core.Snapshot{Nodes: []core.NodeState{{}, {Down: 1050, Free: core.GiB,
		Labels: map[string]string{"name": "slow"}}, {Down: 2100, Free: core.GiB}}}
	b, err := LeastTime(s, Goal{Mode: Replicas, Size: 100_000, Replicas: 2})
	if err != nil || b.Binding != "downlink slow" || b.Seconds < 99 || b.Seconds > 101 {
		t.Errorf("%v s by %q (%v)", b.Seconds, b.Binding, err)
	}
}
