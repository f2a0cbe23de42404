// SPDX-License-Identifier: Apache-2.0

package plugintest

import (
	"fmt"
	"math/rand/v2"

	"github.com/bkp-tool/bkp/core"
)

// Batch makes a question about so many candidates, the same for the same seed: from empty to overfull, from unlimited
// to nearly cut off, with links between some where there are few.
func Batch(seed uint64, count int) core.Batch {
	r := rand.New(rand.NewPCG(seed, 0))
	size := core.Size(r.Int64N(int64(10 * core.TiB)))
	b := core.Batch{Objective: []string{"time", "cost", "blend"}[r.IntN(3)], Seed: r.Uint64(), Replicas: 1 + r.IntN(4),
		File: core.BatchFile{Size: size, RunSize: core.RunSize(size)}}
	b.File.Classes = []core.BatchClass{{Count: r.IntN(4097), Size: size}}
	carbon := []float64{}
	for i := range count {
		candidate(r, &b.Nodes, i)
		carbon = append(carbon, r.Float64())
	}
	if count > 0 {
		b.Nodes.Numbers = map[string][]float64{"carbon": carbon}
	}
	for from := range min(count, 50) {
		for to := range min(count, 50) {
			if from != to && r.IntN(2) == 0 {
				b.Links = append(b.Links, core.BatchLink{From: from, To: to, Rate: core.Rate(edge(r, 10<<30))})
			}
		}
	}
	return b
}

func candidate(r *rand.Rand, n *core.NodeColumns, i int) {
	n.ID = append(n.ID, fmt.Sprintf("node%d", i))
	n.Zone = append(n.Zone, []string{"", "home", "office"}[r.IntN(3)])
	n.Labels = append(n.Labels, map[string]string{"room": fmt.Sprint(i)})
	n.Free = append(n.Free, core.Size(edge(r, 1<<60)))
	n.Total = append(n.Total, core.Size(edge(r, 1<<60)))
	n.Uplink = append(n.Uplink, core.Rate(edge(r, 10<<30)))
	n.Downlink = append(n.Downlink, core.Rate(edge(r, 10<<30)))
	n.Link = append(n.Link, core.Rate(edge(r, 10<<30)))
	n.Delay = append(n.Delay, float64(edge(r, 10_000))/1000)
	n.PriceStore = append(n.PriceStore, part(r))
	n.PriceSend = append(n.PriceSend, part(r))
	n.AnnualFailure = append(n.AnnualFailure, part(r))
	n.Uptime = append(n.Uptime, part(r))
	n.Load = append(n.Load, part(r))
}

// edge is 0, most, or a number between, of any magnitude.
func edge(r *rand.Rand, most int64) int64 {
	switch r.IntN(6) {
	case 0:
		return 0
	case 1:
		return most
	default:
		return min(most, r.Int64N(int64(1)<<r.IntN(61)+1))
	}
}

// part is from 0 to 1, both included.
func part(r *rand.Rand) float64 { return float64(edge(r, 1_000_000)) / 1_000_000 }
