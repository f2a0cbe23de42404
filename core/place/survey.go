// SPDX-License-Identifier: Apache-2.0

package place

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/place/survey"
	"github.com/bkp-tool/bkp/core/wire"
)

// MaxFar is how many nodes beyond the connected ones a survey asks.
const MaxFar = 64

// Look asks every connected peer for its state. Where these are fewer than the copies that are wanted it asks their
// peers too, and so on: copies reach those through the ones between.
func (c *Coordinator) Look(ctx context.Context, owner core.ID, replicas int,
	tell func(Status)) (*survey.Survey, error) {
	s := survey.New(c.Network.Self())
	peers := c.Peers.Connected()
	if len(peers) == 0 {
		return nil, core.WithHint(core.Fail(core.CodeRedundant, "no peer is connected%s", because(c.Peers.Unreached())),
			"bkp peers shows which are known and what is wrong with them")
	}
	reports := map[core.ID]wire.StateReport{}
	asked := map[core.ID]bool{c.Node: true}
	for len(peers) > 0 && ctx.Err() == nil && c.Life.Err() == nil {
		for _, id := range peers {
			asked[id] = true
		}
		c.hear(ctx, s, owner, peers, reports, tell)
		if len(reports) >= min(replicas, MaxFar) {
			break
		}
		peers = c.Network.Beyond(reports, asked)
		s.Far = s.Far || len(peers) > 0
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	s.Between(reports)
	s.Trunks = c.Trunks
	return s, nil
}

// because adds what is wrong to an error.
func because(problems []string) string {
	if len(problems) == 0 {
		return ""
	}
	return " (" + strings.Join(problems, "; ") + ")"
}

// hear asks nodes for their state and adds those that answer.
func (c *Coordinator) hear(ctx context.Context, s *survey.Survey, owner core.ID, peers []core.ID,
	reports map[core.ID]wire.StateReport, tell func(Status)) {
	answers := make([]wire.StateReport, len(peers))
	failed := make([]error, len(peers))
	each(len(peers), func(i int) {
		answers[i], failed[i] = c.ask(ctx, peers[i], owner)
	})
	ends := c.Network.Ends(peers)
	for i, id := range peers {
		end, there := ends[id]
		if failed[i] != nil || !there {
			continue
		}
		reports[id] = answers[i]
		for _, why := range answers[i].Degraded {
			tell(Status{Phase: "ask", Warning: true,
				Text: fmt.Sprintf("peer %s (%s) is degraded: %s", id.Short(), end.Address, why)})
		}
		s.Add(id, end, answers[i])
	}
}

// ask asks a node for its state.
func (c *Coordinator) ask(ctx context.Context, peer, owner core.ID) (wire.StateReport, error) {
	return wire.Ask[wire.StateReport](ctx, c.Peers, peer, func(id uint64) wire.Message {
		return wire.StateQuery{Query: id, Owner: owner}
	})
}

// each runs f for 0 to count-1 at once and waits.
func each(count int, f func(i int)) {
	var all sync.WaitGroup
	for i := range count {
		all.Go(func() { f(i) })
	}
	all.Wait()
}
