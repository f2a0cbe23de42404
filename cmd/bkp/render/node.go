// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
)

// Node shows how a running node is and what it does.
func Node(t *Table, r control.StatusResult) {
	t.Line("%s: node %s at %s, up since %s, %s connected", r.Health, r.ID, r.Listen, Cell(r.Started),
		Counted(r.Peers, "peer"))
	for _, x := range r.Reasons {
		t.Line("degraded since %s: %s", Cell(x.Since), x.Text)
	}
	t.Line("kept for others: %s of %s in %s, %s promised, %s left; staged: %s", r.Used, r.Capacity,
		Counted(r.Runs, "run"), r.Reserved, r.Remaining, r.Staged)
	if r.Health == control.HealthReady && r.Remaining < r.Capacity-r.Used-r.Reserved {
		t.Line("the disk has no more room than that")
	}
	t.Header("account", "capacity", "leased")
	for _, a := range r.Accounts {
		t.Row(a.Name, a.Capacity, a.Leased)
	}
	if len(r.Leases) > 0 {
		t.Line("")
		t.Header("lease", "peer", "direction", "purpose", "rate", "moved", "expected", "took", "state")
		for _, l := range r.Leases {
			t.Row(fmt.Sprint(l.Lease), l.Peer, l.Direction, l.Purpose, l.Rate, l.Bytes, Seconds(l.ExpectedS),
				Seconds(l.TookS),
				l.State)
		}
	}
	if len(r.Tasks) > 0 {
		t.Line("")
		t.Header("task", "owner", "version", "segments", "runs", "bytes")
		for _, x := range r.Tasks {
			t.Row(x.Task.String()[:8], x.Owner, fmt.Sprintf("%.8s.%d", x.Alias, x.Version), x.Segments, x.Runs, x.Bytes)
		}
	}
}

// Files is the table of the five fields.
func Files(t *Table, files []core.File) {
	t.Header("name", "type", "order", "hash", "size")
	for _, f := range files {
		t.Row(f.Name, string(f.Type), f.Order, f.Hash.String()[:16], f.Size)
	}
}
