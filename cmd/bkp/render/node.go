// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"
	"strings"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
)

// Node shows how a running node is and what it does: its health first, what is under way, its links, and the totals of
// what it keeps; accounts and leases too where they are asked for.
func Node(t *Table, r control.StatusResult, leases bool) {
	t.Line("%s: node %s at %s, up for %s, %s connected", r.Health, r.ID.Short(), r.Listen,
		Seconds(time.Since(r.Started).Seconds()), Counted(r.Peers, "peer"))
	for _, x := range r.Reasons {
		t.Line("degraded since %s: %s", Cell(x.Since), x.Text)
	}
	t.Line("keeps for others %s of %s in %s, %s more promised, %s left", r.Used, r.Capacity, Counted(r.Runs, "run"),
		r.Reserved, r.Remaining)
	if r.Health == control.HealthReady && r.Remaining < r.Capacity-r.Used-r.Reserved {
		t.Line("the disk has no more room than that")
	}
	if r.Bucket != "" {
		t.Line("in the bucket %s, %s", r.Bucket, lockText(r.LockS))
	}
	t.Line("staged here, of its own owner: %s", r.Staged)
	drawWork(t, r.Work)
	drawLinks(t, r.Links)
	drawKept(t, r.Tasks)
	if leases {
		drawLeases(t, r)
	}
}

// lockText says for how long nobody can remove what is put into a bucket.
func lockText(seconds float64) string {
	if seconds == 0 {
		return "where nothing is locked"
	}
	return "where nobody can remove anything for " + core.FormatSpan(time.Duration(seconds*float64(time.Second)))
}

// drawWork shows commands under way.
func drawWork(t *Table, rows []control.WorkRow) {
	for i, w := range rows {
		if i == 0 {
			t.Line("")
			t.Line("under way:")
		}
		name := core.Printable(w.Name)
		if w.Version > 0 {
			name = Versioned(w.Name, w.Version)
		}
		t.Line("%s %s, for %s: %s", w.Command, name, Seconds(time.Since(w.Began).Seconds()),
			statusLine(w.Status))
	}
}

func drawLinks(t *Table, links []control.PeerRow) {
	if len(links) == 0 {
		return
	}
	t.Line("")
	t.Header("link to", "address", "declared", "measured", "sends now", "receives now", "delay")
	t.Spare("delay", "measured", "declared")
	for _, p := range links {
		t.Row(p.ID, p.Address, p.Declared, p.Measured, p.LeasedOut, p.LeasedIn, Seconds(p.DelayMS/1000))
	}
}

// drawKept sums up what is kept by owner.
func drawKept(t *Table, tasks []control.TaskRow) {
	if len(tasks) == 0 {
		return
	}
	type sum struct {
		tasks, runs int
		bytes       core.Size
	}
	var owners []core.ID
	sums := map[core.ID]*sum{}
	for _, x := range tasks {
		if sums[x.Owner] == nil {
			sums[x.Owner] = &sum{}
			owners = append(owners, x.Owner)
		}
		s := sums[x.Owner]
		s.tasks, s.runs, s.bytes = s.tasks+1, s.runs+x.Runs, s.bytes+x.Bytes
	}
	t.Line("")
	t.Header("keeps for owner", "tasks", "runs", "bytes")
	for _, id := range owners {
		t.Row(id, sums[id].tasks, sums[id].runs, sums[id].bytes)
	}
}

// drawLeases shows accounts, leases and tasks one by one.
func drawLeases(t *Table, r control.StatusResult) {
	t.Line("")
	t.Header("account", "capacity", "leased")
	for _, a := range r.Accounts {
		name, id, of := strings.Cut(a.Name, ":")
		if of {
			name += ":" + id[:min(len(id), len("vmrujkov"))]
		}
		t.Row(name, a.Capacity, a.Leased)
	}
	if len(r.Leases) > 0 {
		t.Line("")
		t.Header("lease", "peer", "direction", "purpose", "rate", "moved", "expected", "took", "state")
		t.Spare("lease", "purpose", "expected", "rate")
		for _, l := range r.Leases {
			t.Row(fmt.Sprint(l.Lease), l.Peer, l.Direction, l.Purpose, l.Rate, l.Bytes, Seconds(l.ExpectedS),
				Seconds(l.TookS), l.State)
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
