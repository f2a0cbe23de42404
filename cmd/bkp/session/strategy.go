// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/plugins"
)

// OpenStrategy opens the strategies of a list such as "cheapest=2,zone-spread", each in a process of its own, as one.
// The number is how much a strategy's costs count, 1 where there is none.
func OpenStrategy(ctx context.Context, host *plugins.Host, list string) (core.Strategy, io.Closer, error) {
	var all combined
	for part := range strings.SplitSeq(list, ",") {
		name, text, weighted := strings.Cut(part, "=")
		weight, err := strconv.ParseFloat(text, 64)
		switch {
		case !weighted:
			weight = 1
		case err != nil || !(weight >= 0 && weight <= 1e6):
			return nil, nil, errors.Join(all.Close(), line.UsageError("--strategy %s: %q is no weight", list, text))
		}
		s, err := host.Strategy(ctx, strings.TrimSpace(name))
		if err != nil {
			return nil, nil, errors.Join(err, all.Close())
		}
		all = append(all, weightedStrategy{s, weight, s.Close})
	}
	if len(all) == 1 {
		return all[0].Strategy, all, nil
	}
	return all, all, nil
}

// combined is several strategies that are asked as one; plan.Combine says how.
type combined []weightedStrategy

// weightedStrategy is one of them; weight says how much its costs count.
type weightedStrategy struct {
	core.Strategy
	weight float64
	close  func()
}

func (c combined) Describe(ctx context.Context) (core.StrategyInfo, error) {
	voices, err := c.voices(ctx)
	if err != nil {
		return core.StrategyInfo{}, err
	}
	info, _ := plan.Combine(voices)
	return info, nil
}

func (c combined) Score(ctx context.Context, batch core.Batch) (core.Scores, error) {
	voices, err := c.voices(ctx)
	if err != nil {
		return core.Scores{}, err
	}
	for i, s := range c {
		if voices[i].Scores, err = s.Score(ctx, batch); err == nil {
			err = plan.CheckScores(batch, voices[i].Scores)
		}
		if err != nil {
			return core.Scores{}, core.Fail(core.CodePlugin, "strategy %s: %w", voices[i].Info.Name, err)
		}
	}
	_, scores := plan.Combine(voices)
	return scores, nil
}

func (c combined) voices(ctx context.Context) (voices []plan.Voice, err error) {
	for _, s := range c {
		info, err := s.Describe(ctx)
		if err != nil {
			return nil, err
		}
		voices = append(voices, plan.Voice{Info: info, Weight: s.weight})
	}
	return voices, nil
}

func (c combined) Close() error {
	for _, s := range c {
		s.close()
	}
	return nil
}
