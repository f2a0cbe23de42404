// SPDX-License-Identifier: Apache-2.0

package file

import (
	"slices"
	"strings"

	"github.com/bkp-tool/bkp/core"
)

// reserved are names that stand for devices on Windows, with any extension.
var reserved = []string{"CON", "PRN", "AUX", "NUL", "COM1", "COM2", "COM3", "COM4", "COM5", "COM6", "COM7", "COM8",
	"COM9",
	"LPT1", "LPT2", "LPT3", "LPT4", "LPT5", "LPT6", "LPT7", "LPT8", "LPT9"}

// maxName is how many bytes a file's name has at most on every file system that matters.
const maxName = 255

// CheckName refuses a name that a fetch must not write to by itself, on whatever system: it came from a ref, not from
// the person who runs the fetch.
func CheckName(name string) error {
	refuse := func(why string) error {
		return core.WithHint(core.Fail(core.CodeUsage, "the name %q %s", name, why),
			"write it to a place of your own: -o FILE")
	}
	stem, _, _ := strings.Cut(name, ".")
	switch {
	case name == "":
		return refuse("is empty")
	case name == "." || name == "..":
		return refuse("is a directory")
	case strings.ContainsRune(name, 0):
		return refuse("has a NUL in it")
	case strings.ContainsAny(name, `/\`):
		return refuse("leads to another directory")
	case len(name) >= 2 && name[1] == ':' && isLetter(name[0]):
		return refuse("leads to a drive")
	case slices.Contains(reserved, strings.ToUpper(strings.TrimRight(stem, " "))):
		return refuse("stands for a device")
	case len(name) > maxName:
		return refuse("is longer than a file's name can be")
	}
	return nil
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
