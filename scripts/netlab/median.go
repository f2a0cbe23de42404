// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"slices"
	"strings"
)

// median is what a tool came to in all rounds of a case.
type median struct {
	Case    string  `json:"case"`
	Who     string  `json:"who"`
	Rounds  int     `json:"rounds"` // that did not fail
	Failed  int     `json:"failed,omitempty"`
	Seconds float64 `json:"median_s"`
	Ratio   float64 `json:"median_ratio"`
	OfOld   float64 `json:"of_old,omitempty"` // seconds, in those of the older bkp
}

// medians sums up rounds, in the order of the first.
func medians(all []figure) (rows []median) {
	times := map[median][]figure{}
	for _, f := range all {
		key := median{Case: f.Case, Who: f.Who}
		if times[key] == nil {
			rows = append(rows, key)
		}
		times[key] = append(times[key], f)
	}
	old := map[string]float64{}
	for i := range rows {
		r := &rows[i]
		var seconds, ratios []float64
		for _, f := range times[*r] {
			if f.Error == "" {
				seconds, ratios = append(seconds, f.Seconds), append(ratios, f.Ratio)
			}
		}
		r.Rounds, r.Failed = len(seconds), len(times[median{Case: r.Case, Who: r.Who}])-len(seconds)
		if r.Seconds, r.Ratio = middle(seconds), middle(ratios); r.Who == "old" {
			old[r.Case] = r.Seconds
		}
	}
	for i := range rows {
		if r := &rows[i]; r.Who != "old" && old[r.Case] > 0 {
			r.OfOld = r.Seconds / old[r.Case]
		}
	}
	return rows
}

// middle is the median: of an even number, the mean of the two in the middle.
func middle(all []float64) float64 {
	if len(all) == 0 {
		return 0
	}
	all = slices.Sorted(slices.Values(all))
	n := len(all)
	return (all[(n-1)/2] + all[n/2]) / 2
}

// medianTable is medians as a person reads them.
func medianTable(rows []median) string {
	var b strings.Builder
	b.WriteString("\n| case | who | rounds | median s | median ratio | ÷ old |\n|---|---|---|---|---|---|\n")
	for _, r := range rows {
		rounds, of := fmt.Sprint(r.Rounds), ""
		if r.Failed > 0 {
			rounds += fmt.Sprintf(" (%d failed)", r.Failed)
		}
		if r.OfOld > 0 {
			of = fmt.Sprintf("%.3f", r.OfOld)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %.2f | %.3f | %s |\n", r.Case, r.Who, rounds, r.Seconds, r.Ratio, of)
	}
	return b.String()
}
