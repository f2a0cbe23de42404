// SPDX-License-Identifier: Apache-2.0

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
