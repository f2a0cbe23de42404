package main

import (
	"fmt"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
)

// drawPlan shows who keeps what at which cost, who is left out, and how good the plan is.
func drawPlan(t *table, r control.PlaceResult, explain bool) {
	header := []string{"node", "address", "keeps", "runs", "had", "cost"}
	if explain {
		header = append(header, "done by", "why")
	}
	if !r.DryRun {
		header = append(header, "took")
	}
	t.header(header...)
	for _, p := range r.Placements {
		cells := []any{p.Node, p.Address, p.Bytes, p.Runs, p.Reused, p.Cost}
		if explain {
			cells = append(cells, seconds(p.FinishS), p.Explain)
		}
		if !r.DryRun {
			cells = append(cells, duration(p.Seconds))
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
	t.line("")
	if explain {
		drawFlows(t, r)
		drawTimes(t, r)
		drawRisk(t, r)
	} else {
		t.line("predicted %s (%s of it to fill the pipeline), least possible %s, ratio %.2f, bound by %s",
			seconds(r.PredictedS), seconds(r.FillS), seconds(r.BoundS), r.Ratio, r.Binding)
	}
	if r.Raised != "" {
		t.line("%s: %s", counted(r.Replicas, "replica"), r.Raised)
	}
	t.line("%s of stored bytes, %s of them new, in %s and %s", r.Bytes, r.NewBytes, counted(r.Runs, "run"),
		counted(r.Segments, "segment"))
}

// drawFlows shows what goes over each link.
func drawFlows(t *table, r control.PlaceResult) {
	if len(r.Flows) == 0 {
		t.line("Nothing has to be sent.")
		return
	}
	address := map[core.ID]string{}
	for _, p := range r.Placements {
		address[p.Node] = fmt.Sprintf("%s  %s", p.Node.Short(), p.Address)
	}
	name := func(id core.ID) string {
		if a, ok := address[id]; ok {
			return a
		}
		return "this machine" // all others that send keep what they send
	}
	t.header("sends", "to", "bytes", "rate")
	for _, f := range r.Flows {
		t.row(name(f.From), name(f.To), f.Bytes, f.Rate)
	}
	t.line("")
}

// drawTimes shows how long the plan takes, and how long any plan would.
func drawTimes(t *table, r control.PlaceResult) {
	t.header("time", "", "")
	t.row("predicted", seconds(r.PredictedS), "until the last byte has arrived")
	t.row("pipeline fill", seconds(r.FillS), "of it, since runs are passed on whole")
	t.row("least possible", seconds(r.BoundS), "bound by "+r.Binding)
	t.row("ratio", fmt.Sprintf("%.3f", r.Ratio), "predicted without the fill, to the least possible")
	t.line("")
}

// drawRisk shows what the loss of nodes would mean.
func drawRisk(t *table, r control.PlaceResult) {
	zone := "yes"
	if !r.Risk.Zones {
		zone = "no: all copies of some runs are in " + r.Risk.Zone
	}
	t.header("loss", "")
	t.row("of any "+counted(r.Risk.Bears, "node"), "every run can still be fetched")
	t.row("of "+counted(r.Risk.Bears+1, "node"), fmt.Sprintf("loses runs only if they are one of %s, of %.4g possible ones", counted(r.Risk.Sets, "set"), r.Risk.Of))
	t.row("of any zone survived", zone)
	t.line("")
}
