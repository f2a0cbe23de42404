// SPDX-License-Identifier: Apache-2.0

package file_test

import (
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/file"
)

func TestCheckName(t *testing.T) {
	for _, c := range []struct {
		bad  int // number of the bad input; 0: fine
		name string
	}{
		{33, "../x"}, {33, ".."}, {33, "a/../x"}, {33, "."}, {33, "a/b"},
		{34, "/etc/x"}, {34, "/"},
		{36, "a\x00b"},
		{37, "CON"}, {37, "con"}, {37, "nul.txt"}, {37, "Lpt1.tar.gz"}, {37, "aux ."}, {37, `C:\x`}, {37, "C:x"},
		{37, `..\x`}, {37, `a\b`},
		{40, strings.Repeat("x", 300)}, {40, strings.Repeat("x", 256)},
		{-1, ""},
		{0, strings.Repeat("x", 255)}, {0, "big.iso"}, {0, ".hidden"}, {0, "..."}, {0, "at 10:00"}, {0, "console"},
		{0, "COM10"}, {0, "2026-11-23T10:00"},
		{0, "new\nline"}, {0, "\u202Etxt.exe"}, {0, "ümläut"}, // 38: shown escaped, and fine
	} {
		err := file.CheckName(c.name)
		if (err != nil) != (c.bad != 0) {
			t.Errorf("bad input %d: %q: %v", c.bad, c.name, err)
		}
		if err != nil && (core.CodeOf(err) != core.CodeUsage || !strings.Contains(core.HintOf(err), "-o")) {
			t.Errorf("bad input %d: %q: code %d, hint %q", c.bad, c.name, core.CodeOf(err), core.HintOf(err))
		}
	}
}
