// SPDX-License-Identifier: Apache-2.0

package core

import (
	"strconv"
	"strings"
	"unicode"
)

// Printable makes a name safe to show: unless every rune of it prints, those that do not are escaped as in Go source.
func Printable(s string) string {
	for _, r := range s {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			q := strconv.Quote(s)
			return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
		}
	}
	return s
}
