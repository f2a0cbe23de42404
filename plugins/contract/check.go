// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"fmt"
	"math"
	"strings"
	"unicode"

	"github.com/bkp-tool/bkp/core"
)

const (
	maxText = 1 << 10 // bytes of a text that a plugin has people read
	// maxScore keeps sums and products of a column finite and exact enough to compare; a size may be as large.
	maxScore = 1 << 60
)

// CheckColumns reports a column of n that is neither empty nor as long as the column of IDs.
func CheckColumns(n core.NodeColumns) error {
	for _, c := range []struct {
		name string
		len  int
	}{
		{"zone", len(n.Zone)}, {"labels", len(n.Labels)}, {"free", len(n.Free)}, {"total", len(n.Total)},
		{"uplink", len(n.Uplink)},
		{"downlink", len(n.Downlink)}, {"link", len(n.Link)}, {"delay", len(n.Delay)},
		{"price_store", len(n.PriceStore)},
		{"price_send", len(n.PriceSend)}, {"annual_failure", len(n.AnnualFailure)}, {"uptime", len(n.Uptime)},
		{"load", len(n.Load)},
	} {
		if err := checkLen(c.name, c.len, n.Len()); err != nil {
			return err
		}
	}
	for name, column := range n.Numbers {
		if err := checkLen(Clean(name), len(column), n.Len()); err != nil {
			return err
		}
	}
	return nil
}

// CheckScores reports what is wrong with the shape of an answer about n candidates: a column of another length, a
// number that is NaN, infinite, negative or above 2^60, a spread, objective or redundancy that means nothing, a text
// above 1 KiB or with control characters.
func CheckScores(n int, s core.Scores) error {
	if err := checkLen("allow", len(s.Allow), n); err != nil {
		return err
	}
	for _, c := range []struct {
		name   string
		column []float64
	}{{"place_cost", s.PlaceCost}, {"target_weight", s.TargetWeight}, {"first_holder_weight", s.FirstHolderWeight}} {
		if err := checkNumbers(c.name, c.column, n); err != nil {
			return err
		}
	}
	if err := checkLen("quota_cap", len(s.QuotaCap), n); err != nil {
		return err
	}
	for i, size := range s.QuotaCap {
		if size < 0 || size > maxScore {
			return fmt.Errorf("quota_cap[%d] is %d", i, size)
		}
	}
	if err := checkLen("explain", len(s.Explain), n); err != nil {
		return err
	}
	for i, text := range s.Explain {
		if text != Clean(text) {
			return fmt.Errorf("explain[%d] is above %d bytes or has control characters", i, maxText)
		}
	}
	if o := s.Objective; o != "" && o != "time" && o != "cost" {
		return fmt.Errorf("objective %q is neither time nor cost", Clean(o))
	}
	if r := s.Redundancy; r.Replicas < 0 || r.Replicas > maxScore {
		return fmt.Errorf("redundancy of %d replicas", r.Replicas)
	}
	if s.Redundancy.Why != Clean(s.Redundancy.Why) {
		return fmt.Errorf("why of the redundancy is above %d bytes or has control characters", maxText)
	}
	return checkSpread(s.Spread)
}

func checkLen(name string, got, want int) error {
	if got != 0 && got != want {
		return fmt.Errorf("column %s has %d entries for %d candidates", name, got, want)
	}
	return nil
}

func checkNumbers(name string, column []float64, n int) error {
	if err := checkLen(name, len(column), n); err != nil {
		return err
	}
	for i, v := range column {
		switch {
		case math.IsNaN(v):
			return fmt.Errorf("%s[%d] is not a number", name, i)
		case math.IsInf(v, 0) || v > maxScore:
			return fmt.Errorf("%s[%d] is too large", name, i)
		case v < 0:
			return fmt.Errorf("%s[%d] is negative", name, i)
		}
	}
	return nil
}

func checkSpread(s core.Spread) error {
	switch s.Level {
	case "":
		if s.Max != 0 {
			return fmt.Errorf("spread of %d without a level", s.Max)
		}
	case "zone":
		if s.Max < 1 || s.Max > maxScore {
			return fmt.Errorf("spread of %d per zone", s.Max)
		}
	default:
		return fmt.Errorf("spread over %q, which is no level", Clean(s.Level))
	}
	return nil
}

// Clean makes a plugin's text fit for a person's terminal and a peer's log: one line, no control characters, at most 1
// KiB.
func Clean(text string) string {
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText-len("…")], "") + "…"
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.In(r, unicode.Cf) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
}
