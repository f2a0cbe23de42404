// SPDX-License-Identifier: Apache-2.0

package core

import (
	"fmt"
	"testing"
)

// TestStripesFrom: d is a run of content, p one of parity, t of tree nodes.
func TestStripesFrom(t *testing.T) {
	for _, x := range []struct{ runs, code, want string }{
		{"", "2+1", "[]"},
		{"ddt", "", "[]"},
		{"ddpddpdptt", "2+1", "[{[0 1] [2]} {[3 4] [5]} {[6] [7]}]"},
		{"dpdp", "1+1", "[{[0] [1]} {[2] [3]}]"},
		{"ttddddpp", "4+2", "[{[2 3 4 5] [6 7]}]"},
		{"dddpp", "2+1", "[{[1 2] [3]} {[] [4]}]"}, // none that a task brings: whoever compares sees it
	} {
		var types []FileType
		for _, r := range x.runs {
			types = append(types, map[rune]FileType{'d': TypeFile, 'p': TypeParity, 't': TypeDirectory}[r])
		}
		code, err := ParseErasure(x.code)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(StripesFrom(types, code)); got != x.want {
			t.Errorf("%s of %s: %s, want %s", x.code, x.runs, got, x.want)
		}
	}
}
