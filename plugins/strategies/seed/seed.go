// SPDX-License-Identifier: Apache-2.0

// Package seed is the default strategy: it weighs transfer time, delay and fullness.
//
// A node's cost is what it takes to bring it one full run of 4 MiB, in seconds:
//
//	Alpha·size/bandwidth + Beta·delay + Gamma·used/total
//
// each of the three 1 unless it is configured otherwise, and its place_cost that cost by the byte, divided by size.
// Since size is always one run, the price of a byte depends neither on how large the file is nor on which other nodes
// stand beside it. On slow links (a run at 1 MiB/s takes 4 s) the transfer decides; on fast ones (0.04 s at 100 MiB/s)
// it costs little anywhere, and fullness does.
package seed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins/serve"
)

const (
	size = core.MaxRun
	// minDelay keeps the weight of a node on this machine finite, in seconds.
	minDelay = 1e-4
)

// New is the strategy.
func New() core.Strategy { return &strategy{Alpha: 1, Beta: 1, Gamma: 1} }

type strategy struct {
	Alpha float64 `json:"alpha" about:"how much a second of transfer counts"`
	Beta  float64 `json:"beta" about:"how much a second of delay counts"`
	Gamma float64 `json:"gamma" about:"seconds that a full node costs more than an empty one"`
}

func (w *strategy) Configure(_ context.Context, config []byte) error {
	if err := json.Unmarshal(config, w); err != nil {
		return err
	}
	if min(w.Alpha, w.Beta, w.Gamma) < 0 {
		return errors.New("alpha, beta and gamma are not negative")
	}
	return nil
}

func (w *strategy) Describe(context.Context) (core.StrategyInfo, error) {
	return core.StrategyInfo{Name: "seed", Version: "1.1.0", Summary: "transfer time, delay and fullness together",
		Needs: []string{"link", "downlink", "delay", "free", "total"}, Deterministic: true,
		Settings: serve.Settings(w)}, nil
}

// Score also gives first copies to the near before the far, in proportion to 1/delay.
func (w *strategy) Score(_ context.Context, batch core.Batch) (core.Scores, error) {
	var s core.Scores
	for i := range batch.Nodes.Len() {
		rate, delay, full := bandwidth(batch.Nodes, i), batch.Nodes.Delay[i], fullness(batch.Nodes, i)
		transfer := 0.0 // an unlimited link takes no time
		if rate > 0 {
			transfer = rate.Seconds(size)
		}
		s.PlaceCost = append(s.PlaceCost, (w.Alpha*transfer+w.Beta*delay+w.Gamma*full)/float64(size))
		s.FirstHolderWeight = append(s.FirstHolderWeight, 1/max(delay, minDelay))
		s.Explain = append(s.Explain, fmt.Sprintf("transfer %.3f + delay %.3f + fullness %.3f s per run",
			w.Alpha*transfer, w.Beta*delay, w.Gamma*full))
	}
	return s, nil
}

// bandwidth is the narrower of the link to a node and the node's downlink; 0 is unlimited.
func bandwidth(n core.NodeColumns, i int) core.Rate {
	link, down := n.Link[i], n.Downlink[i]
	if link == 0 || down == 0 {
		return max(link, down)
	}
	return min(link, down)
}

// fullness is used/total, between 0 and 1; a node without any space is full.
func fullness(n core.NodeColumns, i int) float64 {
	if n.Total[i] <= 0 {
		return 1
	}
	return min(1, max(0, 1-float64(n.Free[i])/float64(n.Total[i])))
}
