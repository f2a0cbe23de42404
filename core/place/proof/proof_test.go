// SPDX-License-Identifier: Apache-2.0

package proof

import (
	"math/rand/v2"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/audit"
	"github.com/bkp-tool/bkp/core/placements"
	"github.com/bkp-tool/bkp/core/version"
)

// TestParityThatIsNotUsedIsAudited has a run of an earlier version's stripe, of which no chunk is used.
func TestParityThatIsNotUsedIsAudited(t *testing.T) {
	run := version.Run{Used: core.NewBitmap(1), Held: core.FullBitmap(1)}
	run.Chunks = []core.Chunk{{Hash: core.Hash{1}, Size: 5000}}
	s := &placements.Segment{Runs: []version.Run{run}}
	parts := Claim{Segment: s, Runs: []int{0}}.parts()
	if drawn := audit.Draw(rand.New(rand.NewPCG(1, 2)), parts, audit.Enough); len(drawn) == 0 {
		t.Error("nothing is drawn of it")
	}
}
