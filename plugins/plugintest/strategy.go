// SPDX-License-Identifier: Apache-2.0

package plugintest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins/contract"
)

// Strategy runs the suite as subtests, one a rule.
func Strategy(t *testing.T, s core.Strategy) {
	t.Helper()
	StrategyRules(t.Context(), s, func(r Rule) { r.test(t) })
}

const (
	asked  = 100         // questions of up to twelve candidates
	within = time.Second // for a thousand candidates; a plan waits for it
)

// StrategyRules tells of each rule whether the strategy keeps it: it describes itself, answers every question in the
// right shape and the largest in time, reads no columns but those it needs, leaves the question as it was, stands
// questions from many goroutines, and, where it says so, is deterministic.
func StrategyRules(ctx context.Context, s core.Strategy, tell func(Rule)) {
	info, err := s.Describe(ctx)
	if err == nil {
		err = describes(info.Name, info.Version, info.Summary, info.Settings)
	}
	for _, need := range info.Needs {
		if !contract.KnownNeed(need) {
			err = errors.Join(err, fmt.Errorf("needs %q, which is no column", need))
		}
	}
	tell(Rule{"describes itself", err})
	_, err = score(ctx, s, core.Batch{Objective: "time", Replicas: 1})
	tell(Rule{"answers where there are no candidates", err})
	tell(Rule{"answers in the right shape", scoresAll(ctx, s, info)})
	if info.Deterministic {
		tell(Rule{"answers the same question alike", scoresAlike(ctx, s, info)})
	}
	large := contract.Needed(Batch(1, 1000), info.Needs)
	large.File.Classes = slices.Repeat(large.File.Classes, 50)
	began := time.Now()
	if _, err = score(ctx, s, large); err == nil && time.Since(began) > within {
		err = fmt.Errorf("took %s for 1000 candidates and 50 classes, more than %s", time.Since(began).Round(time.Millisecond), within)
	}
	tell(Rule{"answers for a thousand candidates in time", err})
	tell(Rule{"answers several at once", atOnce(func(i int) error {
		_, err := score(ctx, s, contract.Needed(Batch(uint64(i), 12), info.Needs))
		return err
	})})
	tell(Rule{"takes its settings", configures(ctx, s, info.Settings)})
}

func scoresAll(ctx context.Context, s core.Strategy, info core.StrategyInfo) error {
	for seed := range uint64(asked) {
		if _, err := score(ctx, s, question(seed, info)); err != nil {
			return fmt.Errorf("question %d: %w", seed, err)
		}
	}
	return nil
}

func scoresAlike(ctx context.Context, s core.Strategy, info core.StrategyInfo) error {
	for seed := range uint64(asked) {
		first, err := score(ctx, s, question(seed, info))
		if err != nil {
			return nil // another rule
		}
		again, err := score(ctx, s, question(seed, info))
		if err != nil || !reflect.DeepEqual(first, again) {
			return fmt.Errorf("question %d got\n%+v then\n%+v (%v)", seed, first, again, err)
		}
	}
	return nil
}

// question is one of the suite's as bkp asks it; the first ones are small.
func question(seed uint64, info core.StrategyInfo) core.Batch {
	return contract.Needed(Batch(seed, int(seed%13)), info.Needs)
}

// score asks and checks the answer's shape and that the question is still the same.
func score(ctx context.Context, s core.Strategy, batch core.Batch) (core.Scores, error) {
	before := copied(batch)
	scores, err := s.Score(ctx, batch)
	if err != nil {
		return scores, fmt.Errorf("ask for scores: %w", err)
	}
	if !reflect.DeepEqual(before, batch) {
		return scores, errors.New("asking for scores changed the batch it was given")
	}
	return scores, contract.CheckScores(batch.Nodes.Len(), scores)
}

func copied(b core.Batch) core.Batch {
	n := &b.Nodes
	n.ID, n.Zone, n.Labels = slices.Clone(n.ID), slices.Clone(n.Zone), slices.Clone(n.Labels)
	n.Free, n.Total = slices.Clone(n.Free), slices.Clone(n.Total)
	n.Uplink, n.Downlink, n.Link = slices.Clone(n.Uplink), slices.Clone(n.Downlink), slices.Clone(n.Link)
	n.Delay, n.PriceStore, n.PriceSend = slices.Clone(n.Delay), slices.Clone(n.PriceStore), slices.Clone(n.PriceSend)
	n.AnnualFailure, n.Uptime, n.Load = slices.Clone(n.AnnualFailure), slices.Clone(n.Uptime), slices.Clone(n.Load)
	n.Numbers = maps.Clone(n.Numbers)
	for name, column := range n.Numbers {
		n.Numbers[name] = slices.Clone(column)
	}
	b.Links, b.Trunks, b.File.Classes = slices.Clone(b.Links), slices.Clone(b.Trunks), slices.Clone(b.File.Classes)
	return b
}
