// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/bkp-tool/bkp/core"
)

// BenchmarkPlace plans 3 copies on unequal nodes of a mesh.
func BenchmarkPlace(b *testing.B) {
	for _, size := range []struct{ runs, nodes int }{{100_000, 100}, {1_000_000, 1000}} {
		b.Run(fmt.Sprintf("runs=%d/nodes=%d", size.runs, size.nodes), func(b *testing.B) {
			req := Request{Replicas: 3, Seed: 1, Classes: []Class{{Runs: make([]core.Size, size.runs)}}}
			for i := range req.Classes[0].Runs {
				req.Classes[0].Runs[i] = core.MaxRun - core.Size(i%1000)
			}
			for i := range size.nodes + 1 {
				n := core.NodeState{Free: core.TiB, Up: core.Rate(1+i%40) * 1e6, Down: 100e6, Zone: fmt.Sprint(i % 7)}
				binary.LittleEndian.PutUint64(n.ID[:], mix(uint64(i)))
				req.Snapshot.Nodes = append(req.Snapshot.Nodes, n)
			}
			b.ReportAllocs()
			for b.Loop() {
				p, err := Place(req)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(p.Ratio, "ratio")
				b.ReportMetric(float64(len(p.Classes[0])), "spans")
			}
		})
	}
}
