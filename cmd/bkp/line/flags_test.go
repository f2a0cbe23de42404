// SPDX-License-Identifier: Apache-2.0

package line

import (
	"testing"
	"time"
)

func TestNameVersion(t *testing.T) {
	for _, c := range []struct {
		in, name string
		version  int
		ok       bool
	}{
		{"a", "a", 0, true},
		{"a@2", "a", 2, true},
		{"a@b@2", "a@b", 2, true},
		{"a@b", "a@b", 0, true},
		{"a@latest", "a", 0, true},
		{"@latest", "@latest", 0, true},
		{"a@", "a@", 0, true},
		{"a@0", "", 0, false},
		{"@3", "", 0, false},
		{"a@99999999999999999999", "", 0, false},
	} {
		name, version, err := NameVersion(c.in)
		if name != c.name || version != c.version || (err == nil) != c.ok {
			t.Errorf("nameVersion(%q) = %q, %d, %v; want %q, %d", c.in, name, version, err, c.name, c.version)
		}
	}
}

func TestSpan(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"90d": 90 * 24 * time.Hour, "2y": 730 * 24 * time.Hour, "36h": 36 * time.Hour, "0.5d": 12 * time.Hour,
	} {
		if got, err := parseSpan(in); err != nil || got != want {
			t.Errorf("parseSpan(%q) = %v, %v; want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "d", "-1d", "0d", "NaNd", "1e300y", "ten years", "-3h"} {
		if got, err := parseSpan(in); err == nil {
			t.Errorf("parseSpan(%q) = %v, want an error", in, got)
		}
	}
}
