// SPDX-License-Identifier: Apache-2.0

// Package plugintest tells authors whether their strategy or verifier behaves as bkp wants.
//
// A plugin's test is a few lines; the second form builds the plugin's main and talks to it as bkp would:
//
//	func TestInProcess(t *testing.T) { plugintest.Strategy(t, mine.New()) }
//	func TestAsPlugin(t *testing.T)  { plugintest.StrategyProcess(t, "./bkp-strategy-mine") }
package plugintest

import (
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins/contract"
)

// Strategy runs the suite: the strategy describes itself, answers every question in the right shape, leaves the
// question as it was, reads no columns but those it needs, stands questions from many goroutines, and, where it says so,
// is deterministic.
func Strategy(t *testing.T, s core.Strategy) {
	t.Helper()
	info, err := s.Describe(t.Context())
	if err != nil {
		t.Fatalf("Describe: %v", err)
	}
	t.Run("describes itself", func(t *testing.T) {
		described(t, info.Name, info.Version, info.Summary)
		for _, need := range info.Needs {
			if !contract.KnownNeed(need) {
				t.Errorf("needs %q, which is no column", need)
			}
		}
		if err := contract.CheckSettings(info.Settings); err != nil {
			t.Error(err)
		}
	})
	t.Run("no candidates", func(t *testing.T) {
		if _, err := score(t, s, core.Batch{Objective: "time", Replicas: 1}); err != nil {
			t.Error(err)
		}
	})
	t.Run("any candidates", rapid.MakeCheck(func(r *rapid.T) {
		batch := Batches().Draw(r, "batch")
		batch = contract.Needed(batch, info.Needs) // as bkp asks it
		first, err := score(t, s, batch)
		if err != nil {
			r.Fatal(err)
		}
		if !info.Deterministic {
			return
		}
		if again, err := score(t, s, batch); err != nil || !reflect.DeepEqual(first, again) {
			r.Fatalf("deterministic, but the same batch got\n%+v then\n%+v (%v)", first, again, err)
		}
	}))
	t.Run("many at once", func(t *testing.T) {
		var all sync.WaitGroup
		for seed := range 8 {
			all.Go(func() {
				if _, err := score(t, s, contract.Needed(Batches().Example(seed), info.Needs)); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	})
}

// score asks and checks the answer's shape and that the question is still the same.
func score(t *testing.T, s core.Strategy, batch core.Batch) (core.Scores, error) {
	before := copied(batch)
	scores, err := s.Score(t.Context(), batch)
	if err != nil {
		return scores, fmt.Errorf("ask for scores: %w", err)
	}
	if !reflect.DeepEqual(before, batch) {
		return scores, fmt.Errorf("asking for scores changed the batch it was given")
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

// Batches generates questions: up to twelve candidates, from empty to overfull, from unlimited to nearly cut off.
func Batches() *rapid.Generator[core.Batch] {
	return rapid.Custom(func(r *rapid.T) core.Batch {
		count := rapid.IntRange(0, 12).Draw(r, "candidates")
		size := core.Size(rapid.Int64Range(0, int64(10*core.TiB)).Draw(r, "size"))
		b := core.Batch{
			Objective: rapid.SampledFrom([]string{"time", "cost", "blend"}).Draw(r, "objective"),
			Seed:      rapid.Uint64().Draw(r, "seed"),
			Replicas:  rapid.IntRange(1, 4).Draw(r, "replicas"),
			File:      core.BatchFile{Size: size, RunSize: core.RunSize(size)},
		}
		b.File.Classes = []core.BatchClass{{Count: rapid.IntRange(0, 4096).Draw(r, "runs"), Size: size}}
		for i := range count {
			candidate(r, &b.Nodes, i)
		}
		if count > 0 && rapid.Bool().Draw(r, "numbers") {
			b.Nodes.Numbers = map[string][]float64{"carbon": rapid.SliceOfN(parts, count, count).Draw(r, "carbon")}
		}
		for from := range count {
			for to := range count {
				if from != to && rapid.Bool().Draw(r, "linked") {
					b.Links = append(b.Links, core.BatchLink{From: from, To: to, Rate: rates.Draw(r, "rate")})
				}
			}
		}
		return b
	})
}

var (
	rates = rapid.Map(rapid.Int64Range(0, 10<<30), func(n int64) core.Rate { return core.Rate(n) }) // 0 is unlimited
	sizes = rapid.Map(rapid.Int64Range(0, 1<<60), func(n int64) core.Size { return core.Size(n) })
	parts = rapid.Float64Range(0, 1)
)

func candidate(r *rapid.T, n *core.NodeColumns, i int) {
	n.ID = append(n.ID, fmt.Sprintf("node%d", i))
	n.Zone = append(n.Zone, rapid.SampledFrom([]string{"", "home", "office"}).Draw(r, "zone"))
	n.Labels = append(n.Labels, map[string]string{"room": fmt.Sprint(i)})
	n.Free = append(n.Free, sizes.Draw(r, "free"))
	n.Total = append(n.Total, sizes.Draw(r, "total"))
	n.Uplink = append(n.Uplink, rates.Draw(r, "uplink"))
	n.Downlink = append(n.Downlink, rates.Draw(r, "downlink"))
	n.Link = append(n.Link, rates.Draw(r, "link"))
	n.Delay = append(n.Delay, rapid.Float64Range(0, 10).Draw(r, "delay"))
	n.PriceStore = append(n.PriceStore, parts.Draw(r, "price_store"))
	n.PriceSend = append(n.PriceSend, parts.Draw(r, "price_send"))
	n.AnnualFailure = append(n.AnnualFailure, parts.Draw(r, "annual_failure"))
	n.Uptime = append(n.Uptime, parts.Draw(r, "uptime"))
	n.Load = append(n.Load, math.Round(parts.Draw(r, "load")*100)/100)
}

// described checks what a plugin says of itself.
func described(t *testing.T, name, version, summary string) {
	t.Helper()
	if !contract.ValidName(name) {
		t.Errorf("name %q: want lower-case letters, digits and dashes", name)
	}
	if version == "" {
		t.Error("no version")
	}
	if summary == "" || strings.ContainsAny(summary, "\n\t\x1b") {
		t.Errorf("summary %q: want one line", summary)
	}
}
