// SPDX-License-Identifier: Apache-2.0

package render

import (
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
)

// Fetch shows where the bytes of a file came from.
func Fetch(t *Table, r control.FetchResult) {
	t.Header("from", "address", "stored bytes")
	for _, s := range r.Sources {
		t.Row(s.Node, s.Address, s.Bytes)
	}
	for _, l := range r.Lost {
		t.Line("lost %s %s on the way: %s", l.Node.Short(), l.Address, l.Reason)
	}
	t.Line("Fetched %s to %s: %s in %s.", Versioned(r.Name, r.Version), core.Printable(r.Output), r.Bytes,
		Seconds(r.Seconds))
}
