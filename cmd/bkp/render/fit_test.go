// SPDX-License-Identifier: Apache-2.0

package render

import (
	"strings"
	"testing"

	"github.com/olekukonko/tablewriter/pkg/twwidth"
)

// What a table of a few columns becomes on screens that are narrower and narrower.
func TestTableFitsTheScreen(t *testing.T) {
	for _, x := range []struct {
		width int
		want  string
	}{
		{0, "node      address             size  idle  why\n" +
			"vmrujkov  127.0.0.1:28101  6.0 MiB  -     one copy of every run, by cost\n"},
		{60, "node      address             size  idle\n" +
			"vmrujkov  127.0.0.1:28101  6.0 MiB  -\n" +
			"  one copy of every run, by cost\n"},
		{36, "node      address             size\n" +
			"vmrujkov  127.0.0.1:28101  6.0 MiB\n" +
			"  one copy of every run, by cost\n" +
			"… and idle: --wide\n"},
		{28, "node      address\n" +
			"vmrujkov  127.0.0.1:28101\n" +
			"  one copy of every run, by\n" +
			"  cost\n" +
			"… and idle, size: --wide\n"},
		{20, "node      address\n" +
			"vmrujkov  127.0.0.1…\n" +
			"  one copy of every\n" +
			"  run, by cost\n" +
			"… and idle, size:\n" +
			"  --wide\n"},
	} {
		var b strings.Builder
		tab := &Table{w: &b, width: x.width}
		tab.Header("node", "address", "size", "idle", "why")
		tab.Spare("size", "idle")
		tab.Below("why")
		tab.Row("vmrujkov", "127.0.0.1:28101", "6.0 MiB", "-", "one copy of every run, by cost")
		tab.flush()
		if got := b.String(); got != x.want {
			t.Errorf("at %d columns:\n%swant\n%s", x.width, got, x.want)
		}
		for l := range strings.Lines(b.String()) {
			if w := twwidth.Width(strings.TrimSuffix(l, "\n")); x.width > 0 && w > x.width {
				t.Errorf("at %d columns a line has %d: %q", x.width, w, l)
			}
		}
	}
}

// Figures stand at the right; what only begins with a digit does not.
func TestOnlyFiguresAlignRight(t *testing.T) {
	for text, want := range map[string]bool{
		"6.00 MiB/s": true, "12": true, "1h2m0s": true, "0.14 ms": true, "1.6e-07": true, "unlimited": false,
		"127.0.0.1:28101": false, "6ffuhri4": false, "2026-11-29 22:50:43": false, "-": false, "2 of 2": true,
	} {
		if got := numeric([][]string{{text}, {"-"}}, 0); got != want {
			t.Errorf("%q is a figure: %v", text, got)
		}
	}
}

// A command that a hint names can be copied from the screen.
func TestFoldKeepsCommandsWhole(t *testing.T) {
	got := Fold("Nobody can fetch this without the identity. Keep a copy of it elsewhere: bkp key export -o FILE", 40, "")
	want := "Nobody can fetch this without the\nidentity. Keep a copy of it elsewhere:\n   bkp key export -o FILE"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// A hint that goes on after the command is folded as any text.
func TestFoldOfASentence(t *testing.T) {
	got := Fold("hint: bkp place --explain shows each node; add peers, or free space", 40, "")
	want := "hint: bkp place --explain shows each\nnode; add peers, or free space"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
