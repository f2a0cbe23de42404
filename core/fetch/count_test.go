// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/version"
)

// TestLostBeyondWantedIsNoDamage: of two holders on record one has lost a run.
func TestLostBeyondWantedIsNoDamage(t *testing.T) {
	run := version.Run{Used: core.FullBitmap(1), Run: core.Run{File: core.File{Hash: core.Hash{1}},
		Chunks: []core.Chunk{{Hash: core.Hash{2}, Size: 100}}}}
	keeps, lost := core.ID{1}, core.ID{2}
	for wanted, damaged := range map[int]int{0: 1, 1: 0, 2: 1} { // 0: nobody knows how many
		v := &verifying{Version: &Version{}, wanted: wanted, rows: map[core.ID]*Holder{keeps: {}, lost: {}},
			keeps: map[core.ID]map[core.Hash]bool{keeps: {run.Hash: true}}, bad: map[core.Hash][]core.Damaged{}}
		v.index = index{runs: []version.Run{run}, holders: [][]core.ID{{keeps, lost}}}
		v.need = needs{index: &v.index}
		v.need.add(place{})
		if v.count(); len(v.bad[core.Hash{2}]) != damaged || v.rows[lost].Runs != damaged || v.rows[keeps].Kept != 1 {
			t.Errorf("%d wanted: damaged %v, holders %+v and %+v", wanted, v.bad, v.rows[keeps], v.rows[lost])
		}
	}
}
