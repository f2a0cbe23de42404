// SPDX-License-Identifier: Apache-2.0

package render

import "github.com/bkp-tool/bkp/core/control"

// Backup shows who keeps what of a backup.
func Backup(t *Table, r control.BackupResult, exported bool) {
	if r.Unchanged {
		t.Line("%s is unchanged and at peers: there is no new version.", Versioned(r.Name, r.Version))
		return
	}
	t.Header("node", "address", "keeps", "runs")
	t.Spare("runs")
	for _, p := range r.Placements {
		t.Row(p.Node, p.Address, p.Bytes, p.Runs)
	}
	if r.Resumed > 0 {
		t.Line("went on after %s", r.Resumed)
	}
	if r.Kept > 0 {
		t.Line("%s were read, the rest is as in the version before", r.Bytes-r.Kept)
	}
	t.Line("Backed up %s: %s in %s, %d of them new (%s), in %s with %s in %s.", Versioned(r.Name, r.Version), r.Bytes,
		Counted(r.Chunks, "chunk"), r.NewChunks, r.Stored, Counted(r.Windows, "window"), redundancy(r.Replicas, r.Erasure),
		Seconds(r.Seconds))
	drawUnexported(t, exported)
}
