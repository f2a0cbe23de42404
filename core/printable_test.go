// SPDX-License-Identifier: Apache-2.0

package core

import "testing"

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain name.iso": "plain name.iso",
		"Привет, 世界":     "Привет, 世界",
		"a\nb":           `a\nb`,
		"a\u202eb":       `a\u202eb`,
		"\x1b[31mred":    `\x1b[31mred`,
		"not\xffUTF-8":   `not\xffUTF-8`,
		"\"quoted\"\t":   `"quoted"\t`,
	} {
		if got := Printable(in); got != want {
			t.Errorf("Printable(%q) = %s, want %s", in, got, want)
		}
	}
}
