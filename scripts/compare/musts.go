// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"
)

// must is a ratio that bkp has to reach: least, and better aim.
type must struct {
	what                   string
	input, do, mine, other string
	of                     func(step) float64
	least, aim             float64
	cost                   bool // mine ÷ other, which may be no more than least; else other ÷ mine, no less
}

func cpu(s step) float64    { return s.CPU }
func stored(s step) float64 { return float64(s.Stored) }

var musts = []must{
	{"split, defaults, × restic", "tree", "first", "bkp", "restic", seconds, 1.9, 2.5, false},
	{"split, defaults, × borg", "tree", "first", "bkp", "borg", seconds, 1.3, 0, false},
	{"split, defaults, CPU ÷ restic's", "tree", "first", "bkp", "restic", cpu, 0.6, 0.45, true},
	{"split, --no-recheck, × restic", "tree", "first", "bkp-norecheck", "restic", seconds, 2.2, 2.8, false},
	{"split, --compression off, × restic's", "tree", "first", "bkp-off", "restic-off", seconds, 3.5, 4.5, false},
	{"split, --compression off, × the disk's own dd", "tree", "first", "bkp-off", "disk", seconds, 0, 0, false},
	{"split of the changed version, × restic", "tree", "second", "bkp", "restic", seconds, 1.5, 2, false},
	{"split of incompressible data, × restic", "noise", "first", "bkp", "restic", seconds, 3, 4, false},
	{"fetch to a new file, × restic's restore", "tree", "restore", "bkp", "restic", seconds, 1, 0, false},
	{"fetch to a new file, × cp", "tree", "restore", "bkp", "cp", seconds, 0.7, 0.9, false},
	{"stored, first version, ÷ restic's", "tree", "first", "bkp", "restic", stored, 1.1, 1, true},
	{"added by the changed version, ÷ restic's", "tree", "second", "bkp", "restic", stored, 1, 0.5, true},
	{"added by a disk image with 1 % changed, ÷ restic's", "image", "second", "bkp", "restic", stored, 1, 0.5, true},
}

// judge says of every must whose input was measured what came out.
func (r result) judge() string {
	var b strings.Builder
	b.WriteString("\n| what | measured (least–most) | wanted | aim | |\n|---|---|---|---|---|\n")
	for _, m := range musts {
		mine, other := m.mine, m.other
		if m.cost {
			mine, other = other, mine
		}
		all := r.ratios(m.input, m.do, mine, other, m.of)
		if len(all) == 0 {
			continue
		}
		sign, verdict := "≥", "yes"
		if m.cost {
			sign = "≤"
		}
		if got := middle(all); got < m.least != m.cost {
			verdict = "**no**"
		}
		if m.least == 0 { // for the reader to know
			fmt.Fprintf(&b, "| %s | %s | | | |\n", m.what, spread(all))
			continue
		}
		aim := ""
		if m.aim > 0 {
			aim = fmt.Sprint(m.aim)
		}
		fmt.Fprintf(&b, "| %s | %s | %s %g | %s | %s |\n", m.what, spread(all), sign, m.least, aim, verdict)
	}
	return b.String()
}

// ratios are other's figure over mine's, round by round.
func (r result) ratios(input, do, mine, other string, of func(step) float64) (all []float64) {
	a, b := r[[3]string{input, do, mine}], r[[3]string{input, do, other}]
	for i := range min(len(a), len(b)) {
		all = append(all, of(b[i])/of(a[i]))
	}
	return all
}

// spread is the median, the least and the most.
func spread(all []float64) string {
	if len(all) == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f (%.2f–%.2f)", middle(all), slices.Min(all), slices.Max(all))
}
