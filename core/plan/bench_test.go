// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/bkp-tool/bkp/core"
)

// BenchmarkPlace plans 3 copies on unequal nodes: of a mesh, in zones with trunks between any two of them, and each
// linked to a few others only.
func BenchmarkPlace(b *testing.B) {
	for _, c := range []struct {
		network     string
		runs, nodes int
	}{{"mesh", 100_000, 100}, {"mesh", 1_000_000, 1000}, {"20-zones", 1_000_000, 1000}, {"sparse", 10_000, 99}} {
		b.Run(fmt.Sprintf("%s/runs=%d/nodes=%d", c.network, c.runs, c.nodes), func(b *testing.B) {
			req := Request{Replicas: 3, Seed: 1, Relays: c.network == "sparse", Snapshot: unequal(c.network, c.nodes),
				Classes: []Class{{Runs: make([]core.Size, c.runs)}}}
			for i := range req.Classes[0].Runs {
				req.Classes[0].Runs[i] = core.MaxRun - core.Size(i%1000)
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

// unequal is a source and nodes whose uplinks differ.
func unequal(network string, nodes int) (s core.Snapshot) {
	zones := map[string]int{"mesh": 7, "20-zones": 20, "sparse": 7}[network]
	for i := range nodes + 1 {
		n := core.NodeState{Free: core.TiB, Up: core.Rate(1+i%40) * 1e6, Down: 100e6, Zone: fmt.Sprint(i % zones)}
		binary.LittleEndian.PutUint64(n.ID[:], mix(uint64(i)))
		s.Nodes = append(s.Nodes, n)
		for _, step := range []int{1, 7, 31} {
			if to := (i + step) % (nodes + 1); network == "sparse" {
				s.Links = append(s.Links, core.LinkState{From: i, To: to, Rate: core.Rate(3+i%17) * 1e6},
					core.LinkState{From: to, To: i, Rate: core.Rate(3+i%13) * 1e6})
			}
		}
	}
	for from := range zones {
		for to := range zones {
			if network == "20-zones" && from != to {
				s.Trunks = append(s.Trunks, core.TrunkState{From: fmt.Sprint(from), To: fmt.Sprint(to),
					Rate: core.Rate(20+(from+to)%30) * 1e6})
			}
		}
	}
	return s
}
