// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strconv"

	"github.com/bkp-tool/bkp/core"
)

// BatchOf is what a strategy is asked about a network and a job. index tells which node of the snapshot each candidate
// is: all but the source, in the snapshot's order. Prices, failure rate and uptime are read from a node's labels
// price_store, price_send, afr and uptime; a label that is absent or no number from 0 up counts as 0 (uptime: 1).
// Every label that is such a number at some candidate is a column in Numbers.
func BatchOf(snapshot core.Snapshot, classes []Class, replicas int) (batch core.Batch, index []int) {
	batch = core.Batch{Objective: ObjectiveTime, Replicas: replicas}
	candidate := make([]int, len(snapshot.Nodes))
	fromSource := reachRates(snapshot)
	cols := &batch.Nodes
	for i, n := range snapshot.Nodes {
		candidate[i] = -1
		if i == snapshot.Source {
			continue
		}
		candidate[i] = len(index)
		index = append(index, i)
		cols.ID = append(cols.ID, n.ID.String())
		cols.Zone = append(cols.Zone, n.Zone)
		cols.Labels = append(cols.Labels, n.Labels)
		cols.Free = append(cols.Free, n.Free)
		cols.Total = append(cols.Total, n.Total)
		cols.Uplink = append(cols.Uplink, n.Up)
		cols.Downlink = append(cols.Downlink, n.Down)
		cols.Link = append(cols.Link, fromSource[i])
		cols.Delay = append(cols.Delay, n.Delay)
		cols.PriceStore = append(cols.PriceStore, label(n, "price_store", 0))
		cols.PriceSend = append(cols.PriceSend, label(n, "price_send", 0))
		cols.AnnualFailure = append(cols.AnnualFailure, label(n, "afr", 0))
		cols.Uptime = append(cols.Uptime, label(n, "uptime", 1))
		cols.Load = append(cols.Load, n.Load)
	}
	cols.Numbers = numbers(snapshot, index)
	for _, l := range snapshot.Links {
		if from, to := candidate[l.From], candidate[l.To]; from >= 0 && to >= 0 {
			batch.Links = append(batch.Links, core.BatchLink{From: from, To: to, Rate: l.Rate})
		}
	}
	for _, t := range snapshot.Trunks {
		batch.Trunks = append(batch.Trunks, core.BatchTrunk{From: t.From, To: t.To, Rate: t.Rate})
	}
	for _, c := range classes {
		row := core.BatchClass{Count: len(c.Runs)}
		for _, size := range c.Runs {
			row.Size += size
			batch.File.RunSize = max(batch.File.RunSize, size)
		}
		for _, h := range c.Holders {
			if candidate[h] >= 0 {
				row.Holders = append(row.Holders, candidate[h])
			}
		}
		batch.File.Size += row.Size
		batch.File.Classes = append(batch.File.Classes, row)
	}
	return batch, index
}

// maxNumbers is the most columns that labels make: what peers call themselves must not fill a question.
const maxNumbers = 64

// numbers are the columns that labels make: of more than maxNumbers, those that most candidates have.
func numbers(snapshot core.Snapshot, index []int) map[string][]float64 {
	has, columns := map[string]int{}, map[string][]float64{}
	for row, i := range index {
		for name := range snapshot.Nodes[i].Labels {
			if v := label(snapshot.Nodes[i], name, -1); v >= 0 {
				if has[name]++; columns[name] == nil {
					columns[name] = make([]float64, len(index))
				}
				columns[name][row] = v
			}
		}
	}
	names := slices.SortedFunc(maps.Keys(has), func(a, b string) int {
		return cmp.Or(cmp.Compare(has[b], has[a]), cmp.Compare(a, b))
	})
	for _, name := range names[min(len(names), maxNumbers):] {
		delete(columns, name)
	}
	return columns
}

// reachRates is the rate at which data can come to each node from the source, 0 where nothing limits it: that of its
// link, or of the widest link to it where none comes from the source, and no more than the trunk that lies between.
func reachRates(snapshot core.Snapshot) map[int]core.Rate {
	direct, widest := map[int]core.Rate{}, map[int]core.Rate{}
	for _, l := range snapshot.Links {
		if l.From == snapshot.Source {
			direct[l.To] = l.Rate
		}
		widest[l.To] = max(widest[l.To], l.Rate)
	}
	for i, n := range snapshot.Nodes {
		if _, linked := direct[i]; !linked {
			direct[i] = widest[i]
		}
		for _, t := range snapshot.Trunks {
			if t.From == snapshot.Nodes[snapshot.Source].Zone && t.To == n.Zone &&
				(direct[i] == 0 || t.Rate < direct[i]) {
				direct[i] = t.Rate
			}
		}
	}
	return direct
}

func label(n core.NodeState, name string, otherwise float64) float64 {
	v, err := strconv.ParseFloat(n.Labels[name], 64)
	if err != nil || !finite(v) {
		return otherwise
	}
	return v
}

// finite reports a number that may be summed and compared: from 0 up, neither infinite nor NaN.
func finite(v float64) bool { return v >= 0 && !math.IsInf(v, 1) }

// CheckScores returns an error of core.CodePlugin that names the column and the row, where a strategy's answer has
// the wrong number of entries, a NaN, an infinite or negative number, or a spread that means nothing.
func CheckScores(batch core.Batch, scores core.Scores) error {
	n := batch.Nodes.Len()
	for _, column := range []struct {
		name string
		rows int
	}{
		{"allow", len(scores.Allow)},
		{"place_cost", len(scores.PlaceCost)},
		{"target_weight", len(scores.TargetWeight)},
		{"quota_cap", len(scores.QuotaCap)},
		{"first_holder_weight", len(scores.FirstHolderWeight)},
		{"explain", len(scores.Explain)},
	} {
		if column.rows != 0 && column.rows != n {
			return core.Fail(core.CodePlugin, "strategy answered %d rows of %s for %d nodes", column.rows, column.name,
				n)
		}
	}
	for _, column := range []struct {
		name string
		rows []float64
	}{
		{"place_cost", scores.PlaceCost},
		{"target_weight", scores.TargetWeight},
		{"first_holder_weight", scores.FirstHolderWeight},
	} {
		for i, v := range column.rows {
			if !finite(v) {
				return core.Fail(core.CodePlugin, "strategy answered %s = %v for node %s: it must be a finite number, not below 0",
					column.name, v, batch.Nodes.ID[i])
			}
		}
	}
	for i, v := range scores.QuotaCap {
		if v < 0 {
			return core.Fail(core.CodePlugin, "strategy answered quota_cap = %d for node %s: it must not be below 0", v,
				batch.Nodes.ID[i])
		}
	}
	if o := scores.Objective; o != "" && o != ObjectiveTime && o != ObjectiveCost {
		return core.Fail(core.CodePlugin, "strategy answered the objective %q: it may be %s or %s", o, ObjectiveTime,
			ObjectiveCost)
	}
	if r := scores.Redundancy; r.Replicas < 0 {
		return core.Fail(core.CodePlugin, "strategy answered a redundancy of %d replicas: it must not be below 0",
			r.Replicas)
	}
	switch s := scores.Spread; {
	case s.Level != "" && s.Level != "zone":
		return core.Fail(core.CodePlugin, "strategy answered spread level %q: only zone is known", s.Level)
	case s.Level != "" && s.Max < 1:
		return core.Fail(core.CodePlugin, "strategy answered a spread of at most %d copies a %s: it must be at least 1",
			s.Max, s.Level)
	case s.Level == "" && s.Max != 0:
		return core.Fail(core.CodePlugin, "strategy answered a spread of %d without a level", s.Max)
	}
	return nil
}
