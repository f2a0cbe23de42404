// SPDX-License-Identifier: Apache-2.0

package render

import (
	"github.com/bkp-tool/bkp/core"
)

// Ranges shows where the new bytes stand, the first few of them unless all are asked for.
func Ranges(t *Table, ranges []core.Range, all bool) {
	few := ranges
	if !all {
		few = ranges[:min(len(ranges), Few)]
	}
	if len(few) > 0 {
		t.Header("from byte", "to", "size")
	}
	for _, r := range few {
		t.Row(r.Start, r.Start+r.Length, core.Size(r.Length))
	}
	if more := len(ranges) - len(few); more > 0 {
		t.Line("… and %s more: --all lists them", Counted(more, "range"))
	}
}

// Few is how many chunks a person is shown without asking for all.
const Few = 16
