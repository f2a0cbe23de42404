// SPDX-License-Identifier: Apache-2.0

package core

import (
	"testing"
	"time"
)

func TestSpan(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"90d": 90 * 24 * time.Hour, "2y": 730 * 24 * time.Hour, "36h": 36 * time.Hour, "0.5d": 12 * time.Hour,
	} {
		if got, err := ParseSpan(in); err != nil || got != want {
			t.Errorf("ParseSpan(%q) = %v, %v; want %v", in, got, err, want)
		}
		if again, err := ParseSpan(FormatSpan(want)); err != nil || again != want {
			t.Errorf("%v is written as %s, which is %v, %v", want, FormatSpan(want), again, err)
		}
	}
	for _, in := range []string{"", "d", "-1d", "0d", "NaNd", "1e300y", "ten years", "-3h"} {
		if got, err := ParseSpan(in); err == nil {
			t.Errorf("ParseSpan(%q) = %v, want an error", in, got)
		}
	}
}
