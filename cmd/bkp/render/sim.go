// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"
	"time"

	"github.com/bkp-tool/bkp/core/sim"
)

// Compared is what a strategy came to among others: its result, or why it has no plan.
type Compared struct {
	sim.Result
	Refused string `json:"refused,omitempty"`
}

// Comparison shows side by side what several strategies came to.
func Comparison(t *Table, rows []Compared) {
	t.Header("strategy", "done", "predicted", "least possible", "ratio", "cost", "nodes", "copies", "restore", "lost",
		"bound by")
	t.Below("bound by")
	t.Spare("copies", "nodes", "lost", "restore", "cost", "ratio")
	for _, r := range rows {
		nodes, copies := 0, any("-")
		for _, n := range r.Nodes {
			if n.Bytes > 0 {
				nodes++
			}
		}
		if r.Replicas > 0 {
			copies = r.Replicas
		}
		if r.Refused == "" {
			t.Row(r.Strategy, Seconds(r.MakespanS), Seconds(r.PredictedS), Seconds(r.BoundS),
				fmt.Sprintf("%.3f", r.Ratio), r.Cost, nodes, copies, Seconds(r.RestoreS), r.LostBytes, r.Binding)
		}
	}
	for _, r := range rows {
		if r.Refused != "" {
			t.Line("%s has no plan: %s", r.Strategy, r.Refused)
		}
	}
}

// Sim shows what became of each node and link, what is missing, and how close it came to the bound.
func Sim(t *Table, r sim.Result) {
	t.Header("node", "zone", "keeps", "runs", "sent", "passed on", "done", "")
	t.Spare("runs", "passed on", "zone")
	for _, n := range r.Nodes {
		gone := ""
		if n.Lost {
			gone = "lost"
		}
		t.Row(n.Node, n.Zone, n.Bytes, n.Runs, n.Sent, n.Passed, duration(n.Finish), gone)
	}
	const most = 40
	t.Line("")
	t.Header("from", "to", "bytes", "of what it can")
	for _, u := range append(r.Trunks[:len(r.Trunks):len(r.Trunks)], r.Links[:min(most, len(r.Links))]...) {
		share := "-"
		if u.Share > 0 {
			share = fmt.Sprintf("%.0f %%", 100*u.Share)
		}
		t.Row(u.From, u.To, u.Bytes, share)
	}
	if len(r.Links) > most {
		t.Line("and %s more: see --json", Counted(len(r.Links)-most, "link"))
	}
	if len(r.Missing) > 0 {
		t.Line("")
		t.Header("lacks", "runs", "first", "bytes", "because")
		t.Below("because")
		for _, m := range r.Missing {
			t.Row(m.Node, m.Runs, m.First, m.Bytes, m.Reason)
		}
	}
	t.Line("")
	how := "done"
	if r.UndeliveredBytes > 0 {
		how = "over, with part undone,"
	}
	t.Line("%s: %s after %s (predicted %s), least possible %s, ratio %.3f, bound by %s", r.Name, how,
		Seconds(r.MakespanS), Seconds(r.PredictedS), Seconds(r.BoundS),
		r.Ratio, r.Binding)
	if at, err := time.Parse(time.RFC3339, r.Start); err == nil {
		t.Line("virtual time began on %s", at.Format("Monday, 2006-01-02 15:04 ")+zoneOf(at))
	}
	if r.Raised != "" {
		t.Line("%s: %s", Counted(r.Replicas, "replica"), r.Raised)
	}
	if r.RestoreS > 0 {
		t.Line("what is kept then can be brought back in %s", Seconds(r.RestoreS))
	}
	if r.UndeliveredBytes > 0 {
		t.Line("%s of copies not delivered, %s of the file lost", r.UndeliveredBytes, r.LostBytes)
	}
}

// zoneOf is the time zone of a moment: UTC, or how far from it.
func zoneOf(at time.Time) string {
	if _, offset := at.Zone(); offset == 0 {
		return "UTC"
	}
	return at.Format("-07:00")
}
