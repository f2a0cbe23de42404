// SPDX-License-Identifier: Apache-2.0

package core

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ParseSpan reads a time span in Go's units, or in d and y (of 365 days).
func ParseSpan(s string) (time.Duration, error) {
	for unit, length := range map[string]time.Duration{"d": 24 * time.Hour, "y": 365 * 24 * time.Hour} {
		if number, ok := strings.CutSuffix(s, unit); ok {
			n, err := strconv.ParseFloat(number, 64)
			if err != nil || !(n > 0) || n > 100_000/length.Hours()*24 {
				return 0, fmt.Errorf("%q is not a time span up to 270 years (write 90d, 2y or 36h)", s)
			}
			return time.Duration(n * float64(length)), nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%q is not a time span (write 90d, 2y or 36h)", s)
	}
	return d, nil
}

// FormatSpan is a time span as ParseSpan reads it, in days where it is a number of them.
func FormatSpan(d time.Duration) string {
	if day := 24 * time.Hour; d > 0 && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	return d.String()
}
