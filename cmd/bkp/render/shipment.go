// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
)

// Imported shows what was taken from a disk.
func Imported(t *Table, r control.ImportResult) {
	for _, p := range r.Shipments {
		what := p.Task.String() // the name is its owner's secret
		if p.Version > 0 {
			what = fmt.Sprintf("%s.%d of owner %s", p.Alias[:min(len(p.Alias), 8)], p.Version, p.Owner.Short())
		}
		t.Line("%s: took %s in %s", Cell(what), p.Bytes, Counted(p.Runs, "run"))
		for _, x := range []struct {
			size core.Size
			text string
		}{{p.Had, "were here already"}, {p.Missing, "are not on the disk"}, {p.Wrong, "were refused"}} {
			if x.size > 0 {
				t.Line("  %s %s", x.size, x.text)
			}
		}
		for _, x := range p.Problems {
			t.Line("  %s: %s", x.File, x.Text)
		}
		if p.More > 0 {
			t.Line("  and %d more", p.More)
		}
	}
}

// ImportError is what is left undone of an import; nil: nothing is.
func ImportError(r control.ImportResult) error {
	code := core.CodeOK
	for _, p := range r.Shipments {
		code = max(code, p.Code)
	}
	switch code {
	case core.CodeOK:
		return nil
	case core.CodePartial:
		return core.WithHint(core.Fail(code, "not all of it is on the disk"),
			"bkp place, where the owner is, sends the rest over the link")
	case core.CodeWrong:
		return core.WithHint(core.Fail(code, "some of it is not what its owner wrote"),
			"all else was taken; bkp place, where the owner is, sends the rest over the link")
	default:
		return core.WithHint(core.Fail(code, "this node does not take all of it"),
			"a licence that has expired is renewed by the same bkp place --export once more; who may store here, and how "+
				"much, this node says: bkp node start --help")
	}
}
