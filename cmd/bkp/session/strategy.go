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
	"github.com/bkp-tool/bkp/plugins/contract"
)

// OpenStrategy opens the strategies of a list such as "cheapest=2,zone-spread", each in a process of its own, as one.
// The number is how much a strategy's costs count, 1 where there is none. A colon begins configuration, for a try:
// "cheapest=2:key=value,key=value,zone-spread".
func OpenStrategy(ctx context.Context, host *plugins.Host, list string) (core.Strategy, io.Closer, error) {
	wanted, err := parseStrategies(list)
	if err != nil {
		return nil, nil, err
	}
	var all combined
	for _, w := range wanted {
		h := host
		if len(w.config) > 0 {
			h = host.With(plugins.Name{Kind: plugins.KindStrategy, Name: w.name}, w.config)
		}
		s, err := h.KeepStrategy(ctx, w.name)
		if err != nil {
			return nil, nil, errors.Join(err, all.Close())
		}
		all = append(all, weightedStrategy{s, w.weight, s.Close})
	}
	if len(all) == 1 {
		return all[0].Strategy, all, nil
	}
	return all, all, nil
}

// wantedStrategy is one of a list.
type wantedStrategy struct {
	name   string
	weight float64
	config plugins.Config
}

// parseStrategies reads a list. After NAME:key=value a key=value more belongs to that strategy; what has a colon, or no
// value, begins the next.
func parseStrategies(list string) (wanted []wantedStrategy, err error) {
	for part := range strings.SplitSeq(list, ",") {
		head, setting, begins := strings.Cut(strings.TrimSpace(part), ":")
		name, text, weighted := strings.Cut(head, "=")
		weight := 1.0
		if weighted {
			weight, err = strconv.ParseFloat(text, 64)
		}
		if last := len(wanted) - 1; last >= 0 && wanted[last].config != nil && weighted && (!begins || err != nil) {
			if err = wanted[last].set(part); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil || !(weight >= 0 && weight <= 1e6) {
			return nil, line.UsageError("--strategy %s: %q is no weight", list, text)
		}
		w := wantedStrategy{name: strings.TrimSpace(name), weight: weight}
		if begins {
			w.config = plugins.Config{}
			if setting != "" {
				if err = w.set(setting); err != nil {
					return nil, err
				}
			}
		}
		wanted = append(wanted, w)
	}
	return wanted, nil
}

// set takes one KEY=VALUE.
func (w wantedStrategy) set(text string) error {
	key, value, ok := strings.Cut(strings.TrimSpace(text), "=")
	if !ok || key == "" {
		return core.WithHint(line.UsageError("--strategy %s: %q is no setting", w.name, text),
			"write NAME:key=value,key=value; bkp plugin info %s shows which there are", w.name)
	}
	w.config[key] = contract.Text(value)
	return nil
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
