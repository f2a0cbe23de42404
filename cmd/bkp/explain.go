package main

import "github.com/bkp-tool/bkp/core/node"

// drawPlan shows who keeps what at which cost, who is left out, and how good the plan is.
func drawPlan(t *table, r node.PlaceResult, explain bool) {
	header := []string{"node", "address", "keeps", "runs", "had", "cost", "time"}
	if explain {
		header = append(header, "why")
	}
	t.header(header...)
	for _, p := range r.Placements {
		cells := []any{p.Node, p.Address, p.Bytes, p.Runs, p.Reused, p.Cost, duration(p.Seconds)}
		if explain {
			cells = append(cells, p.Explain)
		}
		t.row(cells...)
	}
	if len(r.Refused) > 0 {
		t.line("")
		t.header("left out", "address", "because")
		for _, x := range r.Refused {
			t.row(x.Node, x.Address, x.Reason)
		}
	}
	if explain && len(r.Flows) > 0 {
		t.line("")
		t.header("from", "to", "bytes", "rate")
		for _, f := range r.Flows {
			t.row(f.From, f.To, f.Bytes, f.Rate)
		}
	}
	t.line("")
	t.line("predicted %s (%s of it to fill the pipeline), least possible %s, ratio %.2f, bound by %s",
		seconds(r.PredictedS), seconds(r.FillS), seconds(r.BoundS), r.Ratio, r.Binding)
	t.line("%s of stored bytes, %s of them new, in %s and %s", r.Bytes, r.NewBytes, counted(r.Runs, "run"), counted(r.Segments, "segment"))
}

// duration is a measured time; zero was not measured.
func duration(s float64) any {
	if s == 0 {
		return "-"
	}
	return seconds(s)
}
