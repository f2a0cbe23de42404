// SPDX-License-Identifier: Apache-2.0

package serve_test

import (
	"context"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins/serve"
)

// smallFirst is a strategy that prefers nodes with little room.
type smallFirst struct{}

func (smallFirst) Describe(context.Context) (core.StrategyInfo, error) {
	return core.StrategyInfo{Name: "small-first", Version: "1.0.0", Needs: []string{"free"}, Deterministic: true}, nil
}

func (smallFirst) Score(_ context.Context, batch core.Batch) (s core.Scores, err error) {
	for _, free := range batch.Nodes.Free {
		s.PlaceCost = append(s.PlaceCost, float64(free))
	}
	return s, nil
}

// The main of a strategy is one line. Built as bkp-strategy-small-first and put into DATA/plugins, it is used by
//
//	bkp place big.iso --strategy small-first
func ExampleStrategy() {
	serve.Strategy(smallFirst{})
}

// closed is a verifier that lets nobody store anything.
type closed struct{}

func (closed) Verify(context.Context, core.VerifyRequest) (core.Verdict, error) {
	return core.Verdict{Code: "closed", Reason: "this node takes nothing any more"}, nil
}

// The same for a verifier, bkp-verifier-closed: bkp node start --verifiers signature,targets,closed
func ExampleVerifier() {
	serve.Verifier(closed{})
}
