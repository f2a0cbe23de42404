// SPDX-License-Identifier: Apache-2.0

package live

import (
	"encoding/binary"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/zeebo/blake3"
)

func numbered(i int) core.Hash {
	return blake3.Sum256(binary.LittleEndian.AppendUint64(nil, uint64(i)))
}

// A Set is a map, smaller.
func TestSetIsAMap(t *testing.T) {
	m, model := &Set{}, map[core.Hash]bool{}
	edge := []core.Hash{{}, {15: 1}, {0: 255, 1: 255, 2: 255, 3: 255, 4: 255, 5: 255, 6: 255, 7: 255}, {0: 1}}
	for i := range 200_000 {
		h := numbered(i / 2 * 3) // each twice
		if i < len(edge) {
			h = edge[i]
		}
		m.Add(h)
		model[h] = true
	}
	for h := range model {
		if !m.Has(h) {
			t.Fatalf("%s is missing", h)
		}
	}
	for i := range 300_000 {
		if h := numbered(i); m.Has(h) != model[h] {
			t.Fatalf("%d: it is there: %v", i, !model[h])
		}
	}
	slots := 0
	for _, p := range m.parts {
		slots += len(p.slots)
	}
	if each := float64(8*slots) / float64(len(model)); each > 13 {
		t.Errorf("%.1f bytes each", each)
	}
}

func BenchmarkSet(b *testing.B) {
	m := &Set{}
	i := 0
	for b.Loop() {
		m.Add(numbered(i))
		i++
	}
}
