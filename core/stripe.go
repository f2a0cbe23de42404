// SPDX-License-Identifier: Apache-2.0

package core

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Erasure says how stripes are made: of K runs and the M parity runs over them, any K of which restore all. The zero
// Erasure is none: runs are kept as copies.
type Erasure struct{ K, M int }

// MaxShards bounds the runs of a stripe: erasure codes over bytes know no more.
const MaxShards = 256

// ParseErasure reads "4+2", or nothing where s is empty. Its error is of CodeUsage.
func ParseErasure(s string) (c Erasure, err error) {
	if s == "" {
		return c, nil
	}
	k, m, ok := strings.Cut(s, "+")
	if c.K, err = strconv.Atoi(k); ok && err == nil {
		c.M, err = strconv.Atoi(m)
	}
	if !ok || err != nil || c.K < 1 || c.M < 1 || c.K > MaxShards-c.M {
		return Erasure{}, Fail(CodeUsage, "%s is not a code: want K+M, as 4+2, both at least 1 and %d at most together",
			Printable(s), MaxShards)
	}
	return c, nil
}

// String is "4+2"; empty where there is no code.
func (c Erasure) String() string {
	if c.IsZero() {
		return ""
	}
	return fmt.Sprintf("%d+%d", c.K, c.M)
}

// MarshalText and UnmarshalText are String and ParseErasure.
func (c Erasure) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (c *Erasure) UnmarshalText(text []byte) (err error) {
	*c, err = ParseErasure(string(text))
	return err
}

// IsZero reports whether there is no code.
func (c Erasure) IsZero() bool { return c == Erasure{} }

// Stripe is runs of one segment, by their numbers: data runs, and the parity runs that were made from them, zero-padded
// to the longest. Any as many of both as there are data runs restore all.
type Stripe struct{ Data, Parity []int }

// Runs is all of them, data first: the order in which an erasure code counts them.
func (s Stripe) Runs() []int { return slices.Concat(s.Data, s.Parity) }

// Bears is how many of the runs may be lost yet, where only those are left that there says so of; -1 where too many are
// lost already.
func (s Stripe) Bears(there func(run int) bool) int {
	left := 0
	for _, run := range s.Runs() {
		if there(run) {
			left++
		}
	}
	return max(-1, left-len(s.Data))
}

// Endure turns how many copies each run of a segment has into how many losses it bears, and one: of a run in a stripe,
// what the stripe does.
func Endure(copies []int, stripes []Stripe) {
	for _, s := range stripes {
		bears := s.Bears(func(run int) bool { return copies[run] > 0 })
		for _, run := range s.Runs() {
			copies[run] = bears + 1
		}
	}
}

// StripeOf is the stripe of each run of a segment, by its place in stripes; -1 for a run that is in none.
func StripeOf(stripes []Stripe, runs int) []int {
	of := slices.Repeat([]int{-1}, runs)
	for i, s := range stripes {
		for _, run := range s.Runs() {
			of[run] = i
		}
	}
	return of
}

// StripesFrom finds the stripes of a code among runs of these types, as a task brings them: up to K runs of content, and
// their M runs of parity behind them. Whoever has to be sure that content in no stripe is not taken for some of one,
// where that stands right before one with fewer, compares.
func StripesFrom(types []FileType, code Erasure) (stripes []Stripe) {
	content := 0 // runs right before this one
	for run := 0; run < len(types); run++ {
		if types[run] != TypeParity || code.IsZero() {
			if content++; types[run] != TypeFile {
				content = 0
			}
			continue
		}
		s := Stripe{}
		for at := run - min(content, code.K); at < run; at++ {
			s.Data = append(s.Data, at)
		}
		for ; len(s.Parity) < code.M && run < len(types) && types[run] == TypeParity; run++ {
			s.Parity = append(s.Parity, run)
		}
		stripes, content = append(stripes, s), 0
		run--
	}
	return stripes
}
