// SPDX-License-Identifier: Apache-2.0

package line

import (
	"testing"
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
