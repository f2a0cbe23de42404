// SPDX-License-Identifier: Apache-2.0

package line

import (
	"strings"
)

// Describe is the description of a command: a paragraph, and examples, one a line.
func Describe(about, examples string) string {
	var b strings.Builder
	if about != "" {
		b.WriteString(wrapped(about, 100) + "\n\n")
	}
	b.WriteString("Examples:\n")
	for l := range strings.Lines(strings.TrimSpace(examples)) {
		b.WriteString("   " + strings.TrimSpace(l) + "\n")
	}
	return strings.TrimSpace(b.String())
}

// wrapped breaks text into lines of at most so many bytes, where words allow it.
func wrapped(text string, width int) string {
	var b strings.Builder
	column := 0
	for _, word := range strings.Fields(text) {
		switch {
		case column == 0:
		case column+1+len(word) > width:
			b.WriteByte('\n')
			column = 0
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
}
