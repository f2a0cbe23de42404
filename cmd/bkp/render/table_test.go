package render

import (
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/core"
)

func TestTableAligns(t *testing.T) {
	var b strings.Builder
	tab := &Table{w: &b}
	tab.Header("name", "size")
	tab.Row("a", 10*core.MiB)
	tab.Row("longer\n", core.Size(3))
	tab.Line("done")
	want := "name          size\na         10.0 MiB\nlonger\\n       3 B\ndone\n"
	if got := b.String(); got != want {
		t.Errorf("table is\n%swant\n%s", got, want)
	}
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain name.iso": "plain name.iso",
		"Привет, 世界":     "Привет, 世界",
		"a\nb":           `a\nb`,
		"a\u202eb":       `a\u202eb`,
		"\x1b[31mred":    `\x1b[31mred`,
		"not\xffUTF-8":   `not\xffUTF-8`,
		"\"quoted\"\t":   `"quoted"\t`,
	} {
		if got := Clean(in); got != want {
			t.Errorf("clean(%q) = %s, want %s", in, got, want)
		}
	}
}
